#include "flux/data/inspect.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "data/tar_bytes.h"
#include "data/tar_writer.h"
#include "flux/base/error.h"
#include "flux/base/file.h"
#include "flux/base/png.h"
#include "flux/data/registry.h"
#include "support/reference.h"

namespace flux::data {
namespace {

using testing::HasSubstr;

TEST(Inspect, CountsAndListsWhatIsBad) {
    const test::TemporaryFolder folder;
    const Image picture{40, 30, std::vector<uint8_t>(40 * 30 * 3, 9)};
    TarWriter tar(folder.path() / "a.tar");
    tar.add("good.png", encode_png(picture.view()));
    tar.add("good.txt", "four");
    tar.add("good.json", R"({"timestep": 3})");
    tar.add("bad.jpg", "no picture");
    tar.add("bad.txt", "longer");
    tar.add("mute.png", encode_png(picture.view()));
    tar.finish();
    const Inspection result = inspect(folder.path().string(), 2, 64);
    EXPECT_EQ(result.files, 1);
    EXPECT_EQ(result.samples, 3);
    EXPECT_EQ(result.extensions.at("png"), 2);
    EXPECT_EQ(result.modes.at("RGB"), 2);
    EXPECT_EQ(result.timesteps.at(3), 1);
    EXPECT_EQ(result.smallest_side, 30);
    EXPECT_EQ(result.largest_side, 40);
    EXPECT_EQ(result.shortest_caption, 4u);
    EXPECT_EQ(result.longest_caption, 6u);
    ASSERT_EQ(result.problems.size(), 2u);
    EXPECT_THAT(result.problems[0], HasSubstr("bad: not a JPEG"));
    EXPECT_THAT(result.problems[1], HasSubstr("mute: has no caption"));
    EXPECT_THAT(inspection_text(result), HasSubstr("pictures   RGB 2; sides of 30 to 40 pixels"));
    const Image sheet = contact_sheet(result.thumbnails);
    EXPECT_EQ(sheet.width, 2 * kThumbnailSide);
    EXPECT_EQ(sheet.height, kThumbnailSide);
    EXPECT_EQ(sheet.rgb.front(), 9);
    EXPECT_EQ(sheet.rgb.back(), 9);
}

// What training takes and what it refuses: an empty .txt counts before the .json.
TEST(Inspect, ReadsTarSamplesByTheRulesOfTraining) {
    const test::TemporaryFolder folder;
    const std::string png = encode_png(Image{16, 16, std::vector<uint8_t>(768)}.view());
    write_text(folder.path() / "a.tar",
               test::tar_member("empty.png", png) + test::tar_member("empty.txt", "") +
                   test::tar_member("empty.json", R"({"caption": "other"})") +
                   test::tar_member("nine.png", png) +
                   test::tar_member("nine.json", R"({"caption": "x", "timestep": 9})") +
                   test::tar_end());
    const std::string tar = folder.path() / "a.tar";
    const Inspection result = inspect(tar, 1, 0);
    const auto dataset =
        make_dataset({.name = "webdataset", .path = tar, .img_size = 16, .validation = true});
    EXPECT_EQ(dataset->read(0, 0).caption, "");
    ASSERT_EQ(result.problems.size(), 1u);
    EXPECT_THAT([&] { dataset->read(1, 0); },
                testing::ThrowsMessage<Error>(testing::StrEq(result.problems[0])));
}

TEST(Inspect, SheetsHaveRowsOfEight) {
    const size_t bytes = size_t{3} * kThumbnailSide * kThumbnailSide;
    std::vector<Image> pictures(9, {kThumbnailSide, kThumbnailSide, std::vector<uint8_t>(bytes)});
    const Image sheet = contact_sheet(pictures);
    EXPECT_EQ(sheet.width, 8 * kThumbnailSide);
    EXPECT_EQ(sheet.height, 2 * kThumbnailSide);
    EXPECT_EQ(sheet.rgb.back(), 255);
}

}  // namespace
}  // namespace flux::data
