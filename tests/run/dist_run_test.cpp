// The real program as several processes: the same run on any number of them, checkpoints that any
// number can load, and what happens when one dies.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <cmath>
#include <cstdlib>
#include <random>
#include <thread>

#include "flux/base/file.h"
#include "flux/checkpoint/folder.h"
#include "run/process_group.h"
#include "support/group.h"
#include "support/reference.h"

namespace flux {
namespace {

using test::ProcessGroup;
using testing::AllOf;
using testing::Each;
using testing::HasSubstr;
using testing::Not;

/// A small model on generated pictures; the learning rate does not depend on the number of steps.
std::vector<std::string> small_job(const std::filesystem::path& folder, int64_t steps) {
    return {"--job.config_file=" + std::string(FLUX_SOURCE_DIR) + "/configs/debug.toml",
            "--job.dump_folder=" + folder.string(),
            "--model.hidden_size=64",
            "--model.num_heads=4",
            "--model.axes_dim=4,6,6",
            "--model.depth=2",
            "--model.depth_single_blocks=3",
            "--training.steps=" + std::to_string(steps),
            "--training.global_batch_size=8",
            "--lr_scheduler.warmup_steps=5",
            "--lr_scheduler.decay_ratio=0",
            "--eval.dataset=",
            "--metrics.log_freq=1",
            "--checkpoint.interval=1000000",
            "--dataloader.num_workers=1"};
}

std::vector<std::string> operator+(std::vector<std::string> words,
                                   const std::vector<std::string>& more) {
    words.insert(words.end(), more.begin(), more.end());
    return words;
}

std::vector<double> losses(const std::filesystem::path& folder) {
    std::vector<double> values;
    for (const auto& [step, text] : test::metric(folder, "loss")) {
        values.push_back(std::stod(text));
    }
    return values;
}

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
    ASSERT_EQ(test::run_flux_train(small_job(alone, kSteps) +
                                   std::vector<std::string>{"--training.batch_size=8"})
                  .exit_code,
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
        ProcessGroup group(
            grid.processes,
            small_job(run, kSteps) + grid.options +
                std::vector<std::string>{"--parallelism.data_parallel_replicate_degree=" +
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

TEST(DistRunEquality, Bfloat16ReductionStaysNear) {
    const test::TemporaryFolder folder;
    const auto alone = folder.path() / "alone", pair = folder.path() / "pair";
    ASSERT_EQ(test::run_flux_train(small_job(alone, 20) +
                                   std::vector<std::string>{"--training.batch_size=8"})
                  .exit_code,
              0);
    ProcessGroup group(2,
                       small_job(pair, 20) +
                           std::vector<std::string>{"--training.batch_size=4",
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
    ASSERT_EQ(test::run_flux_train(small_job(alone, 50) +
                                   std::vector<std::string>{"--training.batch_size=8"})
                  .exit_code,
              0);
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
                      small_job(folder.path() / "run", 3) + six +
                          std::vector<std::string>{"--training.batch_size=3"},
                      folder.path());
    ASSERT_THAT(four.wait(), Each(0)) << four.all_logs();
    ProcessGroup three(
        3,
        small_job(folder.path() / "run", 6) +
            std::vector<std::string>{"--training.batch_size=4", "--training.global_batch_size=12"},
        folder.path());
    ASSERT_THAT(three.wait(), Each(0)) << three.all_logs();
    EXPECT_EQ(losses(folder.path() / "run").size(), size_t{6});
}

/// Waits until the run has made a step.
void await_step(const std::filesystem::path& folder, size_t steps) {
    for (int i = 0; i < 3000 && losses(folder).size() < steps; ++i) {
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    ASSERT_GE(losses(folder).size(), steps);
}

TEST(DistRunFault, ASignalToOneRankStopsAll) {
    const test::TemporaryFolder folder;
    const auto run = folder.path() / "run";
    ProcessGroup group(
        2,
        small_job(run, 100000) + std::vector<std::string>{"--training.batch_size=4",
                                                          "--checkpoint.enable_checkpoint=false"},
        folder.path());
    await_step(run, 5);
    ::kill(group.pid(1), SIGUSR1);
    EXPECT_THAT(group.wait(), Each(75)) << group.all_logs();
    EXPECT_EQ(checkpoint::committed(run / "checkpoint").size(), size_t{1});
}

TEST(DistRunFault, AKilledRankEndsTheJobAndIsNamed) {
    for (const int victim : {0, 1}) {
        const test::TemporaryFolder folder;
        const auto run = folder.path() / "run";
        ProcessGroup group(
            2, small_job(run, 100000) + std::vector<std::string>{"--training.batch_size=4"},
            folder.path());
        await_step(run, 3);
        const auto begin = std::chrono::steady_clock::now();
        ::kill(group.pid(victim), SIGKILL);
        const auto codes = group.wait();
        const double seconds =
            std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
        std::printf("measured: rank %d killed, the job was over after %.1f s\n", victim, seconds);
        EXPECT_EQ(codes[static_cast<size_t>(victim)], 128 + SIGKILL);
        EXPECT_EQ(codes[static_cast<size_t>(1 - victim)], 1);
        EXPECT_LT(seconds, 15);
        const std::string log = group.log(1 - victim);
        EXPECT_THAT(log, HasSubstr("rank " + std::to_string(victim))) << log;
        EXPECT_THAT(log, AllOf(HasSubstr(" error "), Not(HasSubstr("internal error"))));
        EXPECT_TRUE(checkpoint::committed(run / "checkpoint").empty());
    }
}

TEST(DistRunFault, AHangingRankEndsTheJob) {
    const test::TemporaryFolder folder;
    const auto run = folder.path() / "run";
    ProcessGroup group(
        2,
        small_job(run, 100000) +
            std::vector<std::string>{"--training.batch_size=4", "--comm.train_timeout_seconds=4"},
        folder.path());
    await_step(run, 3);
    ::kill(group.pid(1), SIGSTOP);
    EXPECT_EQ(test::wait_for(group.pid(0)), 1);
    EXPECT_THAT(group.log(0), HasSubstr("rank 1 on ")) << group.log(0);
    ::kill(group.pid(1), SIGKILL);
}

TEST(DistRunFault, AFailureOfOneRankIsSaidOnce) {
    const test::TemporaryFolder folder;
    ProcessGroup group(
        2,
        small_job(folder.path() / "run", 5) + std::vector<std::string>{"--training.batch_size=4"},
        folder.path(), {.rank = 1, .arguments = {"--training.max_norm=2"}});
    EXPECT_THAT(group.wait(), Each(testing::AnyOf(1, 2)));
    EXPECT_THAT(group.log(1), AllOf(HasSubstr("rank 1 on "), HasSubstr("max_norm = 2")))
        << group.all_logs();
    EXPECT_THAT(group.log(0), Not(HasSubstr(" error "))) << group.all_logs();
}

TEST(DistRunFault, StepsThatAreNotFiniteAreSkippedByAllAndEndTheRun) {
    const test::TemporaryFolder folder;
    ProcessGroup group(
        2,
        small_job(folder.path() / "run", 50) +
            std::vector<std::string>{"--training.batch_size=4", "--optimizer.lr=1e30",
                                     "--training.max_skipped_steps=3"},
        folder.path());
    EXPECT_THAT(group.wait(), Each(1)) << group.all_logs();
    EXPECT_THAT(group.all_logs(), HasSubstr("training.max_skipped_steps = 3"));
    const std::string all = group.all_logs();
    const size_t first = all.find(" error ");
    ASSERT_NE(first, std::string::npos);
    EXPECT_EQ(all.find(" error ", first + 1), std::string::npos) << "said twice: " << all;
}

TEST(DistRunBadInput, AFolderThatIsNotSharedIsSaidAtTheStart) {
    const test::TemporaryFolder folder;
    std::filesystem::create_directories(folder.path() / "elsewhere");
    ProcessGroup group(
        2, small_job("flux_test_run", 5) + std::vector<std::string>{"--training.batch_size=4"},
        folder.path(), {.rank = 1, .working_folder = folder.path() / "elsewhere"});
    group.wait();
    EXPECT_THAT(group.log(1), AllOf(HasSubstr("job.dump_folder"), HasSubstr("share")))
        << group.all_logs();
    std::filesystem::remove_all("flux_test_run");
}

TEST(DistRunResume, ASeedCheckpointStartsAnyNumberOfProcesses) {
    const test::TemporaryFolder folder;
    const auto alone = folder.path() / "alone", pair = folder.path() / "pair";
    ASSERT_EQ(test::run_flux_train(small_job(alone, 5) +
                                   std::vector<std::string>{"--training.batch_size=8"})
                  .exit_code,
              0);
    ASSERT_EQ(test::run_flux_train(small_job(pair, 5) +
                                   std::vector<std::string>{"--training.batch_size=8",
                                                            "--checkpoint.create_seed_checkpoint"})
                  .exit_code,
              0);
    EXPECT_TRUE(checkpoint::committed(pair / "checkpoint").contains(0));
    ProcessGroup group(2, small_job(pair, 5) + std::vector<std::string>{"--training.batch_size=4"},
                       folder.path());
    ASSERT_THAT(group.wait(), Each(0)) << group.all_logs();
    ASSERT_EQ(losses(pair).size(), size_t{5});
    EXPECT_LT(largest_difference(losses(alone), losses(pair)), 2e-6);
}

TEST(DistRunResume, PartsOfACheckpointCanBeginAnew) {
    const test::TemporaryFolder folder;
    const auto run = folder.path() / "run";
    const std::vector<std::string> one{"--training.batch_size=8"};
    ASSERT_EQ(test::run_flux_train(small_job(run, 10) + one).exit_code, 0);
    ASSERT_EQ(test::run_flux_train(small_job(run, 12) + one +
                                   std::vector<std::string>{"--checkpoint.exclude_from_loading="
                                                            "optimizer,lr_scheduler,dataloader"})
                  .exit_code,
              0);
    const auto rates = test::metric(run, "lr"), samples = test::metric(run, "samples");
    ASSERT_EQ(rates.size(), size_t{12});
    EXPECT_EQ(rates[10].second, rates[0].second);  // warms up again
    EXPECT_EQ(samples[10].second, samples[0].second);
}

TEST(DistRunTrace, ShowsEveryUnitsGathersAndWork) {
    const test::TemporaryFolder folder;
    const auto run = folder.path() / "run";
    ProcessGroup group(2,
                       small_job(run, 4) + std::vector<std::string>{"--training.batch_size=4",
                                                                    "--profiling.enable_profiling",
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

std::string refusal(int count, const std::vector<std::string>& options) {
    const test::TemporaryFolder folder;
    ProcessGroup group(count, small_job(folder.path() / "run", 5) + options, folder.path());
    EXPECT_THAT(group.wait(), testing::Contains(2)) << group.all_logs();
    return group.all_logs();
}

TEST(DistRunBadInput, IsRefusedByName) {
    EXPECT_THAT(
        refusal(2, {"--training.batch_size=4", "--parallelism.data_parallel_shard_degree=3"}),
        AllOf(HasSubstr("data_parallel_shard_degree = 3"), HasSubstr("processes, 2")));
    EXPECT_THAT(refusal(2, {"--training.global_batch_size=7", "--training.batch_size=1"}),
                HasSubstr("training.global_batch_size = 7"));
    EXPECT_THAT(refusal(2, {"--training.batch_size=2", "--training.gradient_accumulation_steps=3"}),
                AllOf(HasSubstr("gradient_accumulation_steps = 3"), HasSubstr("make it 2")));
    EXPECT_THAT(refusal(2, {"--training.batch_size=8"}),
                AllOf(HasSubstr("training.batch_size = 8"), HasSubstr("at most 4 fit")));
    EXPECT_THAT(refusal(2, {"--training.batch_size=4", "--parallelism.tensor_parallel_degree=2"}),
                HasSubstr("tensor parallelism"));
}

/// FLUX_KILLS=100 for the long form.
TEST(DistRunKills, EveryRestartResumesAndTheLossesAreThoseOfAnUndisturbedRun) {
    const char* wanted = std::getenv("FLUX_KILLS");
    const int kills = wanted != nullptr ? std::atoi(wanted) : 6;
    const test::TemporaryFolder folder;
    const auto calm = folder.path() / "calm", run = folder.path() / "run";
    const int64_t steps = 30 * (kills + 1);
    const std::vector<std::string> options{"--training.batch_size=4", "--checkpoint.interval=3",
                                           "--checkpoint.async_mode=async",
                                           "--checkpoint.keep_latest_k=3"};
    {
        ProcessGroup group(2, small_job(calm, steps) + options, folder.path());
        ASSERT_THAT(group.wait(), Each(0)) << group.all_logs();
    }
    std::mt19937 random(20261121);
    int killed = 0;
    while (killed < kills) {
        ProcessGroup group(2, small_job(run, steps) + options, folder.path());
        // From before the first save to the middle of the run; where a kill falls within a save
        // is left to chance.
        const int milliseconds = static_cast<int>(400 + random() % 1500);
        std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds));
        const int victim = static_cast<int>(random() % 2);
        ::kill(group.pid(victim), SIGKILL);
        const auto codes = group.wait();
        if (codes == std::vector<int>{0, 0}) {
            FAIL() << "the run ended before kill " << killed;
        }
        ++killed;
    }
    {
        ProcessGroup group(2, small_job(run, steps) + options, folder.path());
        ASSERT_THAT(group.wait(), Each(0)) << group.all_logs();
    }
    const auto expected = test::metric(calm, "loss"), actual = test::metric(run, "loss");
    ASSERT_EQ(actual.size(), expected.size());
    EXPECT_EQ(actual, expected);  // to the bit: the same processes, the same sums
    std::printf("measured: %d kills, %zu losses equal to the bit\n", killed, actual.size());
}

}  // namespace
}  // namespace flux
