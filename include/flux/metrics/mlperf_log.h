// mlperf_compliance.log: what MLPerf's compliance checker (the PyPI package mlperf_logging) wants
// to know of a run, a ":::MLLOG {json}" line for each event. Only rank 0 has one.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>

namespace flux {
class AppendFile;
}

namespace flux::metrics {

/// What is known when the run begins. The words for precisions are the checker's: fp32, tf32, fp16,
/// bfloat16, fp8.
struct MlperfFacts {
    std::string submission_org{};
    std::string submission_platform{};
    bool open_division = false;
    bool caches_cleared = false;
    int64_t train_samples = 0;
    int64_t eval_samples = 0;  // 0: no validation
    uint64_t seed = 0;
    int64_t global_batch_size = 0;
    int64_t micro_batch_size = 0;
    int64_t gradient_accumulation_steps = 0;
    int64_t evaluation_frequency = 0;  // training samples between validations
    std::string optimizer{};           // "adamw"
    double beta1 = 0;
    double beta2 = 0;
    double epsilon = 0;
    double weight_decay = 0;
    double learning_rate = 0;
    int64_t warmup_steps = 0;
    double max_norm = 0;
    std::string linear_precision{};
    std::string attention_precision{};
    std::string communication_precision{};
    int64_t tensor_parallelism = 1;
    int64_t pipeline_parallelism = 1;
    int64_t context_parallelism = 1;
    std::string config_filename{};
};

/// Writes the events of one run in the order the rules ask for. Every line is handed to the system
/// before the call returns. `samples`: trained on since the beginning of the run.
class MlperfLog {
public:
    /// A new run writes down `facts` and that initialisation has begun, with the process's start as
    /// the time. One that goes on after `resume_samples` keeps the lines up to there, without a
    /// validation that has no end and a line that a kill tore: the clock that began with them still
    /// runs.
    MlperfLog(const std::filesystem::path& folder, const MlperfFacts& facts,
              std::optional<int64_t> resume_samples);
    ~MlperfLog();
    MlperfLog(const MlperfLog&) = delete;
    MlperfLog& operator=(const MlperfLog&) = delete;

    /// Initialisation has ended: the clock starts, before any training data is touched.
    void run_starts();
    /// Before each step; the first one after a validation begins a block.
    void step_starts(int64_t samples);
    void trained(int64_t samples, double loss, double learning_rate);
    void validation_starts(int64_t samples);
    void validation_ends(int64_t samples, double loss);
    /// The clock stops. `success`: the target was reached. Only the first call counts.
    void run_stops(int64_t samples, bool success);

private:
    void write_facts(const MlperfFacts& facts);
    void end_block(int64_t samples);

    const bool open_division_;
    bool run_started_ = false;
    bool run_stopped_ = false;
    bool in_block_ = false;
    std::unique_ptr<AppendFile> file_;
};

}  // namespace flux::metrics
