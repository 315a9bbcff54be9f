#include "flux/checkpoint/inspect.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "example.h"
#include "flux/checkpoint/folder.h"
#include "support/problem.h"
#include "support/reference.h"

namespace flux::checkpoint::test {
namespace {

using flux::test::problem_of;
using flux::test::TemporaryFolder;
using testing::AllOf;
using testing::HasSubstr;

TEST(InspectCheckpoint, TellsRunTotalsFilesAndTensors) {
    const TemporaryFolder folder;
    const auto path = save_split(folder.path(), example_run(7), example_pieces(7), 2);
    const Checkpoint opened(path);
    const std::string text = inspection_text(opened);
    EXPECT_THAT(text,
                AllOf(HasSubstr("step               7\n"), HasSubstr("samples            112"),
                      HasSubstr("seed               18364758544493064720"),
                      HasSubstr("optimizer steps    6 (1 skipped)")));
    // 7 x 5, 7, 0, 1, 3 x 4 x 5 and 1 elements
    EXPECT_THAT(text, HasSubstr("param              6 tensors, 104 parameters, float32\n"));
    EXPECT_THAT(text, HasSubstr("exp_avg_sq         6 tensors, 104 elements, float32\n"));
    EXPECT_THAT(text, AllOf(HasSubstr("files              2, "),
                            HasSubstr(std::to_string(std::filesystem::file_size(
                                          path / "rank-00001.safetensors")) +
                                      " bytes")));
    EXPECT_THAT(text, HasSubstr("exp_avg    qkv.weight F32 [3, 4, 5]\n"));
    for (const TensorEntry& entry : opened.tensors()) {
        for (const Slice& slice : entry.slices) {
            EXPECT_THAT(text, HasSubstr(fmt::format("[{}, {}) {} {:08x}", slice.begin, slice.end,
                                                    slice.file, slice.crc32c)));
        }
    }
}

TEST(InspectCheckpoint, VerifyReadsEverything) {
    const TemporaryFolder folder;
    save(folder.path(), example_run(6), example_pieces(6), 0);
    const auto path = save_split(folder.path(), example_run(7), example_pieces(7), 2);
    EXPECT_EQ(Checkpoint(path).verify(), uint64_t{3 * 104 * 4});
    const auto shard = path / "rank-00001.safetensors";
    damage_byte(shard, std::filesystem::file_size(shard) - 2);
    inspection_text(Checkpoint(path));  // headers alone do not show it
    EXPECT_THAT(problem_of([&] { Checkpoint(path).verify(); }),
                AllOf(HasSubstr(shard.string()), HasSubstr("checksum"), HasSubstr("step-6")));
}

TEST(InspectCheckpoint, AFileThatIsReplacedMeanwhileIsNotRead) {
    const TemporaryFolder folder;
    const auto path = save(folder.path(), example_run(6), example_pieces(6), 0);
    Checkpoint opened(path);
    save(folder.path(), example_run(6), example_pieces(7), 0);
    EXPECT_THAT(problem_of([&] { opened.verify(); }), HasSubstr("was replaced while it was read"));
    EXPECT_EQ(difference(path, example_pieces(7)), "");
}

}  // namespace
}  // namespace flux::checkpoint::test
