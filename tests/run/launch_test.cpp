// The launchers, as users call them: scripts/run_train.sh, scripts/mpirun.sh, torchrun, and the
// bundle.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <fstream>
#include <thread>

#include "flux/base/file.h"
#include "support/group.h"
#include "support/process.h"
#include "support/reference.h"

namespace flux::test {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

const fs::path kTop = FLUX_SOURCE_DIR;

class RunLaunch : public testing::Test {
protected:
    std::vector<std::string> options(int steps) const {
        return {"--job.dump_folder=" + run().string(),
                "--training.img_size=32",
                "--training.batch_size=4",
                "--training.steps=" + std::to_string(steps),
                "--metrics.log_freq=1",
                "--checkpoint.interval=1000000",
                "--eval.dataset=",
                "--model.depth=1",
                "--model.depth_single_blocks=1"};
    }

    pid_t start(const fs::path& program, const std::vector<std::string>& words,
                Environment environment = {}) {
        environment.insert(environment.end(), {{"FLUX_TRAIN", flux_train_binary().string()},
                                               {"OMP_NUM_THREADS", "1"}});
        fs::remove(log_);
        return start_program(program, words, log_, environment);
    }

    /// scripts/run_train.sh with two processes to its end.
    int run_train(int steps, Environment environment = {}) {
        environment.emplace_back("NGPU", "2");
        return wait_for(start(kTop / "scripts/run_train.sh", options(steps), environment));
    }

    pid_t start_mpirun(int steps, const std::vector<std::string>& extra = {}) {
        std::vector<std::string> words{flux_train_binary().string(), "--job.config_file",
                                       (kTop / "configs/debug.toml").string()};
        const auto more = options(steps);
        words.insert(words.end(), more.begin(), more.end());
        words.insert(words.end(), extra.begin(), extra.end());
        return start(kTop / "scripts/mpirun.sh", words, {{"NGPU", "2"}});
    }

    void await_steps(size_t lines = 5) {
        for (int i = 0; i < 1200 && metric(run(), "loss").size() < lines; ++i) {
            std::this_thread::sleep_for(std::chrono::milliseconds(50));
        }
        ASSERT_GE(metric(run(), "loss").size(), lines) << said();
    }

    /// The processes of the program that train in run().
    std::vector<pid_t> trainers() const {
        std::vector<pid_t> found;
        for (const auto& entry : fs::directory_iterator("/proc")) {
            std::error_code ignored;
            const fs::path program = fs::read_symlink(entry.path() / "exe", ignored);
            std::ifstream file(entry.path() / "cmdline");
            const std::string words{std::istreambuf_iterator<char>(file), {}};
            if (program == flux_train_binary() && words.find(run()) != std::string::npos) {
                found.push_back(std::stoi(entry.path().filename()));
            }
        }
        return found;
    }

    static pid_t child_of(pid_t parent, const std::string& name) {
        for (const auto& entry : fs::directory_iterator("/proc")) {
            // "12 (mpirun) S 11 ...": number, name, state, parent
            std::ifstream file(entry.path() / "stat");
            std::string number, found, state;
            pid_t above = 0;
            if (file >> number >> found >> state >> above && above == parent &&
                found == "(" + name + ")") {
                return std::stoi(number);
            }
        }
        return 0;
    }

    fs::path run() const { return folder_.path() / "run"; }
    std::string said() const { return fs::exists(log_) ? read_text(log_) : ""; }

    TemporaryFolder folder_;
    fs::path log_ = folder_.path() / "log";
};

std::string host() {
    std::array<char, 256> name{};
    return ::gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "";
}

TEST_F(RunLaunch, TwoProcessesSpeakThroughRankZero) {
    ASSERT_EQ(run_train(3), 0) << said();
    EXPECT_THAT(said(), AllOf(HasSubstr("[rank 0] "), HasSubstr("2 processes: 1 x the model"),
                              HasSubstr("finished at step 3"), Not(HasSubstr("[rank 1] "))));
    EXPECT_EQ(metric(run(), "loss").size(), 3U);
}

TEST_F(RunLaunch, LogRankChoosesWhoSpeaks) {
    ASSERT_EQ(run_train(3, {{"LOG_RANK", "1"}}), 0) << said();
    EXPECT_THAT(said(), AllOf(HasSubstr("[rank 1] "), Not(HasSubstr("[rank 0] "))));
    // The file is rank 0's all the same.
    EXPECT_THAT(read_text(run() / "train.log"), HasSubstr("finished at step 3"));
}

TEST_F(RunLaunch, AWrongLogRankIsRefused) {
    EXPECT_EQ(run_train(3, {{"LOG_RANK", "first"}}), 2);
    EXPECT_THAT(said(), HasSubstr("LOG_RANK=first: must be ranks such as 0 or 0,3"));
    EXPECT_EQ(run_train(3, {{"LOG_RANK", "0,7"}}), 2);  // its information would show nowhere
    EXPECT_THAT(said(), HasSubstr("LOG_RANK=0,7: 7 is no rank of this run: ranks are 0 to 1"));
}

TEST_F(RunLaunch, AKilledRankEndsTheJobAndIsNamed) {
    const pid_t launcher = start_mpirun(1'000'000);
    await_steps();
    const auto ranks = trainers();
    ASSERT_EQ(ranks.size(), 2U);
    const auto begin = std::chrono::steady_clock::now();
    ::kill(ranks[1], SIGKILL);
    EXPECT_EQ(wait_for(launcher), 128 + SIGKILL) << said();
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
    std::printf("measured: a killed rank ended the job in %.1f s\n", seconds.count());
    EXPECT_LT(seconds.count(), 15);
    EXPECT_THAT(said(),
                testing::ContainsRegex("rank [01] on " + host() + ": was ended by signal 9"));
    EXPECT_TRUE(trainers().empty());
}

TEST_F(RunLaunch, TermToTheScriptSavesAndGoesOnLater) {
    const pid_t launcher = start_mpirun(1'000'000);
    await_steps();
    ::kill(launcher, SIGTERM);
    EXPECT_EQ(wait_for(launcher), 75) << said();
    EXPECT_TRUE(trainers().empty());
    const auto saved = metric(run(), "loss");
    ASSERT_EQ(run_train(static_cast<int>(saved.back().first) + 2), 0) << said();
    EXPECT_THAT(said(), HasSubstr("going on from"));
    EXPECT_EQ(metric(run(), "loss").size(), saved.size() + 2);
}

TEST_F(RunLaunch, AKilledScriptLeavesNothingBehind) {
    const pid_t launcher = start_mpirun(1'000'000);
    await_steps();
    ::kill(launcher, SIGKILL);
    wait_for(launcher);
    for (int i = 0; i < 300 && !trainers().empty(); ++i) {
        std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
    EXPECT_TRUE(trainers().empty());
}

TEST_F(RunLaunch, AKilledMpirunLeavesACheckpointAndNothingElse) {
    // Nobody reads what the processes say then: one that spoke at every step would end by that.
    const pid_t launcher = start_mpirun(1'000'000, {"--metrics.log_freq=1000000"});
    await_steps(1);
    const pid_t mpirun = child_of(launcher, "mpirun");
    ASSERT_GT(mpirun, 0);
    ::kill(mpirun, SIGKILL);
    EXPECT_EQ(wait_for(launcher), 128 + SIGKILL) << said();
    for (int i = 0; i < 300 && !trainers().empty(); ++i) {
        std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
    EXPECT_TRUE(trainers().empty());
    EXPECT_TRUE(fs::exists(run() / "checkpoint")) << said();
    for (const pid_t left : trainers()) {
        ::kill(left, SIGKILL);
    }
}

TEST_F(RunLaunch, ThroughTorchrun) {
    const fs::path torchrun = kTop / ".deps/venv/bin/torchrun";
    if (!fs::exists(torchrun)) {
        GTEST_SKIP() << torchrun << " is not here";
    }
    std::vector<std::string> words{"--no-python",
                                   "--nproc-per-node=2",
                                   "--master-port=" + std::to_string(free_port()),
                                   flux_train_binary().string(),
                                   "--job.config_file",
                                   (kTop / "configs/debug.toml").string()};
    const auto more = options(3);
    words.insert(words.end(), more.begin(), more.end());
    ASSERT_EQ(wait_for(start(torchrun, words)), 0) << said();
    EXPECT_THAT(said(), AllOf(HasSubstr("2 processes: 1 x the model, each sharded over 2; started "
                                        "by torchrun"),
                              HasSubstr("finished at step 3")));
}

TEST_F(RunLaunch, ABundleRunsElsewhere) {
    fs::path torch;
    for (const auto& entry : fs::directory_iterator(kTop / ".deps/venv/lib")) {
        torch = entry.path() / "site-packages/torch/lib";
    }
    if (!fs::exists(torch / "libtorch_cpu.so")) {
        GTEST_SKIP() << "LibTorch is not in .deps";
    }
    const fs::path bundle = folder_.path() / "bundle", moved = folder_.path() / "moved";
    const fs::path make = kTop / "scripts/bundle.sh";
    const Environment build{{"BUILD_DIR", flux_train_binary().parent_path().string()}};
    ASSERT_EQ(wait_for(start(make, {bundle.string()}, build)), 0) << said();
    EXPECT_EQ(wait_for(start(make, {bundle.string()}, build)), 1);
    EXPECT_THAT(said(), HasSubstr("exists already"));
    fs::rename(bundle, moved);
    ASSERT_EQ(wait_for(start("/usr/bin/readelf", {"-d", (moved / "bin/flux_train").string()})), 0);
    EXPECT_THAT(said(), AllOf(HasSubstr("[$ORIGIN/../lib]"), Not(HasSubstr("site-packages"))));
    std::vector<std::string> words{"--job.config_file", (moved / "configs/debug.toml").string()};
    const auto more = options(2);
    words.insert(words.end(), more.begin(), more.end());
    ASSERT_EQ(wait_for(start(moved / "flux_train", words, {{"FLUX_TORCH_LIB", torch}})), 0)
        << said();
    EXPECT_THAT(said(), HasSubstr("finished at step 2"));
    EXPECT_EQ(wait_for(start(moved / "flux_train", words, {{"FLUX_TORCH_LIB", "/nowhere"}})), 1);
    EXPECT_THAT(said(), HasSubstr("set FLUX_TORCH_LIB"));
}

}  // namespace
}  // namespace flux::test
