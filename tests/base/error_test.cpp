#include "flux/base/error.h"

#include <ATen/ops/empty.h>
#include <c10/util/Exception.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <functional>
#include <new>
#include <vector>

namespace flux {
namespace {

using testing::AllOf;
using testing::EndsWith;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

std::string text_of(const std::function<void()>& action) {
    try {
        action();
    } catch (const std::exception& problem) {
        return failure_text(problem);
    }
    return "no failure";
}

TEST(FailureText, MemoryThatRanOutComesWithItsRemedy) {
    EXPECT_THAT(text_of([] { throw std::bad_alloc(); }),
                AllOf(StartsWith("out of memory"), HasSubstr("training.batch_size"),
                      HasSubstr("activation_checkpoint.keep_results = false"),
                      Not(HasSubstr("bad_alloc"))));
    EXPECT_THAT(text_of([] { throw std::bad_array_new_length(); }), Not(HasSubstr("bad_array")));
    struct Named final : std::bad_alloc {
        const char* what() const noexcept override { return "8 GiB for a tensor"; }
    };
    EXPECT_THAT(text_of([] { throw Named(); }),
                AllOf(StartsWith("out of memory: lower"), EndsWith(": 8 GiB for a tensor")));
    // More than any machine has, asked of LibTorch.
    EXPECT_THAT(text_of([] { at::empty({int64_t{1} << 60}); }),
                AllOf(StartsWith("out of memory"), HasSubstr("training.batch_size"),
                      Not(HasSubstr("frame #"))));
}

TEST(FailureText, OwnMessagesStayAndBugsAreCalledSo) {
    EXPECT_EQ(text_of([] { fail("as it is"); }), "as it is");
    EXPECT_THAT(text_of([] { std::filesystem::create_directory("/nowhere/new"); }),
                AllOf(HasSubstr("/nowhere"), Not(HasSubstr("internal"))));
    EXPECT_EQ(text_of([] { throw std::logic_error("a bug"); }), "internal error: a bug");
    EXPECT_THAT(text_of([] { TORCH_CHECK(false, "a bug"); }),
                AllOf(StartsWith("internal error: a bug"), HasSubstr("error_test.cpp"),
                      Not(HasSubstr("frame #"))));
}

TEST(FailureText, ExitCodes) {
    EXPECT_EQ(exit_code(ConfigError("")), 2);
    EXPECT_EQ(exit_code(Error("")), 1);
    EXPECT_EQ(exit_code(std::bad_alloc()), 1);
}

}  // namespace
}  // namespace flux
