#include "flux/metrics/mlperf_log.h"

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>
#include <vector>

#include "flux/base/file.h"
#include "flux/metrics/meter.h"

namespace flux::metrics {
namespace {

using nlohmann::ordered_json;

constexpr std::string_view kToken = ":::MLLOG ";
constexpr const char* kPoint = "POINT_IN_TIME";
constexpr const char* kStart = "INTERVAL_START";
constexpr const char* kEnd = "INTERVAL_END";

int64_t now_ms() {
    return std::chrono::duration_cast<std::chrono::milliseconds>(
               std::chrono::system_clock::now().time_since_epoch())
        .count();
}

int64_t process_start_ms() { return now_ms() - static_cast<int64_t>(1000 * process_seconds()); }

std::string to_line(int64_t time_ms, const char* type, std::string_view key,
                    const ordered_json& value, const ordered_json& metadata) {
    const ordered_json line{{"namespace", ""}, {"time_ms", time_ms}, {"event_type", type},
                            {"key", key},      {"value", value},     {"metadata", metadata}};
    return std::string(kToken) + line.dump(-1, ' ', false, ordered_json::error_handler_t::replace) +
           "\n";
}

ordered_json at_samples(int64_t samples) { return {{"samples_count", samples}}; }

struct Line {
    std::string text;  // with its end
    std::string key;
    int64_t samples = 0;  // 0 where the line tells none
};

/// The whole lines of a log; what is not one ends the list, for a kill tears only the last.
std::vector<Line> read_lines(std::string_view text) {
    std::vector<Line> lines;
    for (size_t end; (end = text.find('\n')) != text.npos; text.remove_prefix(end + 1)) {
        const std::string_view line = text.substr(0, end);
        const auto json = line.starts_with(kToken)
                              ? ordered_json::parse(line.substr(kToken.size()), nullptr,
                                                    /*allow_exceptions=*/false)
                              : ordered_json();
        if (!json.is_object() || !json.contains("key") || !json["key"].is_string() ||
            !json.contains("metadata") || !json["metadata"].is_object()) {
            break;
        }
        const auto samples = json["metadata"].find("samples_count");
        const bool tells = samples != json["metadata"].end() && samples->is_number_integer();
        lines.push_back({std::string(line) + "\n", json["key"].get<std::string>(),
                         tells ? samples->get<int64_t>() : 0});
    }
    return lines;
}

bool holds(const std::vector<Line>& lines, std::string_view key) {
    return std::any_of(lines.begin(), lines.end(),
                       [&](const Line& line) { return line.key == key; });
}

/// What is left of a log's text when its run goes on after `samples`: the lines of later samples,
/// a validation without its end, the end of the run and a line that a kill tore are gone.
std::vector<Line> kept_lines(const std::string& text, int64_t samples) {
    std::vector<Line> lines = read_lines(text);
    std::erase_if(
        lines, [&](const Line& line) { return line.samples > samples || line.key == "run_stop"; });
    // A validation that was broken off is done again, and the block before it ends again.
    for (const char* key :
         {"eval_accuracy", "averaged_validation_loss", "eval_start", "block_stop"}) {
        while (!lines.empty() && lines.back().key == key) {
            lines.pop_back();
        }
    }
    return lines;
}

}  // namespace

MlperfLog::MlperfLog(const std::filesystem::path& folder, const MlperfFacts& facts,
                     std::optional<int64_t> resume_samples)
    : open_division_(facts.open_division) {
    const std::filesystem::path path = folder / "mlperf_compliance.log";
    std::string kept;
    if (resume_samples && std::filesystem::exists(path)) {
        const std::vector<Line> lines = kept_lines(read_text(path), *resume_samples);
        run_started_ = holds(lines, "run_start");
        for (const Line& line : lines) {
            kept += run_started_ ? line.text : "";
            in_block_ = line.key == "block_start" || (in_block_ && line.key != "block_stop");
        }
    }
    write_text(path, kept);
    file_ = std::make_unique<AppendFile>(path);
    if (!run_started_) {
        write_facts(facts);
    }
}

MlperfLog::~MlperfLog() = default;

void MlperfLog::write_facts(const MlperfFacts& facts) {
    const int64_t begin_ms = process_start_ms();
    const auto fact = [&](const char* key, const ordered_json& value) {
        file_->write(to_line(begin_ms, kPoint, key, value, ordered_json::object()));
    };
    fact("cache_clear", facts.caches_cleared);
    fact("submission_benchmark", "flux1");
    fact("submission_org", facts.submission_org);
    fact("submission_division", facts.open_division ? "open" : "closed");
    fact("submission_platform", facts.submission_platform);
    fact("train_samples", facts.train_samples);
    fact("eval_samples", facts.eval_samples);
    fact("seed", facts.seed);
    fact("global_batch_size", facts.global_batch_size);
    fact("micro_batch_size", facts.micro_batch_size);
    fact("gradient_accumulation_steps", facts.gradient_accumulation_steps);
    fact("evaluation_frequency", facts.evaluation_frequency);
    fact("opt_name", facts.optimizer);
    fact("opt_adamw_beta_1", facts.beta1);
    fact("opt_adamw_beta_2", facts.beta2);
    fact("opt_adamw_epsilon", facts.epsilon);
    fact("opt_adamw_weight_decay", facts.weight_decay);
    fact("opt_base_learning_rate", facts.learning_rate);
    fact("opt_learning_rate_warmup_steps", facts.warmup_steps);
    fact("opt_gradient_clip_norm", facts.max_norm);
    fact("lowest_numerical_precision_in_linear", facts.linear_precision);
    fact("lowest_numerical_precision_in_attn", facts.attention_precision);
    fact("lowest_numerical_precision_in_comm", facts.communication_precision);
    fact("tensor_parallelism", facts.tensor_parallelism);
    fact("pipeline_parallelism", facts.pipeline_parallelism);
    fact("context_parallelism", facts.context_parallelism);
    fact("expert_parallelism", 1);  // the model has no experts to divide
    fact("config_filename", facts.config_filename);
    file_->write(to_line(begin_ms, kStart, "init_start", nullptr, ordered_json::object()));
}

void MlperfLog::run_starts() {
    if (run_started_) {
        return;
    }
    run_started_ = true;
    file_->write(to_line(now_ms(), kEnd, "init_stop", nullptr, ordered_json::object()));
    file_->write(to_line(now_ms(), kStart, "run_start", nullptr, ordered_json::object()));
}

void MlperfLog::step_starts(int64_t samples) {
    if (!in_block_) {
        file_->write(to_line(now_ms(), kStart, "block_start", nullptr, at_samples(samples)));
        in_block_ = true;
    }
}

void MlperfLog::end_block(int64_t samples) {
    if (in_block_) {
        file_->write(to_line(now_ms(), kEnd, "block_stop", nullptr, at_samples(samples)));
        in_block_ = false;
    }
}

void MlperfLog::trained(int64_t samples, double loss, double learning_rate) {
    ordered_json metadata = at_samples(samples);
    metadata["lr"] = learning_rate;
    file_->write(to_line(now_ms(), kPoint, "train_loss", loss, metadata));
}

void MlperfLog::validation_starts(int64_t samples) {
    end_block(samples);
    file_->write(to_line(now_ms(), kStart, "eval_start", nullptr, at_samples(samples)));
}

void MlperfLog::validation_ends(int64_t samples, double loss) {
    file_->write(to_line(now_ms(), kPoint, "eval_accuracy", loss, at_samples(samples)));
    if (open_division_) {  // its rules ask for the loss under this name, the common ones under both
        file_->write(
            to_line(now_ms(), kPoint, "averaged_validation_loss", loss, at_samples(samples)));
    }
    file_->write(to_line(now_ms(), kEnd, "eval_stop", nullptr, at_samples(samples)));
}

void MlperfLog::run_stops(int64_t samples, bool success) {
    if (std::exchange(run_stopped_, true)) {
        return;
    }
    end_block(samples);
    ordered_json metadata = at_samples(samples);
    metadata["status"] = success ? "success" : "aborted";
    file_->write(to_line(now_ms(), kEnd, "run_stop", nullptr, metadata));
}

}  // namespace flux::metrics
