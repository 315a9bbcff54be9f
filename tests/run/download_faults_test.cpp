// scripts/download_*.sh against a real server that breaks connections, sends short bodies and is
// busy.
#include <gmock/gmock.h>

#include <chrono>
#include <csignal>
#include <functional>
#include <thread>

#include "run/download_job.h"
#include "support/process.h"

namespace flux::test {
namespace {

using testing::HasSubstr;
using testing::Not;

TEST_F(RunDownload, EveryConnectionMayBreak) {
    serve({"drop:700", "503", "short:1500", "reset", "429", "drop:10", "longer"});
    std::map<std::string, std::string> files{{"state.json", "{}"}, {"empty", ""}};
    for (int i = 0; i < 5; ++i) {
        files[fmt::format("data-{}.arrow", i)] = content(fmt::format("arrow{}", i), 5000);
    }
    add_list("flux-1-cc12m-disk", "flux_1/datasets/cc12m_disk", files);
    ASSERT_EQ(run("cc12m", "--jobs=3"), 0) << said();
    for (const auto& [name, text] : files) {
        EXPECT_EQ(fetched("cc12m_disk/" + name), text) << name;
    }
    EXPECT_THAT(said(), HasSubstr("complete: 7 files, 25.0 kB"));
    const auto asked = requests("data-0.arrow bytes=");
    ASSERT_GE(asked.size(), 2U) << server_->log();
    EXPECT_THAT(asked.front(), HasSubstr("bytes=700-"));
}

TEST_F(RunDownload, AServerThatOnlySendsWholeFilesStillServes) {
    serve({"drop:3000", "whole", "ok"});
    add_list("flux-1-empty-encodings", "empty_encodings", {{"t5_empty.npy", content("t5", 5000)}});
    ASSERT_EQ(run("empty_encodings"), 0) << said();
    EXPECT_EQ(fetched("empty_encodings/t5_empty.npy"), content("t5", 5000));
}

TEST_F(RunDownload, GivesUpAfterAttemptsWithoutANewByteAndGoesOnLater) {
    serve({"drop:700", "503", "503", "503"});
    add_list("flux-1-empty-encodings", "empty_encodings", {{"t5_empty.npy", content("t5", 5000)}});
    // The lists suffer the same faults.
    EXPECT_EQ(run("empty_encodings", "--retries=2"), 1);
    EXPECT_THAT(said(), HasSubstr("503"));
    ASSERT_EQ(run("empty_encodings", "--retries=4"), 0) << said();
    EXPECT_EQ(fetched("empty_encodings/t5_empty.npy"), content("t5", 5000));
}

TEST_F(RunDownload, AWrongChecksumIsFetchedAnewOnceThenNamed) {
    serve({"ok", "spoilt"});
    add_list("flux-1-empty-encodings", "e", {{"a.npy", content("a", 900)}});
    put("metadata/flux-1-empty-encodings.md5", word_of("echo right | md5sum") + "  a.npy\n");
    EXPECT_EQ(run("empty_encodings"), 1);
    EXPECT_THAT(said(), HasSubstr("a.npy: its checksum is wrong; it is fetched anew"));
    EXPECT_THAT(said(), HasSubstr(server_->url("e/a.npy") + ": its checksum is not "));
    EXPECT_EQ(requests("/e/a.npy -").size(), 2U);
    EXPECT_TRUE(fs::is_empty(target_ / "empty_encodings"));
}

TEST_F(RunDownload, AByteThatBrokeOnTheWayIsFoundAndRepaired) {
    serve({"spoilt"});
    add_to_hub("someone/vae", "ae.safetensors", content("vae", 900));
    add_to_hub("someone/vae", "small.txt", content("small", 90), false);
    put(tree("someone/vae"), " " + of_server(tree("someone/vae")));  // spoilt in white space: \x21
    for (const std::string name : {"ae.safetensors", "small.txt"}) {
        ASSERT_EQ(run("autoencoder", "--repo_id someone/vae --ae_path=" + name), 0) << said();
        EXPECT_THAT(said(), HasSubstr("it is fetched anew"));
        EXPECT_EQ(fetched(name), of_server(in_hub("someone/vae", name)));
    }
}

/// A server that stalls within a file.
class RunDownloadBrokenOff : public RunDownload {
protected:
    /// Starts a download and waits until part of the file is there.
    pid_t start() {
        serve({"stall"});
        uri_ = "--uri=" + local_list({{"a.npy", content("a", 90000)}});
        fs::create_directories(scratch_);
        const pid_t process =
            start_program(script("empty_encodings"), {"--local_dir=" + target_.string(), uri_},
                          log_, {{"TMPDIR", scratch_.string()}});
        const fs::path part = target_ / "empty_encodings/a.npy.part";
        constexpr uintmax_t kArrived = 40'000;  // of the 45,000 sent: the rest may be in buffers
        EXPECT_TRUE(comes_true([&] { return fs::exists(part) && fs::file_size(part) >= kArrived; }))
            << said();
        return process;
    }
    static bool comes_true(const std::function<bool()>& condition) {
        for (int i = 0; i < 600 && !condition(); ++i) {
            std::this_thread::sleep_for(std::chrono::milliseconds(50));
        }
        return condition();
    }
    bool fetches_alone() const {
        return !word_of("pgrep -f '[c]url.*" + server_->port() + "'").empty();
    }
    void expect_the_rest_is_fetched() const {
        ASSERT_EQ(run("empty_encodings", uri_), 0) << said();
        EXPECT_EQ(fetched("empty_encodings/a.npy"), content("a", 90000));
        EXPECT_THAT(server_->log(), HasSubstr("/e/a.npy bytes=4"));
    }

    std::string uri_;
    fs::path scratch_ = folder_.path() / "scratch";
};

TEST_F(RunDownloadBrokenOff, ASignalEndsItAtOnce) {
    const pid_t first = start();
    EXPECT_EQ(run_line(command("empty_encodings", uri_) + " 2>&1 | grep -o 'another download'"), 0);
    ::kill(first, SIGTERM);
    ::kill(first, SIGTERM);
    EXPECT_EQ(wait_for(first), 143);
    EXPECT_FALSE(fetches_alone());
    EXPECT_TRUE(fs::is_empty(scratch_));
    expect_the_rest_is_fetched();
}

TEST_F(RunDownloadBrokenOff, AKillLeavesNoWorkerBehind) {
    const pid_t first = start();
    ::kill(first, SIGKILL);
    EXPECT_EQ(wait_for(first), 128 + SIGKILL);
    EXPECT_TRUE(comes_true([&] { return !fetches_alone() && fs::is_empty(scratch_); }));
    expect_the_rest_is_fetched();
}

TEST_F(RunDownload, ShowsProgressInLinesOrAsABar) {
    serve({"503"});
    const std::string uri = "--uri=" + local_list({{"a.npy", content("a", 9000)}});
    const std::string line = command("empty_encodings", "--retry_delay=3 " + uri);
    ASSERT_EQ(run_line("PROGRESS_INTERVAL_S=1 " + line), 0) << said();
    EXPECT_THAT(said(), HasSubstr("  0% 0 B of 9.0 kB  0 of 1 files"));
    EXPECT_THAT(said(), Not(HasSubstr("\r")));
    if (word_of("command -v script").empty()) {
        GTEST_SKIP() << "the bar needs the program `script`, for a terminal";
    }
    fs::remove_all(target_);
    serve({"503"});
    const std::string again = "--uri=" + local_list({{"a.npy", content("a", 9000)}});
    ASSERT_EQ(run_line("script -qec \"" + command("empty_encodings", "--retry_delay=3 " + again) +
                       "\" /dev/null"),
              0)
        << said();
    EXPECT_THAT(said(), HasSubstr("\r\x1b[K  0% [>                   ] 0 B of 9.0 kB"));
}

}  // namespace
}  // namespace flux::test
