#include "train/mlperf.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "flux/base/file.h"
#include "flux/config/load_config.h"

namespace flux::train {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;

/// The shipped file of the benchmark on 32 GPUs.
ResolvedJob benchmark() {
    const std::string file =
        std::string(FLUX_SOURCE_DIR) + "/configs/flux_schnell_mlperf_preprocessed.toml";
    ResolvedJob job;
    job.config = config::load_config({}, {.name = file, .toml = read_text(file)}).config;
    job.config.mlperf.submission_org = "somebody";
    job.model = model_dimensions(job.config);
    job.dtype = at::kBFloat16;
    job.mesh = {.replicate = 4, .shard = 8};
    job.global_batch_size = 512;
    return job;
}

const RunSizes kSizes{.train_samples = 1099776, .eval_samples = 29696};

std::vector<std::string> problems(const ResolvedJob& job, const RunSizes& sizes = kSizes) {
    return closed_division_problems(job, mlperf_facts(job, sizes));
}

TEST(Mlperf, TheShippedFileCanGiveAResult) {
    const ResolvedJob job = benchmark();
    EXPECT_THAT(problems(job), IsEmpty());
    const metrics::MlperfFacts facts = mlperf_facts(job, kSizes);
    EXPECT_EQ(facts.evaluation_frequency, 262144);
    EXPECT_EQ(facts.micro_batch_size, 16);
    EXPECT_EQ(facts.gradient_accumulation_steps, 1);
    EXPECT_EQ(facts.linear_precision, "bfloat16");
    EXPECT_EQ(facts.communication_precision, "bfloat16");
}

TEST(Mlperf, EveryBrokenRuleIsNamed) {
    ResolvedJob job = benchmark();
    job.config.optimizer.beta2 = 0.999;
    job.config.training.max_norm = 2.0;
    job.config.training.init_from = "flux1-schnell.safetensors";
    job.config.eval.target_eval_loss = 0.6;
    job.config.eval.freq_steps = 100;
    job.config.eval.steps = 4;
    job.config.optimizer.no_weight_decay = {"*.bias"};
    job.config.lr_scheduler.decay_ratio.reset();
    job.model.depth = 2;
    const auto found = problems(job, {.train_samples = 1000, .eval_samples = 29696});
    for (const char* sentence :
         {"optimizer.beta2 = 0.999 must be 0.95", "training.max_norm = 2 must be 1",
          "training.init_from = flux1-schnell.safetensors must be empty",
          "eval.target_eval_loss = 0.6 must be 0.586", "validation every = 51200 samples",
          "must have the dimensions of flux-schnell", "training samples = 1000",
          "eval.steps = 4 must be -1", "optimizer.no_weight_decay = *.bias must be empty",
          "lr_scheduler.decay_ratio = unset must be 0"}) {
        EXPECT_THAT(found, Contains(HasSubstr(sentence)));
    }
    EXPECT_EQ(found.size(), size_t{10});
}

/// 262144 / 48 is no whole number: validations fall on whole steps.
TEST(Mlperf, ABatchThatDoesNotDivideIsAllowedByTheNewestRulesOnly) {
    ResolvedJob job = benchmark();
    job.mesh = {.replicate = 1, .shard = 3};
    job.global_batch_size = 48;
    EXPECT_EQ(mlperf_facts(job, kSizes).evaluation_frequency, 262176);
    EXPECT_THAT(problems(job), testing::ElementsAre(HasSubstr("rulesets before 6.1.0")));
}

TEST(Mlperf, WithoutValidationThereIsNoResult) {
    ResolvedJob job = benchmark();
    job.config.eval.dataset = "";
    EXPECT_THAT(problems(job, {.train_samples = 1099776}),
                testing::ElementsAre(HasSubstr("eval.dataset")));
}

}  // namespace
}  // namespace flux::train
