// `flux_train plan` as a user runs it: published jobs on GPUs that are not here, and what it
// refuses.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/process.h"

namespace flux::test {
namespace {

using testing::HasSubstr;
using testing::Not;

const std::string kSchnell = std::string(FLUX_SOURCE_DIR) + "/configs/flux_schnell_cc12m.toml";

ProcessResult plan(const std::vector<std::string>& options) {
    std::vector<std::string> words{"plan", "--job.config_file", kSchnell};
    words.insert(words.end(), options.begin(), options.end());
    return run_flux_train(words);
}

TEST(RunPlan, SharesTheModelInsideMachinesAndCopiesItAcross) {
    const ProcessResult result = plan({"--gpus", "16", "--gpu", "h100"});
    ASSERT_EQ(result.exit_code, 0) << result.err;
    EXPECT_THAT(result.out, HasSubstr("mesh 2 x 8: 2 copies"));
    EXPECT_THAT(result.out, HasSubstr("T5 v1.1 XXL"));
    EXPECT_THAT(result.out, HasSubstr("h100 has 79.1 GiB: it fits"));
    EXPECT_THAT(result.out, HasSubstr("full *"));
    EXPECT_THAT(result.out, HasSubstr("full, inputs alone "));
}

TEST(RunPlan, KeepsResultsOrInputsAlone) {
    const auto kept = [](const std::string& option) {
        const std::string out =
            plan({"--gpus", "8", "--gpu", "h200", "--activation_checkpoint.keep_results=" + option})
                .out;
        const std::string begin = option == "true"
                                      ? "activations kept for backward (full)"
                                      : "activations kept for backward (full, inputs alone)";
        const size_t at = out.find(begin);
        return at == std::string::npos ? 0.0 : std::stod(out.substr(at + begin.size()));
    };
    // [32, 512, 3072] in bf16, of 57 blocks, the last of which hands on 256 of the 512 tokens.
    EXPECT_NEAR(kept("true") - kept("false"), 56.5 * 32 * 512 * 3072 * 2 / (1 << 30), 0.02);
}

TEST(RunPlan, SaysWhatDoesNotFit) {
    const ProcessResult result = plan({"--gpus", "1", "--gpu", "h100"});
    ASSERT_EQ(result.exit_code, 0) << result.err;
    EXPECT_THAT(result.out, HasSubstr("IT DOES NOT FIT"));
}

TEST(RunPlan, TakesSpeedsAndUtilisationAsGiven) {
    const auto line_of = [](const std::string& text, const std::string& begin) {
        const size_t at = text.find(begin);
        return text.substr(at, text.find('\n', at) - at);
    };
    const ProcessResult slow = plan({"--gpus", "8", "--gpu", "h200", "--intra-node-gbs", "100"});
    const ProcessResult fast =
        plan({"--gpus", "8", "--gpu", "h200", "--intra-node-gbs", "400", "--utilisation=0.5"});
    ASSERT_EQ(slow.exit_code, 0) << slow.err;
    ASSERT_EQ(fast.exit_code, 0) << fast.err;
    EXPECT_NE(line_of(slow.out, "  all-gather"), line_of(fast.out, "  all-gather"));
    EXPECT_THAT(fast.out, HasSubstr("at 50 % of 989"));
}

TEST(RunPlan, SaysWhatItDoesNotKnow) {
    const std::string peak = "the peak is that of bf16", activations = "keeps more activations";
    const auto said = [](const std::string& option) {
        return plan({"--gpus", "8", "--gpu", "h100", option}).out;
    };
    EXPECT_THAT(said("--training.mixed_precision_param=bfloat16"), Not(HasSubstr(peak)));
    EXPECT_THAT(said("--training.mixed_precision_param=float32"), HasSubstr(peak));
    EXPECT_THAT(said("--model.converters=float8"), HasSubstr(peak));
    EXPECT_THAT(said("--kernels.fused"), Not(HasSubstr(activations)));
    EXPECT_THAT(said("--kernels.fused=false"),
                AllOf(HasSubstr(activations), HasSubstr("it may fit"), HasSubstr(" maybe "),
                      Not(HasSubstr(" yes "))));
}

TEST(RunPlan, RefusesWhatCannotBe) {
    const struct {
        std::vector<std::string> options;
        std::vector<std::string> said;
    } cases[] = {
        {{"--gpus", "16", "--gpu", "h10"}, {"--gpu h10", "did you mean h100", "mi300x"}},
        {{"--gpus", "12", "--gpu", "h100"}, {"--gpus 12", "--gpus-per-node 8"}},
        {{"--gpus", "0", "--gpu", "h100"}, {"--gpus is missing or 0"}},
        {{"--gpus", "-4", "--gpu", "h100"}, {"--gpus -4", ">= 0"}},
        {{"--gpus", "8"}, {"--gpu is missing"}},
        {{"--gpu", "h100"}, {"--gpus is missing"}},
        {{"--gpus", "8", "--gpu", "h100", "--utilisation", "1.5"}, {"--utilisation 1.5", "to 1"}},
        {{"--gpus", "8", "--gpu", "h100", "--intra-node-gbs", "fast"}, {"--intra-node-gbs fast"}},
        {{"--gpus", "8", "--gpu", "h100", "--reserve-gib", "nan"}, {"--reserve-gib nan"}},
        {{"--gpus", "8", "--gpu", "h100", "--parallelism.data_parallel_shard_degree=3"},
         {"data_parallel_shard_degree = 3", "must be the number of processes, 8"}},
        {{"--gpus", "24", "--gpu", "h100"}, {"global_batch_size = 512", "24 processes"}},
        {{"--gpus", "8", "--gpu", "h100", "--training.batch_size=48",
          "--training.global_batch_size=576"},
         {"training.batch_size = 48", "at most 72"}},
        {{"--gpus", "8", "--gpu", "h100", "--model.flavor=flux-schnel"},
         {"must be one of flux-schnell"}},
    };
    for (const auto& [options, said] : cases) {
        const ProcessResult result = plan(options);
        EXPECT_EQ(result.exit_code, 2) << result.out;
        for (const std::string& text : said) {
            EXPECT_THAT(result.err, HasSubstr(text));
        }
    }
}

}  // namespace
}  // namespace flux::test
