#include "flux/metrics/reporter.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <type_traits>

#include "flux/base/error.h"
#include "flux/base/file.h"
#include "flux/base/log.h"
#include "flux/metrics/live_view.h"
#include "flux/metrics/wandb_forwarder.h"
#include "history.h"
#include "tensorboard.h"

namespace flux::metrics {
namespace {

/// One flat JSON object. Doubles are printed with the fewest digits that read back to the same
/// bits: equal numbers are equal as text.
class JsonLine {
public:
    void add(std::string_view key, int64_t value) { add_text(key, fmt::format_int(value).c_str()); }
    void add(std::string_view key, double value) {
        add_text(key, std::isfinite(value) ? fmt::format("{}", value) : "null");
    }
    void add(std::string_view key, std::optional<double> value) {
        add(key, value.value_or(std::nan("")));
    }
    std::string finish() && { return std::move(text_) + "}"; }

private:
    void add_text(std::string_view key, std::string_view value) {
        fmt::format_to(std::back_inserter(text_), "{}\"{}\": {}", text_.empty() ? "{" : ", ", key,
                       value);
    }

    std::string text_;
};

/// Calls `add(key, value)` for every field, in the order of metrics.jsonl.
template <class Add>
void each_field(const TrainLine& line, const Add& add) {
    add("step", line.step);
    add("samples", line.samples);
    add("loss", line.loss);
    add("grad_norm", line.grad_norm);
    add("lr", line.lr);
    add("samples_per_s", line.samples_per_s);
    add("tflops", line.tflops);
    add("mfu", line.mfu);
    add("memory_gib", line.memory_gib);
    add("data_wait", line.data_wait);
    add("time_s", line.time_s);
    add("run_time_s", line.run_time_s);
    add("skipped", line.skipped);
}

template <class Add>
void each_field(const ValidationLine& line, const Add& add) {
    add("step", line.step);
    add("samples", line.samples);
    add("val_loss", line.val_loss);
    for (size_t k = 0; k < line.val_loss_t.size(); ++k) {
        add(fmt::format("val_loss_t{}", k), line.val_loss_t[k]);
    }
    add("val_loss_t_mean", line.val_loss_t_mean);
    add("val_samples", line.val_samples);
    add("time_s", line.time_s);
    add("run_time_s", line.run_time_s);
}

template <class Line>
std::string json_of(const Line& line) {
    JsonLine json;
    each_field(line, [&](std::string_view key, auto value) { json.add(key, value); });
    return std::move(json).finish();
}

/// What TensorBoard draws over the step; its events have a time of their own.
template <class Line>
std::vector<Scalar> scalars_of(const Line& line, std::string_view group) {
    std::vector<Scalar> scalars;
    each_field(line, [&](std::string_view key, auto value) {
        if constexpr (std::is_same_v<decltype(value), std::optional<double>>) {
            if (value) {
                scalars.push_back({fmt::format("{}/{}", group, key), *value});
            }
        } else if (key != "step" && key != "time_s" && key != "run_time_s") {
            scalars.push_back({fmt::format("{}/{}", group, key), static_cast<double>(value)});
        }
    });
    return scalars;
}

/// Markdown that shows the text as it is: whatever it holds, no line of it ends the block.
std::string as_code(std::string_view text) {
    std::string code;
    while (!text.empty()) {
        const size_t end = std::min(text.find('\n'), text.size());
        code.append("    ").append(text.substr(0, end)).append("\n");
        text.remove_prefix(std::min(end + 1, text.size()));
    }
    return code;
}

constexpr const char* kCyan = "\x1b[36m";
constexpr const char* kGreen = "\x1b[32m";
constexpr const char* kPlain = "\x1b[0m";

std::string highlight(std::string text, const char* color, bool on) {
    return on ? color + text + kPlain : text;
}

/// Removes what follows step `last_step` from metrics.jsonl, in one step; also a line that a kill
/// tore. A missing file is left missing. Returns the time of the run up to the last line that
/// stays.
double drop_lines_after(const std::filesystem::path& metrics_file, int64_t last_step) {
    if (!std::filesystem::exists(metrics_file)) {
        return 0;
    }
    const std::string text = read_text(metrics_file);
    std::string kept;
    kept.reserve(text.size() + 1);
    double run_time_s = 0;
    std::string_view rest = text;
    while (!rest.empty()) {
        const size_t end = std::min(rest.find('\n'), rest.size());
        const std::string_view line = rest.substr(0, end);
        const auto fields = parse_metrics_line(line);
        const auto step = fields ? find_value(*fields, "step") : std::nullopt;
        if (step && *step <= static_cast<double>(last_step)) {
            kept.append(line).push_back('\n');  // the kill may have torn off just the line end
            run_time_s = std::fmax(run_time_s, find_value(*fields, "run_time_s").value_or(0));
        }
        rest.remove_prefix(std::min(end + 1, rest.size()));
    }
    if (kept != text) {
        write_text(metrics_file, kept);
    }
    return run_time_s;
}

}  // namespace

std::string to_json(const TrainLine& line) { return json_of(line); }
std::string to_json(const ValidationLine& line) { return json_of(line); }

std::string to_text(const TrainLine& line, bool color) {
    const std::string mfu = line.mfu ? fmt::format("{:.1f}%", 100 * *line.mfu) : "n/a";
    std::string text = fmt::format(
        "{}  {}  grad norm {:.4f}  lr {:.3e}  {}  {:.3g} TFLOP/s  MFU {}  memory {:.2f} GiB "
        "({:.1f}%)  data wait {:.1f}%",
        highlight(fmt::format("step {}", line.step), kCyan, color),
        highlight(fmt::format("loss {:.4f}", line.loss), kGreen, color), line.grad_norm, line.lr,
        highlight(fmt::format("{:.2f} samples/s", line.samples_per_s), kCyan, color), line.tflops,
        mfu, line.memory_gib, line.memory_percent, 100 * line.data_wait);
    if (line.skipped > 0) {
        text += fmt::format("  skipped {}", line.skipped);
    }
    return text;
}

std::string to_text(const ValidationLine& line, bool color) {
    std::string text =
        fmt::format("{}  {}  mean over timesteps {:.4f}  {} samples  per timestep",
                    highlight(fmt::format("step {}", line.step), kCyan, color),
                    highlight(fmt::format("validation loss {:.4f}", line.val_loss), kGreen, color),
                    line.val_loss_t_mean, line.val_samples);
    for (const double loss : line.val_loss_t) {
        const bool has_no_samples = std::isnan(loss) && !std::isnan(line.val_loss);
        text += has_no_samples ? " -" : fmt::format(" {:.3f}", loss);
    }
    return text;
}

Reporter::Reporter(const ReporterSettings& settings)
    : color_(settings.color), view_(settings.view) {
    const std::filesystem::path path = settings.folder / "metrics.jsonl";
    if (settings.resume_step) {
        earlier_s_ = drop_lines_after(path, *settings.resume_step);
    } else {
        write_text(path, "");
    }
    file_ = std::make_unique<AppendFile>(path);
    if (!settings.tensorboard_folder.empty()) {
        events_ = std::make_unique<EventFile>(settings.tensorboard_folder, settings.resume_step);
        events_->text(settings.resume_step.value_or(0), "config", as_code(settings.config_toml));
    }
    if (settings.wandb) {
        forwarder_ = std::make_unique<WandbForwarder>(settings.folder);
    }
}

Reporter::~Reporter() = default;

/// A picture of the run, not the run.
template <class Write>
void Reporter::to_events(const Write& write) {
    try {
        if (events_) {
            write(*events_);
        }
    } catch (const std::exception& problem) {
        log::warning("{}: TensorBoard sees no more of this run", failure_text(problem));
        events_.reset();
    }
}

void Reporter::train(TrainLine line) {
    line.run_time_s = earlier_s_ + line.time_s;
    file_->write(to_json(line) + "\n");
    to_events([&](EventFile& file) { file.scalars(line.step, scalars_of(line, "train")); });
    if (forwarder_) {
        forwarder_->watch();
    }
    if (view_ != nullptr) {
        view_->train(line);
    }
    log::info("{}", to_text(line, color_));
}

void Reporter::validation(ValidationLine line) {
    line.run_time_s = earlier_s_ + line.time_s;
    file_->write(to_json(line) + "\n");
    to_events([&](EventFile& file) { file.scalars(line.step, scalars_of(line, "validation")); });
    if (view_ != nullptr) {
        view_->validation(line);
    }
    log::info("{}", to_text(line, color_));
}

void Reporter::pictures(int64_t step, const std::filesystem::path& folder) {
    to_events([&](EventFile& file) { file.pictures(step, folder); });
}

void Reporter::finish() {
    if (forwarder_) {
        forwarder_->finish();
    }
}

}  // namespace flux::metrics
