#include "flux/metrics/comparison.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>

#include "flux/base/file.h"
#include "flux/base/progress.h"
#include "history.h"
#include "page.h"

namespace flux::metrics {
namespace {

// Colours that are far apart, then the same with dashes.
constexpr std::array kColors{"--c0", "--c1", "--t4", "--t0", "--t3", "--t6"};
constexpr std::array kDashes{"", "6 3", "2 3", "9 3 2 3"};
static_assert(kColors.size() * kDashes.size() == kMostComparedRuns);

constexpr size_t kPoints = 2000;  // of all runs in one chart

struct Curve {
    const char* title;
    const char* key;
    Axis axis = Axis::kStep;
    bool smoothed = false;
    bool points = false;
    bool wide = false;
    const char* unit = "";
    Scale scale = Scale::kFitOrLog;
    double factor = 1;
};

constexpr std::array kCurves{
    Curve{.title = "Training loss over samples, smoothed",
          .key = "loss",
          .axis = Axis::kSamples,
          .smoothed = true,
          .wide = true},
    Curve{.title = "Validation loss over samples",
          .key = "val_loss",
          .axis = Axis::kSamples,
          .points = true},
    Curve{.title = "Validation loss over time",
          .key = "val_loss",
          .axis = Axis::kSeconds,
          .points = true},
    Curve{.title = "Training loss over steps, smoothed", .key = "loss", .smoothed = true},
    Curve{.title = "Training loss over time, smoothed",
          .key = "loss",
          .axis = Axis::kSeconds,
          .smoothed = true},
    Curve{.title = "Gradient norm, smoothed", .key = "grad_norm", .smoothed = true},
    Curve{.title = "Learning rate", .key = "lr", .scale = Scale::kFromZero},
    Curve{.title = "Throughput",
          .key = "samples_per_s",
          .unit = "samples/s",
          .scale = Scale::kFromZero},
    Curve{.title = "Computation of one device",
          .key = "tflops",
          .unit = "TFLOP/s",
          .scale = Scale::kFromZero},
    Curve{.title = "Waiting for data, of step time",
          .key = "data_wait",
          .unit = "%",
          .scale = Scale::kFromZero,
          .factor = 100},
    Curve{.title = "Memory", .key = "memory_gib", .unit = "GiB", .scale = Scale::kFromZero},
};

const char* color_of(size_t run) { return kColors[run % kColors.size()]; }
const char* dash_of(size_t run) { return kDashes[run / kColors.size()]; }

Chart chart_of(const Curve& curve, const std::vector<ComparedRun>& runs,
               const std::vector<History>& histories, const TimeUnit& unit) {
    Plot plot{.title = curve.title,
              .unit = curve.unit,
              .axis = curve.axis == Axis::kSamples   ? "samples"
                      : curve.axis == Axis::kSeconds ? unit.name
                                                     : "step",
              .scale = curve.scale,
              .wide = curve.wide,
              .legend = curve.wide};
    for (size_t i = 0; i < runs.size(); ++i) {
        Column column = scaled(histories[i].column(curve.key, curve.axis), curve.factor);
        if (curve.smoothed) {
            column = smooth(column);
        }
        if (curve.axis == Axis::kSeconds) {
            column = in_unit(std::move(column), unit);
        }
        plot.series.push_back({runs[i].name, curve.points ? "points" : "line", color_of(i),
                               std::move(column), dash_of(i)});
    }
    return to_chart(std::move(plot), kPoints / (2 * runs.size()));
}

std::optional<double> mean(const Column& column) {
    double sum = 0;
    size_t count = 0;
    for (const double value : column.value) {
        if (std::isfinite(value)) {
            sum += value;
            ++count;
        }
    }
    return count == 0 ? std::nullopt : std::optional(sum / static_cast<double>(count));
}

/// "0.5860 at 7,340,032", or "n/a".
std::string best_text(const Column& over_samples) {
    std::optional<size_t> best;
    for (size_t i = 0; i < over_samples.value.size(); ++i) {
        const double value = over_samples.value[i];
        if (std::isfinite(value) && (!best || value < over_samples.value[*best])) {
            best = i;
        }
    }
    return best ? fmt::format("{} at {}", figure_text(over_samples.value[*best], 4),
                              grouped(static_cast<int64_t>(over_samples.x[*best])))
                : figure_text(std::nullopt, 4);
}

std::string count_text(const Column& column) {
    const auto value = last(column);
    return value && std::isfinite(*value) ? grouped(static_cast<int64_t>(*value)) : "n/a";
}

std::string percent_text(std::optional<double> share) {
    return share && std::isfinite(*share) ? figure_text(100 * *share, 1) + " %" : "n/a";
}

void add_run(std::string& out, size_t index, const ComparedRun& run, const History& history) {
    append(out,
           R"x(<tr><th><svg class="key" width="26" height="8"><line x1="0" x2="26" y1="4" y2="4" )x"
           R"x(style="stroke:var({})" stroke-width="2.5" stroke-dasharray="{}"></line></svg>{})x"
           R"x(<span class="quiet">{}</span></th>)x",
           color_of(index), *dash_of(index) == '\0' ? "none" : dash_of(index), escape(run.name),
           escape(run.description));
    for (const std::string& cell :
         {count_text(history.column("step")), count_text(history.column("samples")),
          duration_text(history.seconds()), figure_text(last(smooth(history.column("loss"))), 4),
          figure_text(last(history.column("val_loss")), 4),
          best_text(history.column("val_loss", Axis::kSamples)),
          figure_text(last(smooth(history.column("samples_per_s"))), 2),
          percent_text(last(smooth(history.column("mfu")))),
          percent_text(mean(history.column("data_wait"))),
          figure_text(last(history.column("memory_gib")), 2)}) {
        append(out, "<td>{}</td>", cell);
    }
    out += "</tr>\n";
}

void add_table(std::string& out, const std::vector<ComparedRun>& runs,
               const std::vector<History>& histories) {
    out += "<div class=\"panel table\"><table><thead><tr><th>Run</th>";
    for (const char* heading :
         {"Step", "Samples", "Time", "Training loss", "Validation loss", "Best, at samples",
          "Samples/s", "MFU", "Data wait", "Memory, GiB"}) {
        append(out, "<th>{}</th>", heading);
    }
    out += "</tr></thead><tbody>\n";
    for (size_t i = 0; i < runs.size(); ++i) {
        add_run(out, i, runs[i], histories[i]);
    }
    out += "</tbody></table></div>\n";
}

void add_options(std::string& out, const std::vector<ComparedRun>& runs,
                 const std::vector<ComparedOption>& options) {
    if (options.empty()) {
        return;
    }
    out +=
        "<section><h2>Options that differ</h2><div class=\"panel table\"><table><thead><tr>"
        "<th>Option</th>";
    for (const ComparedRun& run : runs) {
        append(out, "<th>{}</th>", escape(run.name));
    }
    out += "</tr></thead><tbody>\n";
    for (const ComparedOption& option : options) {
        append(out, "<tr><th>{}</th>", escape(option.name));
        for (const std::string& value : option.values) {
            append(out, "<td>{}</td>", escape(value));
        }
        out += "</tr>\n";
    }
    out += "</tbody></table></div></section>\n";
}

}  // namespace

void write_comparison(const std::filesystem::path& file, const std::vector<ComparedRun>& runs,
                      const std::vector<ComparedOption>& options) {
    std::vector<History> histories;
    double longest = 0;
    for (const ComparedRun& run : runs) {
        histories.emplace_back(run.folder / "metrics.jsonl").refresh();
        longest = std::max(longest, histories.back().seconds());
    }
    std::vector<Chart> charts;
    for (const Curve& curve : kCurves) {
        Chart chart = chart_of(curve, runs, histories, time_unit(longest));
        if (!chart.json.empty()) {
            charts.push_back(std::move(chart));
        }
    }
    std::string page = page_head(fmt::format("flux_train: {} runs", runs.size()), "",
                                 "Curves of one colour and dash belong to one run.");
    add_table(page, runs, histories);
    const std::string json = add_charts(page, charts);
    add_options(page, runs, options);
    end_page(page, json);
    write_text(file, page);
}

}  // namespace flux::metrics
