#include "flux/metrics/html_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <string_view>

#include "curves.h"
#include "flux/base/error.h"
#include "flux/base/file.h"
#include "flux/base/log.h"
#include "flux/base/progress.h"
#include "history.h"
#include "page.h"
#include "pictures.h"

namespace flux::metrics {
namespace {

constexpr size_t kOpenPictureSteps = 3;
constexpr int64_t kTinySide = 128;  // smaller pictures are enlarged with hard pixel edges

void add_card(std::string& out, std::string_view name, std::string_view value,
              std::string_view detail) {
    append(out,
           R"(<dl class="card"><dt>{}</dt><dd>{}</dd><dd class="small">{}</dd></dl>)"
           "\n",
           name, value, detail);
}

void add_validation_card(std::string& out, const Column& validation) {
    if (validation.value.empty()) {
        return;
    }
    double best = INFINITY;
    for (const double value : validation.value) {
        best = std::fmin(best, value);  // passes over NaN
    }
    add_card(out, "Validation loss", figure_text(validation.value.back(), 4),
             fmt::format("first {}, best {}", figure_text(validation.value.front(), 4),
                         figure_text(best, 4)));
}

void add_cards(std::string& out, const History& history, const ReportInput& input) {
    const Column& steps = history.column("step");
    if (steps.value.empty()) {
        out += "<p class=\"quiet\">No numbers yet.</p>\n";
        return;
    }
    const auto step = static_cast<int64_t>(steps.value.back());
    out += "<section class=\"cards\">\n";
    add_card(out, "Step", grouped(step),
             input.total_steps > 0 ? fmt::format("of {} ({:.0f} %)", grouped(input.total_steps),
                                                 100 * static_cast<double>(step) /
                                                     static_cast<double>(input.total_steps))
                                   : std::string());
    const double samples = last(history.column("samples")).value_or(0);
    add_card(out, "Samples seen", grouped(static_cast<int64_t>(samples)), "");
    const Column& loss = history.column("loss");
    if (!loss.value.empty()) {
        add_card(out, "Training loss", figure_text(last(smooth(loss)), 4),
                 fmt::format("smoothed; last {}", figure_text(last(loss), 4)));
    }
    add_validation_card(out, history.column("val_loss"));
    const Column& rate = history.column("samples_per_s");
    if (!rate.value.empty()) {
        const auto mfu = last(history.column("mfu"));
        const bool known = mfu && std::isfinite(*mfu);
        add_card(out, "Samples per second", figure_text(last(smooth(rate)), 2),
                 fmt::format("{} TFLOP/s per device, MFU {}",
                             figure_text(last(history.column("tflops")), 2),
                             known ? fmt::format("{:.1f} %", 100 * *mfu) : "n/a"));
        add_card(out, "Memory", figure_text(last(history.column("memory_gib")), 2) + " GiB", "");
    }
    add_card(out, "Time", duration_text(history.seconds()), "");
    if (const double skipped = last(history.column("skipped")).value_or(0); skipped > 0) {
        add_card(out, "Skipped steps", grouped(static_cast<int64_t>(skipped)),
                 "loss or gradient not finite");
    }
    out += "</section>\n";
}

void add_facts(std::string& out, const std::vector<ReportFact>& facts) {
    if (facts.empty()) {
        return;
    }
    out += "<dl class=\"panel facts\">\n";
    for (const ReportFact& fact : facts) {
        append(out, "<div><dt>{}</dt><dd>{}</dd></div>\n", escape(fact.name), escape(fact.value));
    }
    out += "</dl>\n";
}

void add_picture(std::string& out, const std::string& name, const Picture& picture) {
    if (picture.uri.empty()) {
        append(out, "<figure class=\"sample problem\">{}</figure>\n", escape(picture.problem));
        return;
    }
    const std::string prompt = escape(picture.prompt.empty() ? name : picture.prompt);
    const bool tiny = std::max(picture.width, picture.height) < kTinySide;
    append(out,
           R"(<figure class="sample"><img{} alt="{}" width="{}" height="{}" src="{}">)"
           "<figcaption>{}</figcaption></figure>\n",
           tiny ? " class=\"tiny\"" : "", prompt, picture.width, picture.height, picture.uri,
           prompt);
}

void add_pictures(std::string& out, Pictures& pictures, const std::filesystem::path& run,
                  const std::string& folder) {
    if (folder.empty()) {
        return;
    }
    const Pictures::Selection selection = pictures.select(run / folder);
    if (selection.steps.empty()) {
        return;
    }
    out += "<section><h2>Sample pictures</h2>\n";
    if (selection.steps.size() < selection.all_steps) {
        append(out, "<p class=\"quiet\">{} of {} steps; all pictures are in {}/.</p>\n",
               selection.steps.size(), selection.all_steps, escape(folder));
    }
    for (size_t i = 0; i < selection.steps.size(); ++i) {
        const PictureStep& step = selection.steps[i];
        const bool large =
            !step.files.empty() && pictures.get(step.files.front()).width > kTinySide;
        append(out, "<details{}><summary>Step {}</summary><div class=\"samples{}\">\n",
               i < kOpenPictureSteps ? " open" : "", grouped(step.step), large ? " large" : "");
        for (const std::filesystem::path& file : step.files) {
            add_picture(out, file.stem().string(), pictures.get(file));
        }
        out += "</div>";
        if (step.left_out > 0) {
            append(out, "<p class=\"quiet\">and {} more in {}/.</p>", step.left_out,
                   escape(folder));
        }
        out += "</details>\n";
    }
    out += "</section>\n";
}

void add_config(std::string& out, const std::string& toml) {
    if (!toml.empty()) {
        append(out, "<section><h2>Configuration</h2><pre class=\"panel\">{}</pre></section>\n",
               escape(toml));
    }
}

}  // namespace

struct HtmlReport::State {
    std::filesystem::path folder;
    History history{folder / "metrics.jsonl"};
    Pictures pictures{};
};

HtmlReport::HtmlReport(std::filesystem::path folder)
    : state_(std::make_unique<State>(State{std::move(folder)})) {}

HtmlReport::~HtmlReport() = default;

void check_metrics(const std::filesystem::path& folder) {
    const std::filesystem::path file = folder / "metrics.jsonl";
    History history(file);
    history.refresh();
    if (history.lines() == 0 && std::filesystem::file_size(file) > 0) {
        fail("{}: has no line with the figures of a step: name the folder of a run", file.string());
    }
    if (history.unreadable_lines() > 0) {
        log::warning("{}: {} of its lines are not JSON and left out", file.string(),
                     history.unreadable_lines());
    }
}

void HtmlReport::write(const ReportInput& input) {
    state_->history.refresh();
    std::string page = page_head(input.title, input.status, input.description);
    add_cards(page, state_->history, input);
    add_facts(page, input.facts);
    const std::string json = add_charts(page, make_charts(state_->history, input));
    add_pictures(page, state_->pictures, state_->folder, input.picture_folder);
    add_config(page, input.config_toml);
    end_page(page, json);
    write_text(state_->folder / "report.html", page);
}

}  // namespace flux::metrics
