#include "flux/base/folder_lock.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <optional>

#include "flux/base/error.h"
#include "support/problem.h"
#include "support/reference.h"

namespace flux {
namespace {

TEST(FolderLock, RefusesASecondHolderByNameUntilTheFirstIsGone) {
    const test::TemporaryFolder folder;
    std::optional<FolderLock> first(folder.path());
    EXPECT_THAT(test::problem_of([&] { const FolderLock second(folder.path()); }),
                testing::HasSubstr("process " + std::to_string(::getpid())));
    EXPECT_EQ(lock_holder(folder.path()).value().find("process " + std::to_string(::getpid())), 0U);
    first.reset();
    EXPECT_FALSE(lock_holder(folder.path()));
    const FolderLock third(folder.path());
}

TEST(FolderLock, NamesAFolderThatIsNotThere) {
    EXPECT_THROW(FolderLock("/nowhere/at/all"), Error);
    EXPECT_FALSE(lock_holder("/nowhere/at/all"));
}

}  // namespace
}  // namespace flux
