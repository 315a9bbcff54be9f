#include "flux/data/coco.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "flux/base/error.h"
#include "flux/base/file.h"
#include "flux/base/png.h"
#include "support/problem.h"
#include "support/reference.h"
#include "support/sha256.h"

namespace flux::data {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::HasSubstr;

class Coco : public testing::Test {
protected:
    void SetUp() override {
        settings_ = {.input_images_dir = folder_.path() / "images",
                     .input_captions_file = folder_.path() / "captions.json",
                     .output_dir = folder_.path() / "out",
                     .output_tsv_file = folder_.path() / "out.tsv",
                     .num_samples = 8,
                     .samples_per_shard = 3,
                     .width = 6,
                     .height = 4,
                     .num_workers = 2};
        fs::create_directories(settings_.input_images_dir);
        const std::vector<uint8_t> pixels(5 * 5 * 3, 40);
        for (int id = 0; id < 9; ++id) {
            write_png(settings_.input_images_dir / fmt::format("COCO_val2014_{:012}.jpg", id),
                      {pixels.data(), 5, 5});
            document_["annotations"].push_back(
                {{"image_id", id}, {"id", 100 - id}, {"caption", fmt::format("caption {}", id)}});
        }
        save();
    }
    void save() const { write_text(settings_.input_captions_file, document_.dump()); }

    std::string error() const {
        return test::problem_of([&] { write_coco(settings_); });
    }

    test::TemporaryFolder folder_;
    CocoSettings settings_;
    json document_;
};

TEST_F(Coco, WritesShardsAndTsv) {
    const CocoResult result = write_coco(settings_);
    EXPECT_EQ(result.samples, 8);
    EXPECT_EQ(result.written, 8);
    EXPECT_EQ(result.shards, 3);
    EXPECT_TRUE(fs::exists(settings_.output_dir / "shard_00002.tar"));
}

TEST_F(Coco, WorkersDoNotChangeTheBytes) {
    write_coco(settings_);
    CocoSettings other = settings_;
    other.num_workers = 5;
    other.output_dir = folder_.path() / "other";
    other.output_tsv_file = folder_.path() / "other.tsv";
    write_coco(other);
    EXPECT_EQ(read_text(settings_.output_dir / "shard_00001.tar"),
              read_text(other.output_dir / "shard_00001.tar"));
}

TEST_F(Coco, CaptionsLoseNewlinesAndOuterBlanks) {
    for (json& annotation : document_["annotations"]) {
        annotation["caption"] = "\xE3\x80\x80\t two\nlines \xC2\xA0";
    }
    save();
    EXPECT_EQ(select_coco(settings_).front().caption, "twolines");
}

TEST_F(Coco, KeepsExistingOutput) {
    write_coco(settings_);
    const std::string before = read_text(settings_.output_tsv_file);
    EXPECT_THAT(error(), HasSubstr("exists already"));
    settings_.output_tsv_file = folder_.path() / "second.tsv";
    EXPECT_THAT(error(), HasSubstr("shard_0000"));
    EXPECT_FALSE(fs::exists(settings_.output_tsv_file));
    EXPECT_EQ(read_text(folder_.path() / "out.tsv"), before);
}

TEST_F(Coco, RefusesWhatCannotBeEven) {
    settings_.num_samples = 7;
    EXPECT_THAT(error(), HasSubstr("multiple of 8"));
    settings_.num_samples = 16;
    EXPECT_THAT(error(), HasSubstr("of its 9 captions 9 can be chosen, where --num-samples is 16"));
    EXPECT_FALSE(fs::exists(settings_.output_dir));
}

TEST_F(Coco, AWrongFolderOfPicturesIsAConfigurationError) {
    const fs::path images = settings_.input_images_dir;
    const int64_t first = select_coco(settings_).front().image_id;
    settings_.input_images_dir = folder_.path() / "empty";
    EXPECT_THROW(write_coco(settings_), ConfigError);
    fs::create_directories(settings_.input_images_dir);
    EXPECT_THROW(write_coco(settings_), ConfigError);
    EXPECT_THAT(error(), HasSubstr(fmt::format("{}: holds none of the 8 chosen pictures, the first "
                                               "of which is COCO_val2014_{:012}.jpg",
                                               settings_.input_images_dir.string(), first)));
    EXPECT_FALSE(fs::exists(settings_.output_dir));
    EXPECT_FALSE(fs::exists(settings_.output_tsv_file));
    settings_.input_images_dir = images;
    EXPECT_EQ(write_coco(settings_).written, 8);
}

TEST_F(Coco, AFailedRunLeavesNothing) {
    for (const auto& entry : fs::directory_iterator(settings_.input_images_dir)) {
        write_text(entry.path(), "no picture");
    }
    settings_.output_dir = folder_.path() / "deep/out";
    EXPECT_THAT(error(), HasSubstr("none of the 8 chosen pictures can be read"));
    EXPECT_FALSE(fs::exists(folder_.path() / "deep"));
    EXPECT_FALSE(fs::exists(settings_.output_tsv_file));
}

TEST_F(Coco, AFailureAfterTheFirstShardLeavesNothing) {
    fs::create_directories(settings_.output_dir);
    write_text(settings_.output_dir / "notes", "of the user");
    settings_.output_tsv_file = settings_.output_dir / "shard_00001.tar";  // a shard takes the name
    EXPECT_THAT(error(), HasSubstr("shard_00001.tar"));
    EXPECT_THAT(list_folder(settings_.output_dir),
                testing::ElementsAre(settings_.output_dir / "notes"));
}

TEST_F(Coco, RefusesBadCaptionFiles) {
    const json good = document_;
    document_["images"] = {{{"file_name", "../../etc/passwd"}, {"id", 1}}};
    save();
    EXPECT_THAT(error(), HasSubstr("leaves the folder"));
    document_["images"] = {{{"file_name", "/etc/passwd"}, {"id", 1}}};
    save();
    EXPECT_THAT(error(), HasSubstr("leaves the folder"));
    document_ = good;
    document_["annotations"][3]["image_id"] = "../x";
    save();
    EXPECT_THAT(error(), HasSubstr("annotation 3: \"image_id\" must be a number"));
    document_ = {{"annotations", 5}};
    save();
    EXPECT_THAT(error(), HasSubstr("captions.json: must be an object with a list"));
    write_text(settings_.input_captions_file, "{");
    EXPECT_THAT(error(), HasSubstr("not valid JSON"));
    EXPECT_FALSE(fs::exists(settings_.output_dir));
}

TEST_F(Coco, BadPicturesAreLeftOutAndTimestepsStay) {
    const std::vector<CocoSample> chosen = select_coco(settings_);
    write_text(
        settings_.input_images_dir / fmt::format("COCO_val2014_{:012}.jpg", chosen[2].image_id),
        "no picture");
    const CocoResult result = write_coco(settings_);
    EXPECT_EQ(result.written, 7);
    const std::string tsv = read_text(settings_.output_tsv_file);
    EXPECT_THAT(tsv, HasSubstr(fmt::format("caption {}\t2\n", chosen[2].image_id)));
    EXPECT_THAT(read_text(settings_.output_dir / "shard_00000.tar"), HasSubstr("\"timestep\": 3"));
}

TEST(Sha256, KnownValue) {
    const std::string text = "abc";
    EXPECT_EQ(test::sha256({reinterpret_cast<const uint8_t*>(text.data()), text.size()}),
              "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

}  // namespace
}  // namespace flux::data
