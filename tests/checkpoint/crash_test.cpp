// What a kill or a full disk leaves behind, tried with real processes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <functional>
#include <thread>

#include "example.h"
#include "flux/base/error.h"
#include "flux/base/file.h"
#include "flux/base/philox.h"
#include "flux/checkpoint/folder.h"
#include "support/problem.h"
#include "support/reference.h"

namespace flux::checkpoint::test {
namespace {

using flux::test::problem_of;
using flux::test::TemporaryFolder;
using testing::AllOf;
using testing::HasSubstr;

/// Saves step after step, each once more over itself, until it is killed.
[[noreturn]] void save_forever(const std::filesystem::path& folder, int64_t step) {
    for (;; ++step) {
        const auto pieces = example_pieces(step);
        save(folder, example_run(step), pieces, 2);
        save(folder, example_run(step), pieces, 2);
    }
}

int64_t microseconds_of_a_save(const std::filesystem::path& folder) {
    const auto start = std::chrono::steady_clock::now();
    save(folder, example_run(1), example_pieces(1), 0);
    const auto taken = std::chrono::steady_clock::now() - start;
    return std::chrono::duration_cast<std::chrono::microseconds>(taken).count() + 1;
}

/// Kills a saving process after a random part of four saves.
void kill_while_saving(const std::filesystem::path& folder, int64_t first_step, int64_t delay_us) {
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
        save_forever(folder, first_step);
    }
    std::this_thread::sleep_for(std::chrono::microseconds(delay_us));
    ::kill(child, SIGKILL);
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status)) << "the saving process ended by itself";
}

TEST(CheckpointCrash, KilledSavesLeaveTheNewestLoadable) {
    const TemporaryFolder folder;
    const int64_t save_us = microseconds_of_a_save(folder.path() / "timing");
    const Draw draw{.seed = 1, .purpose = Purpose::kOrder, .index = 0};
    int64_t newest = 0;
    // At least 100 kills, and more, later ones, while a busy machine lets hardly a save finish.
    for (uint32_t trial = 0; trial < 100 || (newest <= 5 && trial < 1000); ++trial) {
        const auto longest_us = static_cast<uint64_t>(4 * save_us * (1 + trial / 100));
        const int64_t first_step = std::max<int64_t>(newest + trial % 2, 1);  // the same, or next
        const auto delay_us = static_cast<int64_t>(draw.below(longest_us, trial));
        ASSERT_NO_FATAL_FAILURE(kill_while_saving(folder.path(), first_step, delay_us));
        const auto latest = find_latest(folder.path(), -1);
        if (!latest) {
            ASSERT_EQ(newest, 0) << "trial " << trial << ": the checkpoints are gone";
            continue;
        }
        const int64_t step = Checkpoint(*latest).run().step;
        EXPECT_GE(step, newest) << "trial " << trial;
        EXPECT_EQ(difference(*latest, example_pieces(step)), "") << "trial " << trial;
        newest = step;
    }
    EXPECT_GT(newest, 5) << "hardly a save was finished: the trial shows nothing";
}

/// Runs `body` in a process of its own, because it changes limits or mounts, and returns its text.
std::string in_child(const std::function<std::string()>& body) {
    int ends[2];
    if (::pipe(ends) != 0) {
        fail("pipe failed");
    }
    const pid_t child = ::fork();
    if (child == 0) {
        std::string text;
        try {
            text = body();
        } catch (const std::exception& problem) {
            text = problem.what();
        }
        const bool written =
            ::write(ends[1], text.data(), text.size()) == static_cast<ssize_t>(text.size());
        ::_exit(written ? 0 : 1);
    }
    ::close(ends[1]);
    std::string text;
    char buffer[4096];
    for (ssize_t count = 0; (count = ::read(ends[0], buffer, sizeof(buffer))) > 0;) {
        text.append(buffer, static_cast<size_t>(count));
    }
    ::close(ends[0]);
    int status = 0;
    ::waitpid(child, &status, 0);
    return WIFEXITED(status) ? text : text + " (the process was killed)";
}

std::vector<Piece> large_pieces() {
    auto pieces = example_pieces(2);
    for (Piece& piece : pieces) {
        piece.shape = {100000};
        piece.end = 100000;
        piece.data = piece.data.new_full({100000}, 1.5);
    }
    return pieces;
}

/// Saves step 1, then a step 2 that has no room; returns what is wrong with the outcome, after the
/// message of the failed save.
std::string save_without_room(const std::filesystem::path& folder, const auto& limit) {
    save(folder, example_run(1), example_pieces(1), 0);
    limit();
    const std::string message =
        problem_of([&] { save(folder, example_run(2), large_pieces(), 1); });
    const bool clean = !std::filesystem::exists(folder / "step-2.tmp") &&
                       !std::filesystem::exists(folder / "step-2");
    return message + (clean ? "" : " NOT CLEANED ") +
           difference(find_latest(folder, -1).value(), example_pieces(1));
}

TEST(CheckpointCrash, FileSizeLimitLeavesTheOldOneValid) {
    const TemporaryFolder folder;
    const std::string outcome = in_child([&] {
        return save_without_room(folder.path(), [] {
            ::signal(SIGXFSZ, SIG_IGN);
            const rlimit limit{.rlim_cur = 100000, .rlim_max = 100000};
            ::setrlimit(RLIMIT_FSIZE, &limit);
        });
    });
    EXPECT_THAT(outcome, AllOf(HasSubstr("the checkpoint of step 2 was not saved"),
                               HasSubstr("rank-00000.safetensors"), HasSubstr("File too large"),
                               testing::EndsWith("step-1")));
}

TEST(CheckpointCrash, FullDiskLeavesTheOldOneValid) {
    const TemporaryFolder folder;
    const std::string disk = folder.path() / "disk";
    std::filesystem::create_directory(disk);
    const std::string outcome = in_child([&]() -> std::string {
        const int user_namespace = ::geteuid() == 0 ? 0 : CLONE_NEWUSER;
        if (::unshare(CLONE_NEWNS | user_namespace) != 0 ||
            ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
            ::mount("none", disk.c_str(), "tmpfs", 0, "size=256k") != 0) {
            return "cannot mount";
        }
        return save_without_room(disk, [] {});
    });
    if (outcome == "cannot mount") {
        GTEST_SKIP() << "needs the right to mount a small file system";
    }
    EXPECT_THAT(outcome, AllOf(HasSubstr("the checkpoint of step 2 was not saved"),
                               HasSubstr("rank-00000.safetensors"), HasSubstr("free some space"),
                               testing::EndsWith("step-1")));
}

/// The outcome of saves beside folders whose files this user may not remove; empty if all is well.
std::string save_beside_what_stays(const std::filesystem::path& folder) {
    constexpr uid_t kNobody = 65534;
    if (::geteuid() == 0 &&  // who may remove everything
        (::chown(folder.c_str(), kNobody, kNobody) != 0 || ::seteuid(kNobody) != 0)) {
        return "cannot become another user";
    }
    const auto lock = [&](const std::filesystem::path& path, bool locked) {
        ::chmod(path.c_str(), locked ? 0555 : 0755);
    };
    write_shard(begin_save(folder, 6), 0, example_pieces(6));
    lock(folder / "step-6.tmp", true);
    save(folder, example_run(5), example_pieces(5), 1);
    std::string outcome = difference(folder / "step-5", example_pieces(5));
    save(folder, example_run(6), example_pieces(7), 1);  // needs the name
    outcome += difference(folder / "step-6", example_pieces(7));
    lock(folder / "step-6", true);
    save(folder, example_run(8), example_pieces(8), 1);  // removes step-6
    outcome += difference(find_latest(folder, -1).value(), example_pieces(8));
    outcome += std::filesystem::exists(folder / "step-6.aside-1.tmp") ? "" : " nothing is aside";
    lock(folder / "step-6.aside-1.tmp", false);
    lock(folder / "step-6.tmp", false);
    save(folder, example_run(9), example_pieces(9), 1);
    for (const auto& entry : std::filesystem::directory_iterator(folder)) {
        outcome += entry.path() == folder / "step-9" ? "" : " left: " + entry.path().string();
    }
    return outcome;
}

TEST(CheckpointCrash, LeftoversThatCannotBeRemovedStopNoSave) {
    const TemporaryFolder folder;
    const std::string outcome = in_child([&] { return save_beside_what_stays(folder.path()); });
    if (outcome == "cannot become another user") {
        GTEST_SKIP() << "as root it needs the right to become another user";
    }
    EXPECT_EQ(outcome, "");
}

}  // namespace
}  // namespace flux::checkpoint::test
