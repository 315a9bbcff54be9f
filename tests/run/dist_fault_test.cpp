// The real program as several processes: what ends a job, how it is said, and what stays behind.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>

#include <chrono>
#include <cstdlib>
#include <random>
#include <thread>

#include "flux/base/file.h"
#include "flux/checkpoint/folder.h"
#include "run/dist_job.h"
#include "run/process_group.h"
#include "support/group.h"
#include "support/reference.h"
#include "support/tar_member.h"

namespace flux {
namespace {

using test::await_step;
using test::errors_in;
using test::losses;
using test::ProcessGroup;
using test::small_job;
using test::operator+;
using testing::AllOf;
using testing::Each;
using testing::HasSubstr;
using testing::Not;

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
        EXPECT_THAT(log, Not(HasSubstr("[c10d]"))) << "LibTorch's own words around ours";
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
    EXPECT_THAT(group.wait(), Each(2));
    EXPECT_THAT(group.log(1), AllOf(HasSubstr("rank 1 on "), HasSubstr("max_norm = 2")))
        << group.all_logs();
    EXPECT_THAT(group.log(0), Not(HasSubstr(" error "))) << group.all_logs();
}

TEST(DistRunFault, ARankWithoutMemoryEndsTheJobAndIsNamed) {
    const test::TemporaryFolder folder;
    const auto run = folder.path() / "run";
    // Every larger tensor is then asked of the system, and none comes from what was freed before.
    ::setenv("MALLOC_MMAP_THRESHOLD_", "16384", 1);
    ProcessGroup group(2,
                       small_job(run, 100000) + std::vector<std::string>{"--training.batch_size=4"},
                       folder.path());
    ::unsetenv("MALLOC_MMAP_THRESHOLD_");
    await_step(run, 3);
    const rlimit limit{1 << 20, 1 << 20};
    ASSERT_EQ(::prlimit(group.pid(1), RLIMIT_DATA, &limit, nullptr), 0);
    EXPECT_THAT(group.wait(), Each(testing::Ne(0)));
    EXPECT_THAT(group.log(1), testing::ContainsRegex(" error rank 1 on [^ ]+: out of memory: lower "
                                                     "training.batch_size"))
        << group.all_logs();
    EXPECT_EQ(errors_in(group.all_logs()), size_t{1}) << group.all_logs();
    EXPECT_TRUE(checkpoint::committed(run / "checkpoint").empty());
}

TEST(DistRun, MeetsUnderTheMachinesOwnAddress) {
    const std::string address = test::own_address();
    if (address.empty()) {
        GTEST_SKIP() << "this machine has no address but loopback";
    }
    const test::TemporaryFolder folder;
    ProcessGroup group(
        2,
        small_job(folder.path() / "run", 3) + std::vector<std::string>{"--training.batch_size=4"},
        folder.path(), {.master_address = address});
    EXPECT_THAT(group.wait(), Each(0)) << group.all_logs();
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
    EXPECT_EQ(errors_in(group.all_logs()), size_t{1}) << group.all_logs();
    EXPECT_THAT(group.log(0), HasSubstr("(3 in a row)"));
    EXPECT_THAT(group.log(1), Not(HasSubstr("in a row)"))) << "said by every rank";
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

/// The one message of a job that ends at its start.
std::string failure(int count, int exit_code, const std::vector<std::string>& options) {
    const test::TemporaryFolder folder;
    ProcessGroup group(count, small_job(folder.path() / "run", 5) + options, folder.path());
    EXPECT_THAT(group.wait(), Each(exit_code)) << group.all_logs();
    EXPECT_EQ(errors_in(group.all_logs()), size_t{1}) << group.all_logs();
    return group.all_logs();
}

TEST(DistRunBadInput, IsRefusedByName) {
    EXPECT_THAT(
        failure(2, 2, {"--training.batch_size=4", "--parallelism.data_parallel_shard_degree=3"}),
        AllOf(HasSubstr("data_parallel_shard_degree = 3"), HasSubstr("processes, 2")));
    EXPECT_THAT(failure(2, 2, {"--training.global_batch_size=7", "--training.batch_size=1"}),
                HasSubstr("training.global_batch_size = 7"));
    EXPECT_THAT(
        failure(2, 2, {"--training.batch_size=2", "--training.gradient_accumulation_steps=3"}),
        AllOf(HasSubstr("gradient_accumulation_steps = 3"), HasSubstr("make it 2")));
    EXPECT_THAT(failure(2, 2, {"--training.batch_size=8"}),
                AllOf(HasSubstr("training.batch_size = 8"), HasSubstr("at most 4 fit")));
    EXPECT_THAT(
        failure(2, 2, {"--training.batch_size=4", "--parallelism.tensor_parallel_degree=2"}),
        HasSubstr("tensor parallelism"));
}

/// A tar shard of drawn pictures, and `bad` members that are none.
std::filesystem::path shards(const std::filesystem::path& folder, int good, int bad) {
    EXPECT_EQ(test::run_flux_train({"data", "shapes", "--out", folder.string(), "--samples",
                                    std::to_string(good), "--img_size", "64"})
                  .exit_code,
              0);
    std::string text;
    for (int i = 0; i < bad; ++i) {
        const std::string key = "bad" + std::to_string(i);
        text += test::tar_member(key + ".jpg", "no picture") + test::tar_member(key + ".txt", "x");
    }
    write_text(folder / "zz-bad.tar", text + std::string(1024, '\0'));
    return folder;
}

/// Each of the two reads 1 or 2 of the 3 bad samples: too many only together.
TEST(DistRunBadInput, BadSamplesAreCountedOverAllProcesses) {
    const test::TemporaryFolder folder;
    const auto data = shards(folder.path() / "shards", 97, 3);
    const auto train = [&](const char* name, const char* fraction) {
        return ProcessGroup(
            2,
            small_job(folder.path() / name, 13) +
                std::vector<std::string>{"--training.batch_size=4", "--training.dataset=webdataset",
                                         "--training.dataset_path=" + data.string(),
                                         "--training.max_bad_fraction=" + std::string(fraction)},
            folder.path());
    };
    {
        ProcessGroup group = train("tolerant", "0.03");
        ASSERT_THAT(group.wait(), Each(0)) << group.all_logs();
        EXPECT_THAT(group.log(0), HasSubstr("epoch 0: 3 of 100 samples were bad"))
            << group.all_logs();
        EXPECT_THAT(group.log(1), Not(HasSubstr("were bad"))) << group.all_logs();
        EXPECT_THAT(group.log(1), HasSubstr("bad sample replaced")) << "all are read by rank 0";
    }
    ProcessGroup group = train("strict", "0.02");
    EXPECT_THAT(group.wait(), Each(1)) << group.all_logs();
    EXPECT_EQ(errors_in(group.all_logs()), size_t{1}) << group.all_logs();
    EXPECT_THAT(group.all_logs(), HasSubstr("too many bad samples: 3 of "));
}

TEST(DistRunBadInput, FewerSamplesThanProcesses) {
    const test::TemporaryFolder folder;
    const auto data = shards(folder.path() / "shards", 1, 0);
    EXPECT_THAT(failure(2, 1,
                        {"--training.batch_size=4", "--training.dataset=webdataset",
                         "--training.dataset_path=" + data.string()}),
                HasSubstr("has 1 samples for 2 processes"));
}

TEST(DistRunBadInput, ADamagedCheckpointIsNamedOnceAndAnOlderOneOffered) {
    const test::TemporaryFolder folder;
    const auto run = folder.path() / "run";
    const std::vector<std::string> options{"--training.batch_size=4", "--checkpoint.interval=2"};
    {
        ProcessGroup group(2, small_job(run, 4) + options, folder.path());
        ASSERT_THAT(group.wait(), Each(0)) << group.all_logs();
    }
    const auto shard = run / "checkpoint" / "step-4" / "rank-00001.safetensors";
    std::string bytes = read_text(shard);
    bytes[bytes.size() - 5] = static_cast<char>(bytes[bytes.size() - 5] ^ 0xff);
    write_text(shard, bytes);
    for (const bool missing : {false, true}) {
        if (missing) {
            std::filesystem::remove(shard);
        }
        ProcessGroup group(2, small_job(run, 6) + options, folder.path());
        EXPECT_THAT(group.wait(), Each(1)) << group.all_logs();
        EXPECT_THAT(group.all_logs(),
                    AllOf(HasSubstr("step-4/rank-00001.safetensors"),
                          HasSubstr("step-2 is complete"), HasSubstr("load_step=2")));
        EXPECT_EQ(errors_in(group.all_logs()), size_t{1}) << group.all_logs();
    }
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
