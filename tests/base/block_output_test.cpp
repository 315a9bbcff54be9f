// Large files written past the page cache: what stands in them, and what of a full disk is told.
#include "base/block_output.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <memory>
#include <string>

#include "flux/base/error.h"
#include "flux/base/file.h"
#include "support/reference.h"

namespace flux {
namespace {

constexpr size_t kBlock = BlockOutput::kBlockBytes;

/// No two blocks, and no two pages, are alike.
std::string drawn(size_t size_bytes) {
    std::string bytes(size_bytes, '\0');
    uint32_t state = 1;
    for (char& byte : bytes) {
        state = state * 1664525u + 1013904223u;
        byte = static_cast<char>(state >> 24);
    }
    return bytes;
}

TEST(AtomicFile, HoldsWhatWasWrittenWhateverTheSizesOfThePieces) {
    const test::TemporaryFolder folder;
    const auto path = folder.path() / "x";
    const std::string all = drawn(3 * kBlock + 5000);
    for (const size_t size :
         {size_t{0}, size_t{1}, kBlock - 1, kBlock, kBlock + 1, 2 * kBlock, all.size()}) {
        for (const size_t piece : {size_t{100'003}, kBlock, 2 * kBlock + 17}) {
            const std::string_view expected = std::string_view(all).substr(0, size);
            AtomicFile file(path);
            for (size_t at = 0; at < size; at += piece) {
                file.write(expected.substr(at, piece));
            }
            file.commit();
            EXPECT_TRUE(read_text(path) == expected) << size << " bytes in pieces of " << piece;
        }
    }
}

TEST(AtomicFile, LargeOneThatIsNotCommittedLeavesNothing) {
    const test::TemporaryFolder folder;
    {
        AtomicFile file(folder.path() / "x");
        file.write(drawn(2 * kBlock + 1));
    }
    EXPECT_TRUE(list_folder(folder.path()).empty());
}

/// In a process of its own: the largest size of a file cannot be raised again.
[[noreturn]] void write_too_much(const std::filesystem::path& path) {
    ::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{kBlock + kBlock / 2, kBlock + kBlock / 2};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    auto file = std::make_unique<AtomicFile>(path);
    try {
        file->write(drawn(3 * kBlock));
        file->commit();
    } catch (const Error& problem) {
        const std::string text = problem.what();
        // What was not written is not passed over.
        try {
            file->commit();
            ::_exit(3);
        } catch (const Error&) {
        }
        const bool named = text.find(path.string()) != std::string::npos &&
                           text.find("cannot write: File too large") != std::string::npos;
        file.reset();
        ::_exit(named ? 0 : 2);
    }
    ::_exit(1);
}

TEST(AtomicFile, SaysWhenTheSystemTakesNoMore) {
    const test::TemporaryFolder folder;
    const pid_t child = ::fork();
    if (child == 0) {
        write_too_much(folder.path() / "x");
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status));
    EXPECT_EQ(WEXITSTATUS(status), 0);
    EXPECT_TRUE(list_folder(folder.path()).empty());
}

}  // namespace
}  // namespace flux
