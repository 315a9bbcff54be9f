// The real program as two processes, one of which cannot write for a while.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>

#include <chrono>
#include <functional>
#include <thread>

#include "flux/checkpoint/folder.h"
#include "run/process_group.h"
#include "support/reference.h"

namespace flux {
namespace {

using testing::AllOf;
using testing::Each;
using testing::HasSubstr;

void await(const char* what, const std::function<bool()>& condition) {
    for (int i = 0; i < 3000; ++i) {
        if (condition()) {
            return;
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    FAIL() << "waited in vain for " << what;
}

/// No file of the process may grow beyond so many bytes.
void limit_files(pid_t process, rlim_t bytes) {
    const rlimit limit{.rlim_cur = bytes, .rlim_max = RLIM_INFINITY};
    ASSERT_EQ(::prlimit(process, RLIMIT_FSIZE, &limit, nullptr), 0);
}

TEST(DistRunFault, ASaveThatFailsOnOneRankIsReportedAndTrainingGoesOn) {
    const test::TemporaryFolder folder;
    const auto run = folder.path() / "run", checkpoints = run / "checkpoint";
    ::signal(SIGXFSZ, SIG_IGN);  // inherited: writing fails instead
    test::ProcessGroup group(2,
                             {"--job.config_file=" FLUX_SOURCE_DIR "/configs/debug.toml",
                              "--job.dump_folder=" + run.string(), "--training.steps=100000",
                              "--training.global_batch_size=4", "--training.batch_size=2",
                              "--eval.dataset=", "--metrics.log_freq=1", "--checkpoint.interval=5",
                              "--checkpoint.async_mode=async", "--checkpoint.keep_latest_k=3"},
                             folder.path());
    const auto newest = [&] {
        const auto found = checkpoint::committed(checkpoints);
        return found.empty() ? -1 : found.rbegin()->first;
    };
    ASSERT_NO_FATAL_FAILURE(await("a checkpoint", [&] { return newest() >= 0; }));
    ASSERT_NO_FATAL_FAILURE(limit_files(group.pid(1), 4096));
    ASSERT_NO_FATAL_FAILURE(await("two failures", [&] {
        const std::string log = group.log(0);
        return log.find("was not saved") != log.rfind("was not saved");
    }));
    ASSERT_NO_FATAL_FAILURE(limit_files(group.pid(1), RLIM_INFINITY));
    const int64_t before = newest();
    ASSERT_NO_FATAL_FAILURE(await("a later checkpoint", [&] { return newest() > before; }));
    ::kill(group.pid(0), SIGUSR1);
    EXPECT_THAT(group.wait(), Each(75)) << group.all_logs();
    EXPECT_THAT(group.log(0),
                AllOf(HasSubstr("was not saved: rank 1: "), HasSubstr("rank-00001.safetensors"),
                      HasSubstr("training goes on")));
    const auto losses = test::metric(run, "loss");
    ASSERT_FALSE(losses.empty());
    EXPECT_EQ(newest(), losses.back().first);
}

}  // namespace
}  // namespace flux
