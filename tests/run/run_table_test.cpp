// Every shipped configuration, run for three steps at tiny dimensions by the real program.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "support/process.h"
#include "support/reference.h"

namespace flux::test {
namespace {

/// Options that make any configuration small enough for a CPU and independent of downloads.
std::vector<std::string> tiny(const std::filesystem::path& folder) {
    return {"--job.dump_folder=" + folder.string(),
            "--training.dataset=shapes",
            "--training.dataset_path=",
            "--training.img_size=32",
            "--training.batch_size=2",
            "--training.steps=3",
            "--training.device=cpu",
            "--training.mixed_precision_param=float32",
            "--encoder.t5_encoder=words",
            "--encoder.clip_encoder=words",
            "--encoder.autoencoder_path=dct",
            "--encoder.empty_encodings_path=",
            "--encoder.max_t5_encoding_len=8",
            "--encoder.context_in_dim=32",
            "--model.hidden_size=48",
            "--model.num_heads=2",
            "--model.axes_dim=4,10,10",
            "--model.depth=1",
            "--model.depth_single_blocks=2",
            "--model.vec_in_dim=16",
            "--eval.dataset=",
            "--metrics.log_freq=1"};
}

struct Case {
    std::string name;
    std::string config;
    std::vector<std::string> options;
};

class RunTable : public testing::TestWithParam<Case> {};

TEST_P(RunTable, TrainsThreeSteps) {
    const TemporaryFolder folder;
    std::vector<std::string> words{"--job.config_file",
                                   std::string(FLUX_SOURCE_DIR) + "/configs/" + GetParam().config};
    const auto shrink = tiny(folder.path() / "run");
    words.insert(words.end(), shrink.begin(), shrink.end());
    words.insert(words.end(), GetParam().options.begin(), GetParam().options.end());
    const ProcessResult result = run_flux_train(words);
    ASSERT_EQ(result.exit_code, 0) << result.err;
    const auto losses = metric(folder.path() / "run", "loss");
    ASSERT_EQ(losses.size(), 3u);
    for (const auto& [step, loss] : losses) {
        EXPECT_TRUE(std::isfinite(std::stod(loss))) << step;
    }
    for (const char* file : {"config.toml", "train.log", "metrics.jsonl", "report.html"}) {
        EXPECT_TRUE(std::filesystem::exists(folder.path() / "run" / file)) << file;
    }
}

INSTANTIATE_TEST_SUITE_P(
    Configs, RunTable,
    testing::Values(
        Case{"debug", "debug.toml", {}}, Case{"mlperf", "flux_schnell_mlperf.toml", {}},
        Case{"mlperf_preprocessed", "flux_schnell_mlperf_preprocessed.toml", {}},
        Case{"cc12m", "flux_schnell_cc12m.toml", {}}, Case{"dev", "flux_dev.toml", {}},
        Case{"bench_cpu", "bench_cpu.toml", {}}, Case{"bench_gpu", "bench_gpu.toml", {}},
        Case{"twins", "debug.toml", {"--kernels.fused=false"}},
        Case{"validates", "debug.toml", {"--eval.dataset=shapes", "--eval.freq_steps=2"}},
        Case{"accumulates", "debug.toml", {"--training.global_batch_size=6"}},
        Case{"recomputes", "debug.toml", {"--activation_checkpoint.mode=full"}},
        Case{"recomputes_all",
             "debug.toml",
             {"--activation_checkpoint.mode=full", "--activation_checkpoint.keep_results=false"}},
        Case{"recomputes_half",
             "debug.toml",
             {"--activation_checkpoint.mode=selective",
              "--activation_checkpoint.selective_ac_option=0.5"}},
        Case{"bfloat16", "debug.toml", {"--training.mixed_precision_param=bfloat16"}},
        Case{"float8_tensorwise", "debug.toml", {"--model.converters=float8", "--float8.emulate"}},
        Case{"float8_rowwise",
             "debug.toml",
             {"--model.converters=float8", "--float8.emulate", "--float8.recipe_name=rowwise",
              "--training.mixed_precision_param=bfloat16", "--activation_checkpoint.mode=full"}},
        Case{"guided", "debug.toml", {"--model.guidance_embed", "--training.guidance=3.5"}},
        Case{"logit_normal",
             "debug.toml",
             {"--training.timestep_sampling=logit_normal", "--training.timestep_shift=3"}},
        Case{"test_mode", "flux_schnell_mlperf.toml", {"--training.test_mode"}}),
    [](const auto& row) { return row.param.name; });

TEST(RunTableItself, NamesEveryShippedConfiguration) {
    size_t shipped = 0;
    for (const auto& entry :
         std::filesystem::directory_iterator(std::string(FLUX_SOURCE_DIR) + "/configs")) {
        shipped += entry.path().extension() == ".toml" ? 1 : 0;
    }
    EXPECT_EQ(shipped, 7u) << "add new configurations to the table above";
}

// Recomputation and the slab ring change nothing but memory.
TEST(RunEquivalence, RecomputationAndSlabsKeepEveryBitOfTheLosses) {
    const TemporaryFolder folder;
    std::vector<std::vector<std::pair<int64_t, std::string>>> all;
    const std::vector<std::vector<std::string>> schedules{
        {"--activation_checkpoint.mode=none"},
        {"--activation_checkpoint.mode=full"},
        {"--activation_checkpoint.mode=selective"},
        {"--activation_checkpoint.mode=none", "--parallelism.fsdp_reshard_after_forward=always"},
        {"--activation_checkpoint.mode=full", "--parallelism.fsdp_reshard_after_forward=always",
         "--parallelism.fsdp_prefetch_params=0"}};
    for (const auto& schedule : schedules) {
        const auto run = folder.path() / std::to_string(all.size());
        std::vector<std::string> words{"--job.config_file",
                                       std::string(FLUX_SOURCE_DIR) + "/configs/debug.toml"};
        const auto shrink = tiny(run);
        words.insert(words.end(), shrink.begin(), shrink.end());
        words.push_back("--training.steps=10");
        words.insert(words.end(), schedule.begin(), schedule.end());
        ASSERT_EQ(run_flux_train(words).exit_code, 0);
        all.push_back(metric(run, "loss"));
    }
    EXPECT_EQ(all[0].size(), 10u);
    for (const auto& losses : all) {
        EXPECT_EQ(losses, all[0]);
    }
}

TEST(RunEquivalence, AccumulatedBatchesFollowTheWholeBatch) {
    const TemporaryFolder folder;
    const auto losses = [&](const std::string& name, const std::vector<std::string>& options) {
        std::vector<std::string> words{"--job.config_file",
                                       std::string(FLUX_SOURCE_DIR) + "/configs/debug.toml",
                                       "--job.dump_folder=" + (folder.path() / name).string(),
                                       "--training.steps=200",
                                       "--metrics.log_freq=1",
                                       "--eval.dataset=",
                                       "--checkpoint.no_enable_checkpoint"};
        words.insert(words.end(), options.begin(), options.end());
        EXPECT_EQ(run_flux_train(words).exit_code, 0);
        return metric(folder.path() / name, "loss");
    };
    const auto whole = losses("whole", {});
    const auto parts =
        losses("parts", {"--training.batch_size=4", "--training.global_batch_size=16"});
    ASSERT_EQ(whole.size(), 200u);
    ASSERT_EQ(parts.size(), 200u);
    for (size_t i = 0; i < whole.size(); ++i) {
        const double a = std::stod(whole[i].second), b = std::stod(parts[i].second);
        EXPECT_NEAR(a, b, 2e-6 * a) << "step " << whole[i].first;
    }
}

}  // namespace
}  // namespace flux::test
