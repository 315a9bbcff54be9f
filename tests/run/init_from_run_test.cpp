// The program from weights to weights: train, export, begin another run with the result, on one
// process and on several; and what a checkpoint says of itself.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "flux/base/file.h"
#include "run/job_words.h"
#include "run/process_group.h"
#include "support/process.h"
#include "support/reference.h"

namespace flux::test {
namespace {

using testing::AllOf;
using testing::Each;
using testing::HasSubstr;

/// A small model on generated pictures, in the sum of all processes the same.
Words job(const std::filesystem::path& folder, const Words& options) {
    return Words{"--job.config_file=" + std::string(FLUX_SOURCE_DIR) + "/configs/debug.toml",
                 "--job.dump_folder=" + folder.string(),
                 "--model.hidden_size=48",
                 "--model.num_heads=3",
                 "--model.axes_dim=4,6,6",
                 "--model.depth=1",
                 "--model.depth_single_blocks=2",
                 "--training.img_size=32",
                 "--training.global_batch_size=4",
                 "--training.seed=7",
                 "--eval.dataset=",
                 "--checkpoint.enable_checkpoint",
                 "--dataloader.num_workers=1"} +
           options;
}

class RunInitFrom : public testing::Test {
protected:
    /// Trains for three steps and exports the weights in all ways.
    static void SetUpTestSuite() {
        trained_ = new TemporaryFolder;
        const auto run = trained_->path() / "run";
        const ProcessResult result =
            run_flux_train(job(run, {"--training.steps=3", "--training.batch_size=4"}));
        ASSERT_EQ(result.exit_code, 0) << result.err;
        export_weights(run, trained("weights.safetensors"));
        export_weights(run, trained("transformer"),
                       {"--format", "diffusers", "--shard-gb", "2e-4"});
    }
    static void TearDownTestSuite() {
        delete trained_;
        trained_ = nullptr;
    }

    static std::filesystem::path trained(const std::string& name) {
        return trained_->path() / name;
    }

    static void export_weights(const std::filesystem::path& run, const std::filesystem::path& out,
                               const Words& more = {}) {
        const ProcessResult result = run_flux_train(
            Words{"checkpoint", "export", "--checkpoint", run.string(), "--out", out.string()} +
            more);
        ASSERT_EQ(result.exit_code, 0) << result.err;
    }

    /// One step that changes nothing, from the exported weights.
    static Words standing_still(const std::filesystem::path& folder,
                                const std::filesystem::path& from, const Words& options) {
        return job(folder, Words{"--training.steps=1", "--optimizer.lr=0",
                                 "--training.init_from=" + from.string()} +
                               options);
    }

    TemporaryFolder folder_;

private:
    static inline TemporaryFolder* trained_ = nullptr;
};

TEST_F(RunInitFrom, ANewRunBeginsWithThem) {
    const std::string expected = read_text(trained("weights.safetensors"));
    for (const char* from : {"weights.safetensors", "transformer"}) {
        const auto run = folder_.path() / from;
        const ProcessResult result =
            run_flux_train(standing_still(run, trained(from), {"--training.batch_size=4"}));
        ASSERT_EQ(result.exit_code, 0) << result.err;
        EXPECT_THAT(result.err, HasSubstr("first weights from " + trained(from).string()));
        const auto again = folder_.path() / (std::string(from) + ".again");
        export_weights(run, again);
        EXPECT_TRUE(read_text(again) == expected) << from;
    }
}

TEST_F(RunInitFrom, AResumedRunDoesNotAskForThem) {
    const auto run = folder_.path() / "run", weights = folder_.path() / "weights.safetensors";
    std::filesystem::copy(trained("weights.safetensors"), weights);
    const Words words = standing_still(run, weights, {"--training.batch_size=4"});
    ASSERT_EQ(run_flux_train(words).exit_code, 0);
    std::filesystem::remove(weights);
    const ProcessResult resumed = run_flux_train(words + Words{"--training.steps=2"});
    EXPECT_EQ(resumed.exit_code, 0) << resumed.err;
    EXPECT_THAT(resumed.err, testing::Not(HasSubstr("first weights")));
}

TEST_F(RunInitFrom, WhatDoesNotFitIsRefusedBeforeTheFolderIsMade) {
    const auto run = folder_.path() / "run";
    const auto refused = [&](const Words& options) {
        const ProcessResult result = run_flux_train(standing_still(
            run, trained("weights.safetensors"), options + Words{"--training.batch_size=4"}));
        EXPECT_FALSE(std::filesystem::exists(run));
        return std::pair(result.exit_code, result.err);
    };
    const auto [guidance, of_guidance] = refused({"--model.guidance_embed"});
    EXPECT_EQ(guidance, 2);
    EXPECT_THAT(of_guidance, HasSubstr("model.guidance_embed = false"));
    const auto [depth, of_depth] = refused({"--model.depth_single_blocks=3"});
    EXPECT_EQ(depth, 1);
    EXPECT_THAT(of_depth, HasSubstr("single_blocks.2."));
    const auto [path, of_path] = refused({"--training.init_from=/nowhere.safetensors"});
    EXPECT_EQ(path, 2);
    EXPECT_THAT(of_path, HasSubstr("no such file or folder"));
}

class DistRunInitFrom : public RunInitFrom {};

TEST_F(DistRunInitFrom, WeightsOnlyCheckpointsOfSeveralProcessesExportTheSameFile) {
    const Words weights_only{"--checkpoint.model_weights_only",
                             "--checkpoint.export_dtype=bfloat16"};
    const auto alone = folder_.path() / "alone";
    ASSERT_EQ(run_flux_train(standing_still(alone, trained("weights.safetensors"),
                                            weights_only + Words{"--training.batch_size=4"}))
                  .exit_code,
              0);
    const auto expected = folder_.path() / "expected";
    export_weights(alone, expected, {"--dtype", "bfloat16"});
    struct Grid {
        int processes;
        int replicate;
        const char* from;
    };
    for (const auto& [processes, replicate, from] :
         {Grid{2, 1, "weights.safetensors"}, Grid{2, 2, "transformer"},
          Grid{4, 2, "transformer"}}) {
        const auto run = folder_.path() / fmt::format("{}-{}", processes, replicate);
        ProcessGroup group(
            processes,
            standing_still(
                run, trained(from),
                weights_only + Words{fmt::format("--training.batch_size={}", 4 / processes),
                                     fmt::format("--parallelism.data_parallel_replicate_degree={}",
                                                 replicate)}),
            folder_.path());
        ASSERT_THAT(group.wait(), Each(0)) << group.all_logs();
        const auto out = folder_.path() / fmt::format("{}-{}.safetensors", processes, replicate);
        export_weights(run, out, {"--dtype", "bfloat16"});
        EXPECT_TRUE(read_text(out) == read_text(expected)) << processes << " processes";
        const ProcessResult told =
            run_flux_train({"checkpoint", "inspect", run.string(), "--verify"});
        EXPECT_THAT(told.out, AllOf(HasSubstr(fmt::format("files              {}, ", processes)),
                                    HasSubstr("bfloat16"), HasSubstr("every checksum is right")));
    }
}

TEST_F(RunInitFrom, InspectNamesWhatIsDamaged) {
    const auto run = folder_.path() / "run";
    const ProcessResult made = run_flux_train(
        job(run, {"--training.steps=4", "--checkpoint.interval=2", "--training.batch_size=4"}));
    ASSERT_EQ(made.exit_code, 0) << made.err;
    const auto inspect = [&](const Words& more) {
        return run_flux_train(Words{"checkpoint", "inspect", run.string()} + more);
    };
    const ProcessResult whole = inspect({"--verify"});
    EXPECT_EQ(whole.exit_code, 0) << whole.err;
    EXPECT_THAT(whole.out,
                AllOf(HasSubstr("step               4\n"), HasSubstr("samples            16\n"),
                      HasSubstr("seed               7\n")));
    const auto shard = run / "checkpoint" / "step-4" / "rank-00000.safetensors";
    std::string bytes = read_text(shard);
    bytes[bytes.size() - 5] = static_cast<char>(bytes[bytes.size() - 5] + 1);
    write_text(shard, bytes);
    EXPECT_EQ(inspect({}).exit_code, 0);
    const ProcessResult damaged = inspect({"--verify"});
    EXPECT_EQ(damaged.exit_code, 1);
    EXPECT_THAT(damaged.err, AllOf(HasSubstr(shard.string()), HasSubstr("checksum"),
                                   HasSubstr("step-2 is complete")));
    std::filesystem::remove(shard);
    const ProcessResult missing = inspect({});
    EXPECT_EQ(missing.exit_code, 1);
    EXPECT_THAT(missing.err, AllOf(HasSubstr(shard.string()), HasSubstr("step-2 is complete")));
    EXPECT_EQ(run_flux_train({"checkpoint", "inspect"}).exit_code, 2);
}

}  // namespace
}  // namespace flux::test
