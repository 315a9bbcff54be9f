// What Weights & Biases gets of a run, by a module that stands in its place.
#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>

#include "flux/base/file.h"
#include "run/metrics_run.h"
#include "support/python.h"

namespace flux::test {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;

class RunWandb : public RunMetrics {
protected:
    void SetUp() override { FLUX_SKIP_WITHOUT_PYTHON_MODULE("json"); }

    std::filesystem::path calls_file() const { return folder_.path() / "calls"; }

    int train_with(const std::vector<std::string>& options, const Environment& more) {
        std::vector<std::string> all = words({"--metrics.enable_wandb"});
        all.insert(all.end(), options.begin(), options.end());
        Environment environment = with_fake();
        environment.insert(environment.end(), more.begin(), more.end());
        std::filesystem::remove(log());
        const int code = wait_for(start_flux_train(all, log(), environment));
        said_ = read_text(log());
        return code;
    }

    /// The script as people start it, its words going to `log()`.
    pid_t start_by_hand() const {
        write_text(log(), "");
        return start_program(
            "/usr/bin/env",
            {"python3", FLUX_SOURCE_DIR "/scripts/wandb_forward.py", run().string()}, log(),
            with_fake());
    }

    std::filesystem::path log() const { return folder_.path() / "log"; }

    Environment with_fake() const {
        return {{"PYTHONPATH", FLUX_SOURCE_DIR "/tests/support/fake_wandb"},
                {"FAKE_WANDB_LOG", calls_file().string()}};
    }

    /// "train 3", "validation 3": what was sent, in order.
    std::vector<std::string> sent() const {
        std::vector<std::string> lines;
        for (const json& call : calls("log")) {
            const json& values = call["values"];
            lines.push_back(fmt::format("{} {}",
                                        values.contains("train/loss") ? "train" : "validation",
                                        values["step"].get<int64_t>()));
        }
        return lines;
    }

    std::vector<json> calls(const std::string& name) const {
        std::vector<json> found;
        std::ifstream lines(calls_file());
        for (std::string line; std::getline(lines, line);) {
            const json call = json::parse(line);
            if (call["call"] == name) {
                found.push_back(call);
            }
        }
        return found;
    }

    std::string said_;
};

TEST_F(RunWandb, GetsEachLineOnceAndGoesOnUnderOneName) {
    ASSERT_EQ(train_with({}, {{"WANDB_PROJECT", "pictures"}}), 0) << said_;
    const json start = calls("init").at(0);
    EXPECT_EQ(start["project"], "pictures");
    EXPECT_EQ(start["resume"], "allow");
    EXPECT_THAT(sent(), ElementsAre("validation 0", "train 1", "train 2", "train 3", "validation 3",
                                    "train 4", "train 5", "train 6", "validation 6"));
    EXPECT_FALSE(calls("log")[1]["values"].contains("train/mfu"));  // null in the file
    EXPECT_TRUE(calls("log")[0]["values"].contains("validation/val_loss_t7"));
    EXPECT_EQ(calls("finish").at(0)["exit_code"], 0);
    std::filesystem::remove(calls_file());
    ASSERT_EQ(train_with({"--checkpoint.load_step=4", "--training.steps=7"}, {}), 0) << said_;
    EXPECT_EQ(calls("init").at(0)["id"], start["id"]);
    EXPECT_EQ(calls("init").at(0)["project"], "flux_train");
    EXPECT_THAT(sent(), ElementsAre("train 7", "validation 7"));  // it has 5 and 6 already
    EXPECT_EQ(calls("finish").size(), 1U);
}

TEST_F(RunWandb, GetsAValidationThatIsDoneAfterAResume) {
    const std::vector<std::string> untested{"--training.steps=3", "--eval.dataset="};
    ASSERT_EQ(train_with(untested, {}), 0) << said_;
    ASSERT_EQ(train_with({"--training.steps=4"}, {}), 0) << said_;
    EXPECT_THAT(sent(), ElementsAre("train 1", "train 2", "train 3", "validation 3", "train 4",
                                    "validation 4"));
}

TEST_F(RunWandb, NoSecretLeavesTheFolder) {
    ASSERT_EQ(train_with({"--training.steps=1", "--eval.dataset=", "--metrics.enable_tensorboard",
                          "--job.description=from https://me:pass@host/x?token=word"},
                         {}),
              0)
        << said_;
    const json start = calls("init").at(0);
    if (start["config"].empty()) {
        GTEST_SKIP() << "needs a python3 that reads TOML: 3.11";
    }
    EXPECT_EQ(start["name"], "from https://***@host/x?***");
    EXPECT_EQ(start["config"]["job"]["description"], start["name"]);
    EXPECT_EQ(start["config"]["training"]["steps"], 1);
    for (const char* name : {"report.html", "report.json", "tb"}) {
        std::filesystem::path file = run() / name;
        if (std::filesystem::is_directory(file)) {
            file = *std::filesystem::directory_iterator(file);
        }
        const std::string text = read_text(file);
        EXPECT_THAT(text, HasSubstr("https://***@host/x?***")) << file;
        EXPECT_EQ(text.find("me:pass"), text.npos) << file;
        EXPECT_EQ(text.find("token=word"), text.npos) << file;
    }
    EXPECT_THAT(read_text(run() / "config.toml"), HasSubstr("me:pass@host/x?token=word"));
}

TEST_F(RunWandb, WarnsOnceWhenTheForwarderDies) {
    ASSERT_EQ(train_with({}, {{"FAKE_WANDB_DIES", "3"}}), 0) << said_;
    EXPECT_EQ(calls("log").size(), 2U);
    const std::string warning = "the forwarder to Weights & Biases has ended (exit code 3";
    const size_t first = said_.find(warning);
    EXPECT_NE(first, said_.npos) << said_;
    EXPECT_EQ(said_.find(warning, first + 1), said_.npos);
    EXPECT_EQ(metric(run(), "loss").size(), 6U);
    EXPECT_EQ(wait_for(start_by_hand()), 0) << read_text(log());
    EXPECT_THAT(sent(), ElementsAre("validation 0", "train 1", "train 2", "train 3", "validation 3",
                                    "train 4", "train 5", "train 6", "validation 6"));
    EXPECT_EQ(wait_for(start_by_hand()), 0) << read_text(log());
    EXPECT_EQ(sent().size(), 9U);
    EXPECT_EQ(calls("init").front()["id"], calls("init").back()["id"]);
    write_text(run() / "wandb_run_id", "another\n");
    EXPECT_EQ(wait_for(start_by_hand()), 0) << read_text(log());
    EXPECT_EQ(sent().size(), 18U);
}

TEST_F(RunWandb, HasOneForwarderAtATime) {
    ASSERT_EQ(train({"--training.steps=1", "--eval.dataset="}).exit_code, 0);
    const int other = ::open((run() / "wandb_run_id").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    ASSERT_EQ(::flock(other, LOCK_EX), 0);
    const pid_t process = start_by_hand();
    const std::string wanted = "waits for another forwarder";
    for (int i = 0; i < 600 && read_text(log()).find(wanted) == std::string::npos; ++i) {
        ::usleep(100'000);
    }
    EXPECT_THAT(read_text(log()), HasSubstr(wanted));
    EXPECT_THAT(calls("init"), testing::IsEmpty());
    ::close(other);
    EXPECT_EQ(wait_for(process), 0) << read_text(log());
    EXPECT_THAT(sent(), ElementsAre("train 1"));
}

TEST_F(RunWandb, IsToldWhenTheRunFails) {
    EXPECT_EQ(train_with({"--training.max_skipped_steps=0", "--optimizer.lr=1e30",
                          "--lr_scheduler.warmup_steps=0", "--training.steps=100"},
                         {}),
              1);
    for (int i = 0; i < 600 && calls("finish").empty(); ++i) {
        ::usleep(100'000);
    }
    ASSERT_EQ(calls("finish").size(), 1U);
    EXPECT_EQ(calls("finish")[0]["exit_code"], 1);
}

TEST_F(RunWandb, MissingPythonOrPackageIsAConfigurationError) {
    const auto programs = folder_.path() / "bin";
    std::filesystem::create_directory(programs);
    EXPECT_EQ(train_with({}, {{"PATH", programs.string()}}), 2);
    EXPECT_THAT(said_, HasSubstr("metrics.enable_wandb = true: python3 cannot be started"));
    // Where a run left a folder wandb/ behind, Python finds that, empty, in place of the package.
    const auto empty = folder_.path() / "empty";
    std::filesystem::create_directories(empty / "wandb");
    write_text(programs / "python3", fmt::format("#!/bin/sh\nPATH='{}' exec {} -S \"$@\"\n",
                                                 std::getenv("PATH"), python()));
    std::filesystem::permissions(programs / "python3", std::filesystem::perms::owner_all);
    EXPECT_EQ(train_with({}, {{"PATH", programs.string() + ":/usr/bin:/bin"},
                              {"PYTHONPATH", empty.string()}}),
              2);
    EXPECT_THAT(said_,
                HasSubstr("command line: metrics.enable_wandb = true: the python3 on PATH has "
                          "no package wandb"));
    EXPECT_FALSE(std::filesystem::exists(run()));
}

}  // namespace
}  // namespace flux::test
