#include "flux/base/read_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "flux/base/error.h"
#include "flux/base/file.h"
#include "support/reference.h"

namespace flux {
namespace {

using testing::AllOf;
using testing::HasSubstr;

template <class Function>
std::string problem_of(Function function) {
    try {
        function();
    } catch (const Error& problem) {
        return problem.what();
    }
    return {};
}

TEST(ReadFile, ReadsAnywhereAndNamesAFileThatEnds) {
    const test::TemporaryFolder folder;
    const auto path = folder.path() / "file";
    write_text(path, "0123456789");
    const ReadFile file(path);
    std::string text(4, '.');
    const auto into = std::as_writable_bytes(std::span(text));
    file.read(6, into);
    EXPECT_EQ(text, "6789");
    file.read(0, into.first(2));
    EXPECT_EQ(text, "0189");
    EXPECT_THAT(problem_of([&] { file.read(8, into); }),
                AllOf(HasSubstr(path.string()), HasSubstr("ends at byte 10, 2 more")));
    EXPECT_THAT(problem_of([&] { ReadFile(folder.path() / "other"); }),
                HasSubstr("other: cannot open: No such file"));
}

}  // namespace
}  // namespace flux
