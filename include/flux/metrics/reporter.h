// The numbers of a run and all who get them: a JSON line each in metrics.jsonl for machines, a log
// line for people; on request TensorBoard's event files, Weights & Biases and the live view.
// Only rank 0 has a Reporter.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "flux/flow/validation_grid.h"

namespace flux {
class AppendFile;
}

namespace flux::metrics {

class EventFile;
class LiveView;
class WandbForwarder;

struct TrainLine {
    int64_t step = 0;
    int64_t samples = 0;  // consumed since the beginning of the run
    double loss = 0;
    double grad_norm = 0;
    double lr = 0;
    double samples_per_s = 0;
    double tflops = 0;          // TFLOP/s of one device
    std::optional<double> mfu;  // share 0..1; nothing where the peak is not known
    double memory_gib = 0;
    double memory_percent = 0;  // for the log line only
    double data_wait = 0;       // share of the step time, 0..1
    double time_s = 0;          // since process start
    double run_time_s = 0;      // the same with the earlier processes of the run
    int64_t skipped = 0;        // steps skipped so far for non-finite gradients
};

struct ValidationLine {
    int64_t step = 0;
    int64_t samples = 0;
    double val_loss = 0;
    std::array<double, flow::kValidationTimesteps> val_loss_t{};
    double val_loss_t_mean = 0;
    int64_t val_samples = 0;
    double time_s = 0;
    double run_time_s = 0;
};

struct ReporterSettings {
    std::filesystem::path folder;                // of the run; metrics.jsonl goes there
    std::optional<int64_t> resume_step;          // lines after it go; nothing: all lines go
    bool color = false;                          // highlight figures on a terminal
    std::filesystem::path tensorboard_folder{};  // empty: no event files
    std::string config_toml{};                   // shown in TensorBoard
    bool wandb = false;                          // forward all lines to Weights & Biases
    LiveView* view = nullptr;                    // shows the last lines; may be null
};

class Reporter {
public:
    explicit Reporter(const ReporterSettings& settings);
    ~Reporter();
    Reporter(const Reporter&) = delete;
    Reporter& operator=(const Reporter&) = delete;

    /// The line's run_time_s is filled in. Each is handed to the system before the call returns.
    /// Throws Error if metrics.jsonl cannot take it; where TensorBoard's file cannot, that is a
    /// warning and the end of that file.
    void train(TrainLine line);
    void validation(ValidationLine line);
    /// Those drawn at `step`, if `folder` holds any.
    void pictures(int64_t step, const std::filesystem::path& folder);
    /// The run has ended well and no line comes after this. Without it, those who follow the lines
    /// take the run for a failed one.
    void finish();

private:
    template <class Write>
    void to_events(const Write& write);

    bool color_;
    double earlier_s_ = 0;  // that the processes before this one took, up to their last kept lines
    std::unique_ptr<AppendFile> file_;
    std::unique_ptr<EventFile> events_;  // none unless asked for, like the next two
    std::unique_ptr<WandbForwarder> forwarder_;
    LiveView* view_;
};

/// The JSON of one line, without the line end. Numbers keep every bit; what is not finite is null.
std::string to_json(const TrainLine& line);
std::string to_json(const ValidationLine& line);

/// What people read of a line; with `color` some figures are set off by terminal colours.
std::string to_text(const TrainLine& line, bool color);
std::string to_text(const ValidationLine& line, bool color);

}  // namespace flux::metrics
