#include "flux/base/numbered_locks.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "flux/base/error.h"
#include "support/reference.h"

namespace flux {
namespace {

TEST(NumberedLocks, EachNumberHasOneHolder) {
    const test::TemporaryFolder folder;
    const auto file = folder.path() / "locks";
    NumberedLocks first(file, false), second(file, false);
    auto seven = first.try_lock(7);
    ASSERT_TRUE(seven);
    EXPECT_FALSE(second.try_lock(7));
    const auto eight = second.try_lock(8);
    EXPECT_TRUE(eight);
    EXPECT_FALSE(first.try_lock(8));
    seven->release();
    EXPECT_TRUE(second.try_lock(7));
}

TEST(NumberedLocks, AKilledProcessGivesItsLocksUp) {
    const test::TemporaryFolder folder;
    const auto file = folder.path() / "locks";
    int ready[2];
    ASSERT_EQ(::pipe(ready), 0);
    const pid_t child = ::fork();
    if (child == 0) {
        NumberedLocks locks(file, false);
        const auto held = locks.lock(1);
        [[maybe_unused]] const auto count = ::write(ready[1], "x", 1);
        for (;;) {
            ::pause();
        }
    }
    char byte = 0;
    ASSERT_EQ(::read(ready[0], &byte, 1), 1);
    NumberedLocks locks(file, false);
    EXPECT_FALSE(locks.try_lock(1));
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    locks.lock(1);  // waits for nobody
    ::close(ready[0]);
    ::close(ready[1]);
}

TEST(NumberedLocks, NamesAFileThatCannotBeOpened) {
    EXPECT_THROW(NumberedLocks("/nowhere/at/all", true), Error);
}

}  // namespace
}  // namespace flux
