#include "flux/data/inspect.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "data/tar_writer.h"
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
