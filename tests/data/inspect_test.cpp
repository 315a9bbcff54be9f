#include "flux/data/inspect.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "data/tar_bytes.h"
#include "data/tar_writer.h"
#include "flux/base/error.h"
#include "flux/base/file.h"
#include "flux/base/png.h"
#include "flux/data/image_decode.h"
#include "flux/data/registry.h"
#include "support/reference.h"

namespace flux::data {
namespace {

using testing::AllOf;
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
    EXPECT_EQ(result.usable, 1);
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
    EXPECT_THAT(inspection_text(result),
                AllOf(HasSubstr("samples    3\nusable     1\n"),
                      HasSubstr("pictures   RGB 2; sides of 30 to 40 pixels\n"),
                      HasSubstr("captions   2; 4 to 6 bytes\n")));
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

/// A grey picture of 64 x 64 whose 64 blocks take two bits each, all of them zeros.
std::string plain_jpeg() {
    const std::string dct_table = std::string("\xFF\xDB\0\x43\0", 5) + std::string(64, '\1');
    const std::string frame("\xFF\xC0\0\x0B\x08\0\x40\0\x40\x01\x01\x11\0", 13);
    const auto one_code = [](char table) {
        return std::string("\xFF\xC4\0\x14", 4) + table + '\1' + std::string(16, '\0');
    };
    const std::string scan("\xFF\xDA\0\x08\x01\x01\0\0\x3F\0", 10);
    return "\xFF\xD8" + dct_table + frame + one_code('\0') + one_code('\x10') + scan +
           std::string(16, '\0') + "\xFF\xD9";
}

TEST(Inspect, TakesTruncatedPicturesAsTrainingDoes) {
    const test::TemporaryFolder folder;
    const std::string jpeg = plain_jpeg();
    const std::string cut = jpeg.substr(0, jpeg.size() - 10);
    EXPECT_THAT(
        [&] {
            decode_image({reinterpret_cast<const uint8_t*>(cut.data()), cut.size()},
                         {.accept_truncated = false});
        },
        testing::ThrowsMessage<Error>(HasSubstr("truncated")));
    write_text(folder.path() / "cut.jpg", cut);
    write_text(folder.path() / "cut.txt", "grey");
    const auto dataset =
        make_dataset({.name = "image_folder", .path = folder.path().string(), .img_size = 64});
    EXPECT_EQ(dataset->read(0, 0).image.width, 64);
    const Inspection result = inspect(folder.path().string(), 1, 0);
    EXPECT_THAT(result.problems, testing::IsEmpty());
    EXPECT_EQ(result.usable, 1);
}

TEST(Inspect, CountsBlankCaptions) {
    const test::TemporaryFolder folder;
    const std::string png = encode_png(Image{16, 16, std::vector<uint8_t>(768)}.view());
    for (const auto& [stem, caption] :
         std::map<std::string, std::string>{{"a", "text"}, {"b", " \n"}, {"c", ""}}) {
        write_text(folder.path() / (stem + ".png"), png);
        write_text(folder.path() / (stem + ".txt"), caption);
    }
    const Inspection result = inspect(folder.path().string(), 1, 0);
    EXPECT_EQ(result.usable, 3);
    EXPECT_EQ(result.blank_captions, 2);
    EXPECT_THAT(inspection_text(result),
                HasSubstr("captions   3; 0 to 4 bytes; 2 empty or blank, the first that of b.png"));
}

TEST(Inspect, NamesGoodAndBadPicturesAlike) {
    const test::TemporaryFolder folder;
    const std::string png = encode_png(Image{16, 16, std::vector<uint8_t>(768)}.view());
    std::filesystem::create_directory(folder.path() / "sub");
    write_text(folder.path() / "sub/mute.png", png);
    write_text(folder.path() / "wrong.png", "no picture");
    write_text(folder.path() / "wrong.txt", "text");
    const Inspection result = inspect(folder.path().string(), 1, 0);
    EXPECT_THAT(result.first_keys, testing::ElementsAre("sub/mute.png", "wrong.png"));
    EXPECT_EQ(result.usable, 0);
    EXPECT_THAT(inspection_text(result),
                HasSubstr("pictures   none\ncaptions   1; 4 to 4 bytes\n"));
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
