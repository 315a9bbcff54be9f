// A run that is killed and started again ends as if nothing had happened.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>

#include <chrono>
#include <fstream>
#include <random>
#include <thread>

#include "flux/base/file.h"
#include "flux/checkpoint/folder.h"
#include "run/process_group.h"
#include "support/process.h"
#include "support/reference.h"

namespace flux::test {
namespace {

std::vector<std::string> job(const std::filesystem::path& folder,
                             const std::vector<std::string>& options = {}) {
    std::vector<std::string> words{"--job.config_file",
                                   std::string(FLUX_SOURCE_DIR) + "/configs/debug.toml",
                                   "--job.dump_folder=" + folder.string(),
                                   "--training.img_size=32",
                                   "--training.batch_size=4",
                                   "--training.steps=60",
                                   "--metrics.log_freq=1",
                                   "--checkpoint.interval=7",
                                   "--eval.freq_steps=25",
                                   "--eval.save_img_count=2",
                                   "--eval.denoising_steps=2",
                                   "--model.depth=1",
                                   "--model.depth_single_blocks=1"};
    words.insert(words.end(), options.begin(), options.end());
    return words;
}

int last_step(const std::filesystem::path& folder) {
    const auto losses = metric(folder, "loss");
    return losses.empty() ? 0 : static_cast<int>(losses.back().first);
}

/// Starts the job, kills it with `signal` at or after step `step`, returns its exit code.
int run_until(const std::filesystem::path& folder, int step, int signal,
              const std::vector<std::string>& options = {}) {
    const pid_t process = start_flux_train(job(folder, options), folder.string() + ".log");
    const auto file = folder / "metrics.jsonl";
    for (int i = 0; i < 6000; ++i) {
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
        std::error_code ignored;
        // Each train line has some 250 bytes; an exact count would mean parsing a file that is
        // being written.
        if (std::filesystem::exists(file, ignored) &&
            std::filesystem::file_size(file, ignored) > static_cast<uintmax_t>(step) * 300) {
            break;
        }
    }
    ::kill(process, signal);
    return wait_for(process);
}

bool await_word(const std::filesystem::path& log, const std::string& word) {
    for (int tries = 0; tries < 4000; ++tries) {
        if (std::filesystem::exists(log) && read_text(log).find(word) != std::string::npos) {
            return true;
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return false;
}

class RunResume : public testing::Test {
protected:
    const std::vector<std::pair<int64_t, std::string>>& undisturbed() {
        if (losses_.empty()) {
            EXPECT_EQ(run_flux_train(job(folder_.path() / "undisturbed")).exit_code, 0);
            losses_ = metric(folder_.path() / "undisturbed", "loss");
            validations_ = metric(folder_.path() / "undisturbed", "val_loss");
        }
        return losses_;
    }

    void expect_same(const std::filesystem::path& run) {
        EXPECT_EQ(metric(run, "loss"), undisturbed());
        EXPECT_EQ(metric(run, "val_loss"), validations_);
    }

    TemporaryFolder folder_;
    std::vector<std::pair<int64_t, std::string>> losses_, validations_;
};

TEST_F(RunResume, KilledAtRandomStepsEndsTheSameToTheBit) {
    std::mt19937 random(std::random_device{}());
    for (int round = 0; round < 4; ++round) {
        const auto run = folder_.path() / ("killed" + std::to_string(round));
        const int step = std::uniform_int_distribution(0, 50)(random);
        EXPECT_EQ(run_until(run, step, SIGKILL), 128 + SIGKILL) << "step " << step;
        const ProcessResult second = run_flux_train(job(run));
        ASSERT_EQ(second.exit_code, 0) << second.err;
        expect_same(run);
    }
}

TEST_F(RunResume, KilledAgainAndAgain) {
    const auto run = folder_.path() / "killed_often";
    for (const int step : {5, 15, 25, 45}) {
        run_until(run, step, SIGKILL);
    }
    ASSERT_EQ(run_flux_train(job(run)).exit_code, 0);
    expect_same(run);
}

TEST_F(RunResume, TermSavesAndExitsUnfinished) {
    const auto run = folder_.path() / "stopped";
    EXPECT_EQ(run_until(run, 10, SIGTERM, {"--checkpoint.no_enable_checkpoint"}), 75);
    EXPECT_TRUE(std::filesystem::exists(run / "checkpoint"));
    EXPECT_LT(last_step(run), 60);
    ASSERT_EQ(run_flux_train(job(run)).exit_code, 0);
    expect_same(run);
}

TEST_F(RunResume, ALostTerminalSavesToo) {
    const auto run = folder_.path() / "hung_up";
    EXPECT_EQ(run_until(run, 10, SIGHUP), 75);
    ASSERT_EQ(run_flux_train(job(run)).exit_code, 0);
    expect_same(run);
}

TEST_F(RunResume, AStopIsAnsweredAtOnceAndASecondCtrlCSavesNothing) {
    const auto run = folder_.path() / "impatient", log = folder_.path() / "log";
    const pid_t process =
        start_flux_train(job(run, {"--training.global_batch_size=400000"}), log);  // a long step
    ASSERT_TRUE(await_word(log, "everything goes to"));
    ::kill(process, SIGINT);
    EXPECT_TRUE(await_word(log, "asked to stop")) << read_text(log);
    ::kill(process, SIGINT);
    EXPECT_EQ(wait_for(process), 128 + SIGINT);
    EXPECT_NE(read_text(log).find("ended at once"), std::string::npos) << read_text(log);
    EXPECT_TRUE(checkpoint::committed(run / "checkpoint").empty());
}

TEST_F(RunResume, AReaderOfTheLogThatGoesEndsNothing) {
    const auto run = folder_.path() / "unread";
    std::string command = flux_train_binary().string();
    for (const std::string& word : job(run)) {
        command += " '" + word + "'";
    }
    const pid_t process =
        start_program("/bin/sh", {"-c", command + " 2>&1 | head -n 1"}, folder_.path() / "log");
    EXPECT_EQ(wait_for(process), 0);
    expect_same(run);
}

TEST_F(RunResume, AStopBeforeTheFirstStepEndsWithTheSameCode) {
    const auto log = folder_.path() / "log";
    const pid_t process = start_flux_train(
        job(folder_.path() / "early",
            {"--training.dataset=webdataset", "--training.dataset_path=pipe:sleep 60",
             "--dataloader.cache_dir=" + (folder_.path() / "cache").string()}),
        log);
    ASSERT_TRUE(await_word(log, "fetched first"));
    ::kill(process, SIGTERM);
    EXPECT_EQ(wait_for(process), 75);
    EXPECT_NE(read_text(log).find("stopped before the first step"), std::string::npos);
}

TEST_F(RunResume, AStopWhileTheConfigurationIsReadEndsWithTheSameCode) {
    const auto log = folder_.path() / "log", fifo = folder_.path() / "job.toml";
    ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
    const pid_t process = start_flux_train({"--job.config_file", fifo.string()}, log);
    const std::ofstream opened(fifo);  // waits until the program opens it too
    ::kill(process, SIGTERM);
    EXPECT_EQ(wait_for(process), 75);
    EXPECT_NE(read_text(log).find("stopped before the first step"), std::string::npos);
}

TEST_F(RunResume, AStopAfterTheLastStepChangesNothing) {
    const auto log = folder_.path() / "log";
    for (const char* const last_words : {"finished at step 3", "has already finished"}) {
        std::filesystem::remove(log);
        const pid_t process =
            start_flux_train(job(folder_.path() / "late", {"--training.steps=3"}), log);
        EXPECT_TRUE(await_word(log, last_words));
        signal_until_over(process, SIGTERM);
        EXPECT_EQ(wait_for(process), 0) << read_text(log);
    }
}

TEST_F(RunResume, ACheckpointWithoutManifestIsSaidToBeLeftOut) {
    const auto run = folder_.path() / "no_manifest";
    ASSERT_EQ(run_flux_train(job(run)).exit_code, 0);
    std::filesystem::remove(run / "checkpoint" / "step-60" / "checkpoint.json");
    const ProcessResult again = run_flux_train(job(run));
    EXPECT_EQ(again.exit_code, 0) << again.err;
    EXPECT_NE(again.err.find("step-60: is not used: it has no checkpoint.json"), std::string::npos)
        << again.err;
    expect_same(run);
}

TEST_F(RunResume, FinishedRunSaysSoAndRestartBeginsAnew) {
    const auto run = folder_.path() / "finished";
    ASSERT_EQ(run_flux_train(job(run)).exit_code, 0);
    const ProcessResult again = run_flux_train(job(run));
    EXPECT_EQ(again.exit_code, 0);
    EXPECT_NE(again.err.find("has already finished its 60 steps"), std::string::npos) << again.err;
    const ProcessResult restarted =
        run_flux_train(job(run, {"--job.restart", "--training.steps=3"}));
    EXPECT_EQ(restarted.exit_code, 0) << restarted.err;
    EXPECT_EQ(last_step(run), 3);
    EXPECT_TRUE(std::filesystem::exists(run / "earlier-1" / "checkpoint" / "step-60"));
    EXPECT_TRUE(std::filesystem::exists(run / "earlier-1" / "metrics.jsonl"));
    EXPECT_FALSE(std::filesystem::exists(run / "img" / "step-000025"));
}

TEST_F(RunResume, RefusesAnotherSeedBatchOrModel) {
    const auto run = folder_.path() / "changed";
    ASSERT_EQ(run_flux_train(job(run)).exit_code, 0);
    const auto refused = [&](const std::vector<std::string>& options, int code,
                             const std::string& message) {
        std::vector<std::string> more{"--training.steps=70"};
        more.insert(more.end(), options.begin(), options.end());
        const ProcessResult result = run_flux_train(job(run, more));
        EXPECT_EQ(result.exit_code, code) << result.err;
        EXPECT_NE(result.err.find(message), std::string::npos) << result.err;
    };
    refused({"--training.seed=5"}, 2, "begun with 1234");
    refused({"--training.global_batch_size=8"}, 2, "begun with 4");
    refused({"--training.batch_size=3"}, 2,
            "the global batch of 4 (with which the run in " + run.string());
    refused({"--model.hidden_size=64", "--model.axes_dim=4,6,6"}, 2, "has another model");
    refused({"--model.theta=77"}, 2, "command line: model.theta = 77 (was unset): the run in");
    std::filesystem::rename(run / "checkpoint" / "step-60", run / "checkpoint" / "step-99");
    refused({}, 1, "step-99: holds step 60");
    std::filesystem::rename(run / "checkpoint" / "step-99", run / "checkpoint" / "step-60");
    refused({"--checkpoint.load_step=3"}, 2, "command line: checkpoint.load_step = 3");
    const ProcessResult other =
        run_flux_train(job(run, {"--training.steps=62", "--optimizer.lr=1e-5"}));
    EXPECT_EQ(other.exit_code, 0) << other.err;
    EXPECT_NE(other.err.find("was saved: optimizer.lr = 1e-05 (was"), std::string::npos)
        << other.err;
}

TEST_F(RunResume, RefusalsChangeNothing) {
    const auto run = folder_.path() / "refused";
    ASSERT_EQ(run_flux_train(job(run)).exit_code, 0);
    const std::string config = read_text(run / "config.toml"),
                      metrics = read_text(run / "metrics.jsonl");
    EXPECT_EQ(run_flux_train(job(run, {"--training.steps=70", "--model.hidden_size=64",
                                       "--model.axes_dim=4,6,6"}))
                  .exit_code,
              2);
    EXPECT_EQ(read_text(run / "config.toml"), config);
    EXPECT_EQ(read_text(run / "metrics.jsonl"), metrics);
}

TEST_F(RunResume, OlderStepLeavesTheNewerBranchAside) {
    const auto run = folder_.path() / "branch";
    ASSERT_EQ(run_flux_train(job(run, {"--checkpoint.keep_latest_k=0"})).exit_code, 0);
    const ProcessResult back = run_flux_train(job(run, {"--checkpoint.load_step=14"}));
    ASSERT_EQ(back.exit_code, 0) << back.err;
    EXPECT_TRUE(std::filesystem::exists(run / "checkpoint" / "step-56.abandoned"));
    expect_same(run);
    EXPECT_NE(run_flux_train(job(run)).err.find("already finished"), std::string::npos);
}

TEST_F(RunResume, AStopAfterAnOlderStepSaysThatItIsNotToBeGivenAgain) {
    const auto run = folder_.path() / "back";
    EXPECT_EQ(run_until(run, 10, SIGTERM), 75);
    EXPECT_EQ(read_text(run.string() + ".log").find("--checkpoint.load_step"), std::string::npos);
    const std::vector<std::string> back{"--checkpoint.load_step=7"};
    EXPECT_EQ(run_until(run, 40, SIGTERM, back), 75);
    EXPECT_NE(read_text(run.string() + ".log")
                  .find("(without --job.restart and --checkpoint.load_step) goes on from there"),
              std::string::npos);
    ASSERT_EQ(run_flux_train(job(run)).exit_code, 0);
    expect_same(run);
}

TEST_F(RunResume, ReachedTargetIsTheEnd) {
    const auto run = folder_.path() / "target";
    const std::vector<std::string> easy{"--eval.target_eval_loss=100",
                                        "--checkpoint.model_weights_only"};
    ASSERT_EQ(run_flux_train(job(run, easy)).exit_code, 0);
    EXPECT_EQ(metric(run, "val_loss").back().first, 0);
    const ProcessResult again = run_flux_train(job(run, easy));
    EXPECT_EQ(again.exit_code, 0) << again.err;
    EXPECT_NE(again.err.find("already finished: its validation loss reached the target"),
              std::string::npos);
}

TEST_F(RunResume, RunWithoutCheckpointsKeepsTheEarlierNumbers) {
    const auto run = folder_.path() / "twice";
    const std::vector<std::string> off{"--checkpoint.no_enable_checkpoint", "--training.steps=3"};
    ASSERT_EQ(run_flux_train(job(run, off)).exit_code, 0);
    ASSERT_EQ(run_flux_train(job(run, off)).exit_code, 0);
    EXPECT_TRUE(std::filesystem::exists(run / "earlier-1" / "metrics.jsonl"));
}

TEST_F(RunResume, ALostDiskIsNoticedBeforeTheTraining) {
    const auto run = folder_.path() / "lost_disk";
    std::filesystem::create_directories(run);
    std::filesystem::create_directory_symlink("/nowhere/x", run / "checkpoint");
    const ProcessResult result = run_flux_train(job(run));
    EXPECT_EQ(result.exit_code, 1);
    EXPECT_NE(result.err.find("checkpoint: cannot create the folder"), std::string::npos);
    EXPECT_FALSE(std::filesystem::exists(run / "metrics.jsonl"));
}

TEST_F(RunResume, RefusesAFolderInUseAndChangedData) {
    const auto run = folder_.path() / "locked";
    const pid_t first =
        start_flux_train(job(run, {"--training.steps=100000"}), run.string() + ".log");
    while (metric(run, "loss").empty()) {
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    const ProcessResult second = run_flux_train(job(run));
    EXPECT_EQ(second.exit_code, 1);
    EXPECT_NE(second.err.find("is in use by process " + std::to_string(first)), std::string::npos)
        << second.err;
    ::kill(first, SIGTERM);
    EXPECT_EQ(wait_for(first), 75);
    const ProcessResult changed =
        run_flux_train(job(run, {"--training.steps=100000", "--training.subset_size=500"}));
    EXPECT_EQ(changed.exit_code, 1);
    EXPECT_NE(changed.err.find("the training data has changed"), std::string::npos) << changed.err;
}

}  // namespace
}  // namespace flux::test
