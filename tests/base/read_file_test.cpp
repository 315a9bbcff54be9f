#include "flux/base/read_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "flux/base/file.h"
#include "support/problem.h"
#include "support/reference.h"

namespace flux {
namespace {

using test::problem_of;
using testing::AllOf;
using testing::HasSubstr;

std::string text_of(std::span<const std::byte> bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

TEST(ReadFile, ReadsAnywhereAndNamesAFileThatEnds) {
    const test::TemporaryFolder folder;
    const auto path = folder.path() / "file";
    write_text(path, "0123456789");
    const ReadFile file(path);
    ReadFile::Window window;
    EXPECT_EQ(text_of(file.read(6, 4, window)), "6789");
    EXPECT_EQ(text_of(file.read(0, 2, window)), "01");
    EXPECT_EQ(text_of(file.read(10, 0, window)), "");
    EXPECT_THAT(problem_of([&] { file.read(8, 4, window); }),
                AllOf(HasSubstr(path.string()), HasSubstr("ends at byte 10, 2 more")));
    EXPECT_THAT(problem_of([&] { ReadFile(folder.path() / "other"); }),
                HasSubstr("other: cannot open: No such file"));
}

TEST(ReadFile, ReadsAcrossPagesToTheLastByte) {
    const test::TemporaryFolder folder;
    const auto path = folder.path() / "file";
    std::string all(3 * ReadFile::Window::kBytes + 1234, ' ');
    for (size_t i = 0; i < all.size(); ++i) {
        all[i] = static_cast<char>((i * 2654435761u) >> 24);
    }
    write_text(path, all);
    const ReadFile file(path);
    ReadFile::Window window;
    for (const size_t size : {size_t{1}, size_t{4096}, size_t{5000}, ReadFile::Window::kBytes}) {
        for (const size_t offset : {size_t{0}, size_t{1}, size_t{4095}, size_t{4096},
                                    size_t{1'000'001}, all.size() - size}) {
            EXPECT_TRUE(text_of(file.read(offset, size, window)) == all.substr(offset, size))
                << size << " from " << offset;
        }
    }
    EXPECT_THAT(problem_of([&] { file.read(all.size() - 5000, 5001, window); }),
                HasSubstr("ends at byte " + std::to_string(all.size()) + ", 1 more"));
}

}  // namespace
}  // namespace flux
