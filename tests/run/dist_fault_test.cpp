// The real program as several processes: what ends a job, how it is said, and what stays behind.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>

#include <array>
#include <chrono>
#include <cstdlib>
#include <map>
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
using test::Words;
using test::operator+;
using testing::AllOf;
using testing::Each;
using testing::HasSubstr;
using testing::Not;

TEST(DistRunFault, ASignalToOneRankStopsAll) {
    const test::TemporaryFolder folder;
    const auto run = folder.path() / "run";
    ProcessGroup group(2,
                       small_job(run, 100000) +
                           Words{"--training.batch_size=4", "--checkpoint.enable_checkpoint=false"},
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
        ProcessGroup group(2, small_job(run, 100000) + Words{"--training.batch_size=4"},
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

TEST(DistRunFault, ALauncherThatEndsTheSurvivorsChangesNothing) {
    const test::TemporaryFolder folder;
    const auto run = folder.path() / "run";
    ProcessGroup group(2, small_job(run, 100000) + Words{"--training.batch_size=4"}, folder.path());
    await_step(run, 3);
    ::kill(group.pid(1), SIGKILL);
    test::signal_until_over(group.pid(0), SIGTERM);
    EXPECT_THAT(group.wait(), testing::ElementsAre(1, 128 + SIGKILL));
    EXPECT_THAT(group.log(0), AllOf(HasSubstr("rank 1"), Not(HasSubstr("stopped before"))));
}

TEST(DistRunFault, AHangingRankEndsTheJob) {
    for (const int hanging : {0, 1}) {
        const test::TemporaryFolder folder;
        const auto run = folder.path() / "run";
        ProcessGroup group(2,
                           small_job(run, 100000) +
                               Words{"--training.batch_size=4", "--comm.train_timeout_seconds=4"},
                           folder.path());
        await_step(run, 3);
        ::kill(group.pid(hanging), SIGSTOP);
        const int other = 1 - hanging;
        EXPECT_EQ(test::wait_for(group.pid(other)), 1);
        // Rank 1 is missed when the time-out of the exchanges is over, before the 8 s after which
        // silence alone counts. With rank 0 the store hangs: nobody else can be asked.
        EXPECT_THAT(group.log(other),
                    hanging == 1
                        ? testing::ContainsRegex("rank 1 on .* silent for [3-7] s")
                        : testing::ContainsRegex("rank 0, which hosts the store .* has not "
                                                 "answered for 1[0-9] s"));
        ::kill(group.pid(hanging), SIGKILL);
    }
}

TEST(DistRunFault, AFailureOfOneRankIsSaidOnce) {
    const test::TemporaryFolder folder;
    ProcessGroup group(2, small_job(folder.path() / "run", 5) + Words{"--training.batch_size=4"},
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
    ProcessGroup group(2, small_job(run, 100000) + Words{"--training.batch_size=4"}, folder.path());
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
    ProcessGroup group(2, small_job(folder.path() / "run", 3) + Words{"--training.batch_size=4"},
                       folder.path(), {.master_address = address});
    EXPECT_THAT(group.wait(), Each(0)) << group.all_logs();
}

TEST(DistRunFault, StepsThatAreNotFiniteAreSkippedByAllAndEndTheRun) {
    const test::TemporaryFolder folder;
    ProcessGroup group(2,
                       small_job(folder.path() / "run", 50) +
                           Words{"--training.batch_size=4", "--optimizer.lr=1e30",
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
    ProcessGroup group(2, small_job("flux_test_run", 5) + Words{"--training.batch_size=4"},
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

TEST(DistRunBadInput, ANetworkCardThatIsNotThere) {
    ::setenv("GLOO_SOCKET_IFNAME", "nosuch0", 1);
    EXPECT_THAT(failure(2, 2, {"--training.batch_size=4"}),
                HasSubstr("GLOO_SOCKET_IFNAME=nosuch0: this machine has no network interface"));
    ::unsetenv("GLOO_SOCKET_IFNAME");
}

TEST(DistRunBadInput, AProcessThatWaitsForTheOthersSaysWhere) {
    const test::TemporaryFolder folder;
    const auto log = folder.path() / "log";
    const pid_t alone = test::start_flux_train(
        small_job(folder.path() / "run", 5) +
            Words{"--training.batch_size=4", "--comm.init_timeout_seconds=7"},
        log,
        {{"RANK", "1"},
         {"WORLD_SIZE", "2"},
         {"LOCAL_RANK", "1"},
         {"LOCAL_WORLD_SIZE", "2"},
         {"MASTER_ADDR", "nosuch.invalid"},
         {"MASTER_PORT", "29533"}});
    EXPECT_EQ(test::wait_for(alone), 1);
    EXPECT_THAT(read_text(log),
                AllOf(HasSubstr("waiting for the 2 processes of the job to meet at "
                                "MASTER_ADDR=nosuch.invalid, MASTER_PORT=29533, up to 7 s"),
                      HasSubstr("no address is known for that name so far")));
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
        return ProcessGroup(2,
                            small_job(folder.path() / name, 13) +
                                Words{"--training.batch_size=4", "--training.dataset=webdataset",
                                      "--training.dataset_path=" + data.string(),
                                      "--training.max_bad_fraction=" + std::string(fraction)},
                            folder.path());
    };
    {
        ProcessGroup group = train("tolerant", "0.03");
        ASSERT_THAT(group.wait(), Each(0)) << group.all_logs();
        // Of 12 whole steps of 8: the last 4 of the epoch's 100 fall into the next.
        EXPECT_THAT(group.log(0), HasSubstr("epoch 0: 3 of 96 samples were bad"))
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

/// What is in a folder of checkpoints: how far a save had come when its process was killed.
enum class SaveState { kNoneYet, kComplete, kWriting, kBeforeRename };

SaveState save_state(const std::filesystem::path& checkpoints) {
    SaveState state = SaveState::kNoneYet;
    std::error_code none;
    for (const auto& entry : std::filesystem::directory_iterator(checkpoints, none)) {
        if (entry.path().extension() == ".tmp") {
            return std::filesystem::exists(entry.path() / "checkpoint.json", none)
                       ? SaveState::kBeforeRename
                       : SaveState::kWriting;
        }
        state = SaveState::kComplete;
    }
    return state;
}

/// Waits for the moment of a kill: before the first save of a process, while a checkpoint is
/// written, between its manifest and its rename, or (kComplete) any.
void wait_for_moment(const std::filesystem::path& checkpoints, SaveState wanted,
                     std::mt19937& random) {
    if (wanted == SaveState::kNoneYet || wanted == SaveState::kComplete) {
        const unsigned milliseconds =
            wanted == SaveState::kNoneYet ? random() % 500 : 400 + random() % 1500;
        std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds));
        return;
    }
    const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(3);
    while (save_state(checkpoints) != wanted && std::chrono::steady_clock::now() < give_up) {
        std::this_thread::yield();
    }
}

/// FLUX_KILLS=100 for the long form.
TEST(DistRunKills, EveryRestartResumesAndTheLossesAreThoseOfAnUndisturbedRun) {
    const char* asked = std::getenv("FLUX_KILLS");
    const int kills = asked != nullptr ? std::atoi(asked) : 8;
    const test::TemporaryFolder folder;
    const auto calm = folder.path() / "calm", run = folder.path() / "run";
    const int64_t steps = 30 * (kills + 1);
    const Words options{"--training.batch_size=4", "--checkpoint.interval=3",
                        "--checkpoint.async_mode=async", "--checkpoint.keep_latest_k=3",
                        "--comm.init_timeout_seconds=30"};
    {
        ProcessGroup group(2, small_job(calm, steps) + options, folder.path());
        ASSERT_THAT(group.wait(), Each(0)) << group.all_logs();
    }
    constexpr std::array kMoments{SaveState::kNoneYet, SaveState::kWriting,
                                  SaveState::kBeforeRename, SaveState::kComplete};
    std::mt19937 random(20261121);
    std::map<SaveState, int> left;
    int64_t latest = -1;
    for (int kill = 0; kill < kills; ++kill) {
        ProcessGroup group(2, small_job(run, steps) + options, folder.path());
        wait_for_moment(run / "checkpoint", kMoments[static_cast<size_t>(kill) % kMoments.size()],
                        random);
        ::kill(group.pid(static_cast<int>(random() % 2)), SIGKILL);
        ASSERT_THAT(group.wait(), testing::Not(Each(0))) << "it ended before kill " << kill;
        ++left[save_state(run / "checkpoint")];
        const auto found = checkpoint::find_latest(run / "checkpoint", -1);
        const int64_t step = found ? checkpoint::step_of(*found).value() : -1;
        EXPECT_GE(step, latest) << "a checkpoint was lost, or the run began anew";
        latest = step;
        std::error_code none;
        for (const auto& entry : std::filesystem::directory_iterator(run / "checkpoint", none)) {
            if (entry.path().extension() != ".tmp") {  // complete: it can be read to the last byte
                EXPECT_EQ(test::run_flux_train(
                              {"checkpoint", "inspect", "--verify", entry.path().string()})
                              .exit_code,
                          0)
                    << entry.path();
            }
        }
    }
    for (const SaveState state : {SaveState::kNoneYet, SaveState::kWriting}) {
        EXPECT_GE(left[state], 1) << "kills did not fall where they should";
    }
    {
        ProcessGroup group(2, small_job(run, steps) + options, folder.path());
        ASSERT_THAT(group.wait(), Each(0)) << group.all_logs();
    }
    const auto expected = test::metric(calm, "loss"), actual = test::metric(run, "loss");
    ASSERT_EQ(actual.size(), expected.size());
    EXPECT_EQ(actual, expected);  // to the bit: the same processes, the same sums
    std::printf(
        "measured: %d kills (%d before the first save, %d in a write, %d before the rename), "
        "%zu losses equal to the bit\n",
        kills, left[SaveState::kNoneYet], left[SaveState::kWriting], left[SaveState::kBeforeRename],
        actual.size());
}

}  // namespace
}  // namespace flux
