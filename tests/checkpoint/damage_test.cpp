// Damaged checkpoints: every one is refused with the file and the tensor, and the way out.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "example.h"
#include "flux/base/file.h"
#include "flux/base/safetensors.h"
#include "flux/checkpoint/folder.h"
#include "support/problem.h"
#include "support/reference.h"

namespace flux::checkpoint::test {
namespace {

using flux::test::problem_of;
using flux::test::TemporaryFolder;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

class DamagedCheckpoint : public testing::Test {
protected:
    DamagedCheckpoint() {
        save(folder_.path(), example_run(4), example_pieces(4), 0);
        checkpoint_ = save(folder_.path(), example_run(5), example_pieces(5), 0);
        shard_ = checkpoint_ / "rank-00000.safetensors";
    }

    std::string problem() const {
        return problem_of([&] {
            const std::string differs = difference(checkpoint_, example_pieces(5));
            EXPECT_EQ(differs, "");
        });
    }

    TemporaryFolder folder_;
    std::filesystem::path checkpoint_;
    std::filesystem::path shard_;
};

TEST_F(DamagedCheckpoint, FlippedDataNamesFileTensorAndTheOlderOne) {
    const SafetensorsFile file(shard_);
    const size_t data_begin = std::filesystem::file_size(shard_) - file.tensors().back().end;
    damage_byte(shard_, data_begin + file.info("exp_avg/qkv.weight").begin + 17);
    EXPECT_THAT(problem(), AllOf(HasSubstr(shard_.string()), HasSubstr("exp_avg of qkv.weight"),
                                 HasSubstr("checksum"), HasSubstr("step-4"),
                                 HasSubstr("--checkpoint.load_step=4")));
}

TEST_F(DamagedCheckpoint, EveryByteOfTheShardIsGuarded) {
    for (size_t offset = 0; offset < std::filesystem::file_size(shard_); ++offset) {
        damage_byte(shard_, offset);
        EXPECT_THAT(problem(), HasSubstr(checkpoint_.string())) << "byte " << offset;
        damage_byte(shard_, offset);
    }
    EXPECT_EQ(problem(), "");
}

TEST_F(DamagedCheckpoint, ADamagedManifestOffersTheOlderOne) {
    const auto manifest = manifest_path(checkpoint_);
    const std::string text = read_text(manifest);
    write_text(manifest, text.substr(0, 30));
    EXPECT_THAT(
        problem(),
        AllOf(HasSubstr(manifest.string() + ": is not JSON at byte 31"),
              HasSubstr("--checkpoint.load_step=4, other commands take it as --checkpoint " +
                        (folder_.path() / "step-4").string())));
    write_text(manifest, "{}");
    EXPECT_THAT(problem(), AllOf(HasSubstr("is no checkpoint manifest: key 'format' not found"),
                                 Not(HasSubstr("json.exception"))));
    std::filesystem::remove_all(folder_.path() / "step-4");
    EXPECT_THAT(problem(),
                HasSubstr("there is no other complete one in " + folder_.path().string()));
}

TEST_F(DamagedCheckpoint, EveryByteOfTheManifestIsGuarded) {
    const auto manifest = manifest_path(checkpoint_);
    const size_t size = std::filesystem::file_size(manifest);
    for (size_t offset = 0; offset < size; ++offset) {
        damage_byte(manifest, offset);
        EXPECT_THAT(problem(), HasSubstr(manifest.string())) << "byte " << offset;
        damage_byte(manifest, offset);
    }
    EXPECT_EQ(problem(), "");
}

TEST_F(DamagedCheckpoint, TruncatedShardNamesTheFirstLostTensor) {
    const auto size = std::filesystem::file_size(shard_);
    std::filesystem::resize_file(shard_, size - 1);
    EXPECT_THAT(problem(), AllOf(HasSubstr(shard_.string()), HasSubstr("exp_avg_sq/tail"),
                                 HasSubstr("truncated"), HasSubstr("load_step=4")));
    std::filesystem::resize_file(shard_, 100);
    EXPECT_THAT(problem(), AllOf(HasSubstr(shard_.string()), HasSubstr("load_step=4")));
    std::filesystem::resize_file(shard_, 0);
    EXPECT_THAT(problem(), AllOf(HasSubstr(shard_.string()), HasSubstr("load_step=4")));
}

TEST_F(DamagedCheckpoint, MissingFilesAreNamed) {
    std::filesystem::remove(shard_);
    EXPECT_THAT(problem(), AllOf(HasSubstr(shard_.string()), HasSubstr("load_step=4")));
    std::filesystem::remove(manifest_path(checkpoint_));
    EXPECT_THAT(problem(), HasSubstr("has no checkpoint.json"));
    EXPECT_THAT(without_manifest(folder_.path()), testing::ElementsAre(checkpoint_));
}

TEST_F(DamagedCheckpoint, DamagedOlderOnesAreNotOffered) {
    save(folder_.path(), example_run(3), example_pieces(3), 0);
    std::filesystem::remove(folder_.path() / "step-4" / "rank-00000.safetensors");
    std::filesystem::remove(shard_);
    EXPECT_THAT(problem(), HasSubstr("load_step=3"));
    std::filesystem::remove(folder_.path() / "step-3" / "rank-00000.safetensors");
    EXPECT_THAT(problem(), Not(HasSubstr("load_step")));
}

}  // namespace
}  // namespace flux::checkpoint::test
