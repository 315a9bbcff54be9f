#include "train/mlperf.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "flux/base/log.h"
#include "flux/train/device.h"

namespace flux::train {
namespace {

// The benchmark's rules for flux1.
constexpr double kTargetLoss = 0.586;
constexpr int64_t kEvaluationFrequency = 262144;  // training samples
constexpr int64_t kTrainSamples = 1099776;
constexpr int64_t kEvalSamples = 29696;
constexpr int kImageSide = 256;
constexpr int kTextTokens = 256;
constexpr double kDropoutProbability = 0.1;

/// As the compliance checker spells it.
std::string precision_word(c10::ScalarType dtype) {
    return dtype == at::kBFloat16 ? "bfloat16" : "fp32";
}

/// Collects sentences for what differs from the rules.
class Rules {
public:
    template <class T, class U>
    void equal(const char* option, const T& value, const U& rule) {
        check(option, fmt::format("{}", value), value == rule, fmt::format("must be {}", rule));
    }
    void check(const std::string& option, const std::string& value, bool holds,
               const std::string& rule) {
        if (!holds) {
            problems_.push_back(fmt::format("{} = {} {}", option, value, rule));
        }
    }
    std::vector<std::string> take() { return std::move(problems_); }

private:
    std::vector<std::string> problems_;
};

void check_evaluation(Rules& rules, const ResolvedJob& job, const metrics::MlperfFacts& facts) {
    const config::Eval& eval = job.config.eval;
    if (!job.validates()) {
        rules.check("eval.dataset", "\"\"", false, "must name the validation set");
        return;
    }
    rules.check("eval.target_eval_loss", fmt::format("{}", eval.target_eval_loss),
                eval.target_eval_loss > 0 && eval.target_eval_loss <= kTargetLoss,
                fmt::format("must be {}", kTargetLoss));
    const int64_t batch = facts.global_batch_size;
    const int64_t wanted = (kEvaluationFrequency + batch - 1) / batch * batch;
    if (facts.evaluation_frequency != wanted) {
        rules.check("validation every", fmt::format("{} samples", facts.evaluation_frequency),
                    false,
                    fmt::format("must be every {} (eval.eval_freq, eval.freq_steps)",
                                kEvaluationFrequency));
    } else {
        rules.check("global batch", std::to_string(batch), wanted == kEvaluationFrequency,
                    fmt::format("must divide {} in rulesets before 6.1.0", kEvaluationFrequency));
    }
    rules.equal("validation samples", facts.eval_samples, kEvalSamples);
    rules.check("eval.timestep_grid", "(k+0.5)/8",
                eval.timestep_grid == config::TimestepGrid::kEighths, "must be k/8");
    rules.check("eval.all_timesteps", "true", !eval.all_timesteps, "must be false");
    rules.equal("eval.steps", eval.steps, int64_t{-1});
}

void check_training(Rules& rules, const ResolvedJob& job, const metrics::MlperfFacts& facts) {
    const config::Training& training = job.config.training;
    rules.check("optimizer.name", facts.optimizer, facts.optimizer == "adamw", "must be AdamW");
    rules.equal("optimizer.beta1", facts.beta1, 0.9);
    rules.equal("optimizer.beta2", facts.beta2, 0.95);
    rules.equal("optimizer.eps", facts.epsilon, 1e-8);
    rules.equal("optimizer.weight_decay", facts.weight_decay, 0.1);
    rules.equal("training.max_norm", facts.max_norm, 1.0);
    rules.check("optimizer.no_weight_decay",
                fmt::format("{}", fmt::join(job.config.optimizer.no_weight_decay, ",")),
                job.config.optimizer.no_weight_decay.empty(), "must be empty");
    const std::optional<double> decay = job.config.lr_scheduler.decay_ratio;
    rules.check("lr_scheduler.decay_ratio", decay ? fmt::format("{}", *decay) : "unset",
                decay == 0.0, "must be 0: the rate stays");
    rules.equal("training samples", facts.train_samples, kTrainSamples);
    rules.equal("training.img_size", training.img_size, kImageSide);
    rules.equal("encoder.max_t5_encoding_len", job.config.encoder.max_t5_encoding_len, kTextTokens);
    rules.equal("training.classifier_free_guidance_prob", training.classifier_free_guidance_prob,
                kDropoutProbability);
    rules.check("training.dropout_mode", "independent",
                training.dropout_mode == config::DropoutMode::kJoint, "must be joint");
    rules.check("training.timestep_sampling", "logit_normal",
                training.timestep_sampling == config::TimestepSampling::kUniform,
                "must be uniform");
    rules.equal("training.timestep_shift", training.timestep_shift, 1.0);
    rules.check("training.init_from", training.init_from, training.init_from.empty(),
                "must be empty: the benchmark begins with fresh weights");
    model::FluxConfig benchmark = model::flavor("flux-schnell");
    benchmark.qk_norm_eps = job.model.qk_norm_eps;
    rules.check("model.flavor", job.config.model.flavor, job.model == benchmark,
                "must have the dimensions of flux-schnell");
}

}  // namespace

metrics::MlperfFacts mlperf_facts(const ResolvedJob& job, const RunSizes& sizes) {
    const config::JobConfig& config = job.config;
    const bool reduces_in_bf16 =
        config.training.mixed_precision_reduce == config::ReducePrecision::kBfloat16;
    const std::string compute = precision_word(job.dtype);
    return {.submission_org = config.mlperf.submission_org,
            .submission_platform =
                config.mlperf.submission_platform.value_or(hardware_name(job.device)),
            .open_division = config.mlperf.submission_division == config::MlperfDivision::kOpen,
            .caches_cleared = sizes.caches_cleared,
            .train_samples = sizes.train_samples,
            .eval_samples = sizes.eval_samples,
            .seed = job.seed,
            .global_batch_size = job.global_batch_size,
            .micro_batch_size = config.training.batch_size,
            .gradient_accumulation_steps = job.micro_batches(),
            .evaluation_frequency = job.eval_interval() * job.global_batch_size,
            .optimizer = config.optimizer.name == config::OptimizerName::kAdamW ? "adamw" : "adam",
            .beta1 = config.optimizer.beta1,
            .beta2 = config.optimizer.beta2,
            .epsilon = config.optimizer.eps,
            .weight_decay = config.optimizer.weight_decay,
            .learning_rate = config.optimizer.lr,
            .warmup_steps = config.lr_scheduler.warmup_steps,
            .max_norm = config.training.max_norm,
            .linear_precision = compute,
            .attention_precision = compute,
            .communication_precision = reduces_in_bf16 ? "bfloat16" : compute,
            .tensor_parallelism = config.parallelism.tensor_parallel_degree,
            .pipeline_parallelism = config.parallelism.pipeline_parallel_degree,
            .context_parallelism = config.parallelism.context_parallel_degree,
            .config_filename = config.job.config_file.empty() ? "none" : config.job.config_file};
}

std::vector<std::string> closed_division_problems(const ResolvedJob& job,
                                                  const metrics::MlperfFacts& facts) {
    Rules rules;
    check_evaluation(rules, job, facts);
    check_training(rules, job, facts);
    rules.check("mlperf.submission_org", facts.submission_org,
                facts.submission_org != config::Mlperf().submission_org, "must name who submits");
    return rules.take();
}

bool clear_caches(const ResolvedJob& job, dist::World& world) {
    if (!job.config.mlperf.clear_caches) {
        return false;
    }
    bool cleared = true;
    if (job.place.local_rank == 0) {
        ::sync();  // what is not on disk yet cannot be dropped
        std::ofstream file("/proc/sys/vm/drop_caches");
        cleared = static_cast<bool>(file << "3" << std::flush);
        if (!cleared) {
            log::warning(
                "mlperf.clear_caches: this process may not drop the file caches of {}: run it as "
                "root, or drop them before the start; the MLPerf log says that it was not done",
                job.place.host);
        }
    }
    const auto all = world.exchange("caches", cleared ? "cleared" : "");
    return std::none_of(all.begin(), all.end(),
                        [](const std::string& word) { return word.empty(); });
}

}  // namespace flux::train
