// Runs that read a step's figures only when two more have been started, as on a GPU: what follows
// from them, and what is written down, is the same.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

#include "flux/base/error.h"
#include "flux/base/file.h"
#include "flux/checkpoint/folder.h"
#include "flux/config/load_config.h"
#include "flux/data/shapes.h"
#include "flux/train/stop_signal.h"
#include "flux/train/trainer.h"
#include "support/group.h"
#include "support/problem.h"
#include "support/reference.h"
#include "support/tar_member.h"

namespace flux::train {
namespace {

namespace fs = std::filesystem;
using Words = std::vector<std::string>;

constexpr int64_t kLag = 2;

Words job(const fs::path& folder, const Words& more) {
    Words words{"--job.dump_folder=" + folder.string(),
                "--job.print_args=false",
                "--training.dataset=shapes",
                "--training.test_mode",
                "--training.img_size=32",
                "--training.batch_size=2",
                "--training.device=cpu",
                "--training.seed=1",
                "--encoder.max_t5_encoding_len=4",
                "--encoder.context_in_dim=32",
                "--model.flavor=flux-tiny",
                "--model.hidden_size=48",
                "--model.num_heads=2",
                "--model.axes_dim=4,10,10",
                "--model.depth=1",
                "--model.depth_single_blocks=1",
                "--model.vec_in_dim=16",
                "--eval.dataset=",
                "--checkpoint.enable_checkpoint=false",
                "--metrics.log_freq=100",
                "--dataloader.num_workers=1"};
    words.insert(words.end(), more.begin(), more.end());
    return words;
}

/// Exit code of the run; errors come as they are. `begins` is called with the trainer ready.
int run(
    const fs::path& folder, int64_t lag, const Words& more,
    const std::function<void()>& begins = [] {}) {
    const auto loaded = config::load_config(config::parse_command_line(job(folder, more)));
    dist::World world(dist::process_place(), loaded.config.comm);
    ResolvedJob resolved = resolve_job(loaded, world);
    EXPECT_EQ(resolved.figures_lag, 0);  // of a CPU
    resolved.figures_lag = lag;
    Trainer trainer(resolved, world);
    begins();
    return trainer.run();
}

std::string error_of(const fs::path& folder, int64_t lag, const Words& more) {
    return test::problem_of([&] { run(folder, lag, more); });
}

/// The values of `key` in metrics.jsonl.
std::vector<double> values(const fs::path& folder, const std::string& key) {
    std::istringstream lines(read_text(folder / "metrics.jsonl"));
    std::vector<double> values;
    for (std::string text; std::getline(lines, text);) {
        const auto line = nlohmann::json::parse(text);
        if (line.contains(key)) {
            values.push_back(line[key]);
        }
    }
    return values;
}

std::vector<int64_t> checkpoints(const fs::path& folder) {
    std::vector<int64_t> steps;
    for (const auto& [step, path] : checkpoint::committed(folder / "checkpoint")) {
        steps.push_back(step);
    }
    return steps;
}

TEST(TrainerLag, WritesTheSameLinesAndCheckpoints) {
    const test::TemporaryFolder folder;
    const Words words{
        "--training.steps=11",     "--metrics.log_freq=3",     "--eval.dataset=shapes",
        "--eval.freq_steps=4",     "--eval.steps=1",           "--checkpoint.enable_checkpoint",
        "--checkpoint.interval=5", "--training.ema_decay=0.9", "--lr_scheduler.warmup_steps=5"};
    const fs::path late = folder.path() / "late", prompt = folder.path() / "prompt";
    ASSERT_EQ(run(late, kLag, words), 0);
    ASSERT_EQ(run(prompt, 0, words), 0);
    for (const char* key : {"loss", "grad_norm", "lr", "skipped", "samples", "val_loss"}) {
        const auto lines = values(late, key);
        EXPECT_GE(lines.size(), 3u) << key;
        EXPECT_EQ(lines, values(prompt, key)) << key;
    }
    EXPECT_EQ(checkpoints(late), checkpoints(prompt));
}

TEST(TrainerLag, AStopBeforeAValidationSkipsIt) {
    const test::TemporaryFolder folder;
    const fs::path late = folder.path() / "late";
    EXPECT_EQ(run(late, kLag,
                  {"--training.steps=20", "--eval.dataset=shapes", "--eval.freq_steps=1",
                   "--eval.steps=1"},
                  [] { ::raise(SIGTERM); }),
              kExitSavedUnfinished);
    EXPECT_EQ(checkpoints(late), std::vector<int64_t>{1});
    EXPECT_TRUE(values(late, "val_loss").empty());
}

TEST(TrainerLag, StepsThatAreNotFiniteEndTheRunAtTheSameStep) {
    const test::TemporaryFolder folder;
    const Words words{"--training.steps=50", "--training.max_skipped_steps=3",
                      "--optimizer.lr=1e38"};
    const std::string said = error_of(folder.path() / "late", kLag, words);
    EXPECT_THAT(said, testing::HasSubstr("4 steps in a row had a loss or gradient that is not"));
    EXPECT_EQ(said, error_of(folder.path() / "prompt", 0, words));
}

/// One folder for both processes of a test, gone when both are through with it.
class SharedFolder {
public:
    ~SharedFolder() {
        write_text(mark(place_.rank), "");
        const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(20);
        while (place_.is_first() && !fs::exists(mark(1)) &&
               std::chrono::steady_clock::now() < give_up) {
            std::this_thread::sleep_for(std::chrono::milliseconds(10));
        }
        if (place_.is_first()) {
            fs::remove_all(path_);
        }
    }
    const fs::path& path() const { return path_; }
    const dist::ProcessPlace& place() const { return place_; }

private:
    fs::path mark(int rank) const { return path_ / fmt::format("rank{}", rank); }

    dist::ProcessPlace place_ = dist::process_place();
    fs::path path_ = [] {
        const fs::path path =
            fs::temp_directory_path() / fmt::format("flux_lag_{}", std::getenv("MASTER_PORT"));
        fs::create_directories(path);
        return path;
    }();
};

TEST(DistTrainerLag, AllStopAtTheSameStep) {
    if (!test::in_group(2)) {
        return;
    }
    const SharedFolder shared;
    const fs::path folder = shared.path() / "run";
    const bool asked = !shared.place().is_first();
    std::jthread asking;
    const int code = run(folder, kLag, {"--training.steps=100000", "--metrics.log_freq=50"}, [&] {
        if (asked) {
            asking = std::jthread([] {
                std::this_thread::sleep_for(std::chrono::milliseconds(1500));
                ::kill(::getpid(), SIGTERM);
            });
        }
    });
    EXPECT_EQ(code, kExitSavedUnfinished);
    EXPECT_EQ(checkpoints(folder).size(), 1u);
}

/// Written by rank 0: shards of 40 pictures and 3 members that are none.
fs::path pictures_of_all(const SharedFolder& shared) {
    const fs::path data = shared.path() / "data", making = shared.path() / "making";
    if (shared.place().is_first()) {
        data::write_shapes_tar({.out_dir = making, .samples = 40, .img_size = 32});
        std::string text;
        for (int i = 0; i < 3; ++i) {
            const std::string key = "bad" + std::to_string(i);
            text += test::tar_member(key + ".jpg", "none") + test::tar_member(key + ".txt", "x");
        }
        write_text(making / "zz-bad.tar", text + std::string(1024, '\0'));
        fs::rename(making, data);
    }
    while (!fs::exists(data)) {
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return data;
}

TEST(DistTrainerLag, TooManyBadSamplesEndAllAtTheSameStepAndAllSave) {
    if (!test::in_group(2)) {
        return;
    }
    const SharedFolder shared;
    const fs::path folder = shared.path() / "run";
    const std::string said =
        error_of(folder, kLag,
                 {"--training.steps=1000", "--training.dataset=webdataset",
                  "--training.dataset_path=" + pictures_of_all(shared).string(),
                  "--training.max_bad_fraction=0.05"});
    EXPECT_THAT(said, testing::HasSubstr("too many bad samples: 3 of "));
    EXPECT_EQ(checkpoints(folder).size(), 1u);
}

}  // namespace
}  // namespace flux::train
