// The real program as several processes: the same run on any number of them, and checkpoints that
// any number can load.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "flux/base/file.h"
#include "flux/base/png.h"
#include "flux/checkpoint/folder.h"
#include "flux/checkpoint/manifest.h"
#include "run/dist_job.h"
#include "run/process_group.h"
#include "support/reference.h"
#include "support/tar_member.h"

namespace flux {
namespace {

using test::losses;
using test::ProcessGroup;
using test::small_job;
using test::Words;
using test::operator+;
using testing::Each;
using testing::HasSubstr;

double largest_difference(const std::vector<double>& a, const std::vector<double>& b) {
    double largest = 0;
    for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
        largest = std::max(largest, std::abs(a[i] - b[i]) / std::abs(a[i]));
    }
    return largest;
}

struct Grid {
    const char* name;
    int processes;
    int replicate;
    std::vector<std::string> options;
};

TEST(DistRunEquality, TwoHundredStepsOnOneTwoAndFourProcesses) {
    const test::TemporaryFolder folder;
    constexpr int64_t kSteps = 200;
    const auto alone = folder.path() / "alone";
    ASSERT_EQ(
        test::run_flux_train(small_job(alone, kSteps) + Words{"--training.batch_size=8"}).exit_code,
        0);
    const auto expected = losses(alone);
    ASSERT_EQ(expected.size(), size_t{kSteps});
    const std::vector<Grid> grids{
        {"FSDP 2", 2, 1, {"--training.batch_size=4"}},
        {"FSDP 4", 4, 1, {"--training.batch_size=2"}},
        {"FSDP 2, never reshard, accumulated",
         2,
         1,
         {"--training.batch_size=2", "--parallelism.fsdp_reshard_after_forward=never"}},
        {"HSDP 2 x 2", 4, 2, {"--training.batch_size=2"}},
        {"replicate 2, without overlap",
         2,
         2,
         {"--training.batch_size=4", "--parallelism.fsdp_overlap_comm=false"}}};
    for (const Grid& grid : grids) {
        const auto run = folder.path() / grid.name;
        ProcessGroup group(grid.processes,
                           small_job(run, kSteps) + grid.options +
                               Words{"--parallelism.data_parallel_replicate_degree=" +
                                     std::to_string(grid.replicate)},
                           folder.path());
        ASSERT_THAT(group.wait(), Each(0)) << group.all_logs();
        const auto actual = losses(run);
        ASSERT_EQ(actual.size(), expected.size()) << grid.name;
        const double difference = largest_difference(expected, actual);
        std::printf("measured: %s: largest relative difference of %zu losses %.2g\n", grid.name,
                    actual.size(), difference);
        EXPECT_LT(difference, 2e-6) << grid.name;
    }
}

TEST(DistRunEquality, ParametersWithoutWeightDecay) {
    const test::TemporaryFolder folder;
    const Words decay{"--optimizer.weight_decay=0.5", "--optimizer.lr=1e-2"};
    const Words excluded = decay + Words{"--optimizer.no_weight_decay=*.bias,*norm*,img_in.*"};
    const auto all = folder.path() / "all", alone = folder.path() / "alone",
               pair = folder.path() / "pair";
    const Words whole{"--training.batch_size=8"};
    ASSERT_EQ(test::run_flux_train(small_job(all, 20) + whole + decay).exit_code, 0);
    ASSERT_EQ(test::run_flux_train(small_job(alone, 20) + whole + excluded).exit_code, 0);
    ProcessGroup group(2, small_job(pair, 20) + excluded + Words{"--training.batch_size=4"},
                       folder.path());
    ASSERT_THAT(group.wait(), Each(0)) << group.all_logs();
    EXPECT_LT(largest_difference(losses(alone), losses(pair)), 5e-6);
    EXPECT_GT(largest_difference(losses(alone), losses(all)), 1e-4);  // it does something
}

TEST(DistRunEquality, Bfloat16ReductionStaysNear) {
    const test::TemporaryFolder folder;
    const auto alone = folder.path() / "alone", pair = folder.path() / "pair";
    ASSERT_EQ(
        test::run_flux_train(small_job(alone, 20) + Words{"--training.batch_size=8"}).exit_code, 0);
    ProcessGroup group(2,
                       small_job(pair, 20) + Words{"--training.batch_size=4",
                                                   "--training.mixed_precision_reduce=bfloat16"},
                       folder.path());
    ASSERT_THAT(group.wait(), Each(0)) << group.all_logs();
    const double difference = largest_difference(losses(alone), losses(pair));
    EXPECT_LT(difference, 5e-3);
    EXPECT_GT(difference, 0);  // it does something
}

TEST(DistRunResume, OnOtherNumbersOfProcesses) {
    const test::TemporaryFolder folder;
    const auto alone = folder.path() / "alone", moved = folder.path() / "moved";
    ASSERT_EQ(
        test::run_flux_train(small_job(alone, 50) + Words{"--training.batch_size=8"}).exit_code, 0);
    struct Stage {
        int processes;
        int64_t steps;
        std::vector<std::string> options;
    };
    const std::vector<Stage> stages{
        {4, 10, {"--training.batch_size=2"}},
        {2, 20, {"--training.batch_size=4"}},
        {1, 30, {"--training.batch_size=8"}},
        {4,
         40,
         {"--training.batch_size=2", "--parallelism.data_parallel_replicate_degree=2",
          "--checkpoint.async_mode=async"}},
        {2,
         50,
         {"--training.batch_size=4", "--parallelism.data_parallel_replicate_degree=2",
          "--checkpoint.interval=3", "--checkpoint.async_mode=async_with_pinned_mem"}}};
    for (const Stage& stage : stages) {
        ProcessGroup group(stage.processes, small_job(moved, stage.steps) + stage.options,
                           folder.path());
        ASSERT_THAT(group.wait(), Each(0)) << group.all_logs();
    }
    const auto expected = losses(alone), actual = losses(moved);
    ASSERT_EQ(actual.size(), expected.size());
    EXPECT_LT(largest_difference(expected, actual), 2e-6);
}

TEST(DistRunResume, ThreeProcessesLoadWhatTwoTimesTwoWrote) {
    const test::TemporaryFolder folder;
    const std::vector<std::string> six{"--training.global_batch_size=12",
                                       "--parallelism.data_parallel_replicate_degree=2"};
    ProcessGroup four(4,
                      small_job(folder.path() / "run", 3) + six + Words{"--training.batch_size=3"},
                      folder.path());
    ASSERT_THAT(four.wait(), Each(0)) << four.all_logs();
    ProcessGroup three(3,
                       small_job(folder.path() / "run", 6) +
                           Words{"--training.batch_size=4", "--training.global_batch_size=12"},
                       folder.path());
    ASSERT_THAT(three.wait(), Each(0)) << three.all_logs();
    EXPECT_EQ(losses(folder.path() / "run").size(), size_t{6});
}

TEST(DistRunResume, ASeedCheckpointStartsAnyNumberOfProcesses) {
    const test::TemporaryFolder folder;
    const auto alone = folder.path() / "alone", pair = folder.path() / "pair";
    ASSERT_EQ(
        test::run_flux_train(small_job(alone, 5) + Words{"--training.batch_size=8"}).exit_code, 0);
    ASSERT_EQ(
        test::run_flux_train(small_job(pair, 5) + Words{"--training.batch_size=8",
                                                        "--checkpoint.create_seed_checkpoint"})
            .exit_code,
        0);
    EXPECT_TRUE(checkpoint::committed(pair / "checkpoint").contains(0));
    ProcessGroup group(2, small_job(pair, 5) + Words{"--training.batch_size=4"}, folder.path());
    ASSERT_THAT(group.wait(), Each(0)) << group.all_logs();
    ASSERT_EQ(losses(pair).size(), size_t{5});
    EXPECT_LT(largest_difference(losses(alone), losses(pair)), 2e-6);
}

TEST(DistRunResume, PartsOfACheckpointCanBeginAnew) {
    const test::TemporaryFolder folder;
    const auto run = folder.path() / "run";
    const auto train = [&](int64_t steps, const Words& options) {
        const test::ProcessResult result = test::run_flux_train(
            small_job(run, steps) + Words{"--training.batch_size=8"} + options);
        EXPECT_EQ(result.exit_code, 0) << result.err;
    };
    train(10, {});
    train(12, {"--checkpoint.exclude_from_loading=optimizer,lr_scheduler,dataloader"});
    train(14, {});
    const auto rates = test::metric(run, "lr"), samples = test::metric(run, "samples");
    ASSERT_EQ(rates.size(), size_t{14});
    EXPECT_EQ(rates[10].second, rates[0].second);  // warms up again
    // The order of data begins anew; what the model has been trained on counts on.
    for (const auto& [step, count] : samples) {
        EXPECT_EQ(count, std::to_string(8 * step));
    }
    const checkpoint::RunState last =
        checkpoint::read_manifest(checkpoint::committed(run / "checkpoint").at(14)).run;
    EXPECT_EQ(last.samples, 8 * 14);
    EXPECT_EQ(last.data_begin, 8 * 10);
}

// Sample 0 of 16 cannot be read, and is met wherever the order begins.
TEST(DistRunResume, TheOrderOfDataBeginsAnew) {
    const test::TemporaryFolder folder;
    const std::vector<uint8_t> rgb(32 * 32 * 3, 99);
    std::string tar;
    for (int i = 0; i < 16; ++i) {
        const std::string key = fmt::format("{:02}", i);
        tar += test::tar_member(key + ".png", i == 0 ? std::string("no picture")
                                                     : encode_png(ImageView{rgb.data(), 32, 32})) +
               test::tar_member(key + ".txt", "a grey square");
    }
    write_text(folder.path() / "a.tar", tar + std::string(1024, '\0'));
    const auto meets_it = [&](int64_t steps, const Words& options) {
        const test::ProcessResult result = test::run_flux_train(
            small_job(folder.path() / "run", steps) +
            Words{"--training.batch_size=8", "--training.img_size=32",
                  "--training.dataset=webdataset",
                  "--training.dataset_path=" + (folder.path() / "a.tar").string(),
                  "--training.shuffle=none", "--training.max_bad_fraction=0.5"} +
            options);
        EXPECT_EQ(result.exit_code, 0) << result.err;
        return result.err.find("bad sample replaced") != std::string::npos;
    };
    const Words anew{"--checkpoint.exclude_from_loading=dataloader"};
    EXPECT_TRUE(meets_it(1, {}));
    EXPECT_TRUE(meets_it(2, anew));
    EXPECT_FALSE(meets_it(3, {}));
    EXPECT_TRUE(meets_it(4, {}));
}

TEST(DistRunTrace, ShowsEveryUnitsGathersAndWork) {
    const test::TemporaryFolder folder;
    const auto run = folder.path() / "run";
    ProcessGroup group(
        2,
        small_job(run, 4) + Words{"--training.batch_size=4", "--profiling.enable_profiling",
                                  "--profiling.profile_freq=3"},
        folder.path());
    ASSERT_THAT(group.wait(), Each(0)) << group.all_logs();
    for (const char* rank : {"rank0", "rank1"}) {
        const std::string trace =
            read_text(run / "profile_traces" / "iteration_3" / (std::string(rank) + "_trace.json"));
        for (const char* name :
             {"gather double_blocks.1", "forward single_blocks.2", "backward final_layer",
              "sum gradients of double_blocks.0", "gloo:all_gather"}) {
            EXPECT_THAT(trace, HasSubstr(name));
        }
    }
    EXPECT_FALSE(std::filesystem::exists(run / "profile_traces" / "iteration_4"));
}

}  // namespace
}  // namespace flux
