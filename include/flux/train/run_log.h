// Everything a run tells the world while it goes on: train.log, the lines of metrics.jsonl and all
// who get them (metrics::Reporter: people, TensorBoard, W&B, the live view), report.html, the
// MLPerf log and the progress bar.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "flux/eval/validator.h"
#include "flux/metrics/live_view.h"
#include "flux/metrics/meter.h"
#include "flux/train/job.h"

namespace flux::metrics {
class MlperfLog;
}

namespace flux::train {

/// Scalars of one step, read back from the device.
struct StepFigures {
    int64_t step = 0;
    int64_t samples = 0;
    double loss = 0;
    double grad_norm = 0;
    double lr = 0;
    int64_t skipped = 0;
};

/// What the run's parts tell of their size.
struct RunSizes {
    int64_t train_samples = 0;
    int64_t eval_samples = 0;     // 0: no validation
    bool caches_cleared = false;  // of files, on all machines
};

/// All processes have one and measure; only rank 0's says anything.
class RunLog {
public:
    /// On rank 0: opens what the run writes in its folder, which exists, and writes config.toml and
    /// report.json there. What an earlier run left is set aside; of a resumed run, what came after
    /// its checkpoint goes. `view` (may be null) shows the report and the figures.
    RunLog(const ResolvedJob& job, const RunSizes& sizes, metrics::LiveView* view);
    ~RunLog();
    RunLog(const RunLog&) = delete;
    RunLog& operator=(const RunLog&) = delete;

    metrics::ThroughputMeter& meter() { return meter_; }

    /// Counts the work of a pass through the model.
    void add_pass(int64_t samples, int64_t image_tokens, int64_t text_tokens);
    /// Everything is ready: the benchmark's clock starts.
    void run_starts();
    void step_starts(int64_t samples);
    /// Moves the progress bar.
    void progress(const StepFigures& figures);
    /// A line of metrics.jsonl, to all who get them.
    void train(const StepFigures& figures);
    void validation_starts(int64_t samples);
    void validation(int64_t step, int64_t samples, const eval::ValidationResult& result);
    /// Those drawn at `step` are in their folder.
    void pictures(int64_t step);
    /// Rewrites report.html; unless `force`, only when the last one is some seconds old.
    void report(const std::string& status, int64_t samples, bool force);
    /// No step comes after this. `kFailed`: the run cannot go on.
    enum class End { kGood, kFailed };
    void finish(End end);
    /// The run is over for good; `success`: it reached its target.
    void run_stops(int64_t samples, bool success);

private:
    struct FirstRank;

    metrics::MlperfLog* mlperf() const;

    const ResolvedJob& job_;
    metrics::ThroughputMeter meter_;
    std::unique_ptr<FirstRank> first_;  // null but on rank 0
};

/// Listens where metrics.http_port says; none on other ranks than 0 and with port 0. Throws
/// ConfigError if that cannot be.
std::optional<metrics::LiveView> open_live_view(const ResolvedJob& job);

/// Where the pictures of a step go.
std::filesystem::path picture_folder(const ResolvedJob& job, int64_t step);

}  // namespace flux::train
