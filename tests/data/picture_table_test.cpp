// Pictures in save_to_disk folders: the cleaned CC12M as the reference stores it, and rows that
// this program wrote.
#include "flux/data/picture_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <nlohmann/json.hpp>

#include "flux/base/error.h"
#include "flux/base/file.h"
#include "flux/base/png.h"
#include "flux/data/arrow_writer.h"
#include "flux/data/registry.h"
#include "flux/data/shapes.h"
#include "support/reference.h"

namespace flux::data {
namespace {

using testing::HasSubstr;

TEST(PictureTable, GivesThePicturesItWasWrittenWith) {
    const test::TemporaryFolder folder;
    const std::vector<SavedColumn> columns = {
        {"__key__", SavedKind::kText}, {"png", SavedKind::kImage}, {"txt", SavedKind::kText}};
    const ShapesDataset shapes({.img_size = 32, .seed = 1});
    ArrowWriter writer(folder.path() / "data.arrow", columns, SavedCompression::kNone);
    for (int64_t row = 0; row < 6; ++row) {
        const Sample sample = shapes.read(row, 0);
        const Image small = draw_shape(shape_scene(1, row), 16);
        const std::string png = encode_png(row == 2 ? small.view() : sample.image.view());
        SavedCell picture;  // row 4 has none
        if (row != 4) {
            picture = std::string_view(png);
        }
        writer.add({std::string_view(sample.key), picture, std::string_view(sample.caption)});
    }
    writer.commit();
    const PictureTable table(
        {.path = folder.path() / "data.arrow", .img_size = 32, .max_image_pixels = 1'000'000});
    ASSERT_EQ(table.size(), 5);  // without the small one
    const Sample first = shapes.read(0, 0);
    EXPECT_EQ(table.read(0, 0).image.rgb, first.image.rgb);
    EXPECT_EQ(table.read(0, 0).caption, first.caption);
    EXPECT_EQ(table.read(2, 0).key, shapes.read(3, 0).key);
    EXPECT_THAT([&] { table.read(3, 0); }, testing::ThrowsMessage<Error>(testing::AllOf(
                                               HasSubstr("row 4"), HasSubstr("has no picture"))));
}

/// Rows (key, picture, caption) as a table; key or caption "" is null.
uint64_t fingerprint_of(const std::vector<std::array<std::string, 3>>& rows) {
    const test::TemporaryFolder folder;
    ArrowWriter writer(
        folder.path() / "data.arrow",
        {{"__key__", SavedKind::kText}, {"png", SavedKind::kImage}, {"txt", SavedKind::kText}},
        SavedCompression::kNone);
    for (const auto& row : rows) {
        std::vector<SavedCell> cells(3);
        for (size_t i = 0; i < 3; ++i) {
            if (!row[i].empty()) {
                cells[i] = std::string_view(row[i]);
            }
        }
        writer.add(cells);
    }
    writer.commit();
    return PictureTable({.path = folder.path() / "data.arrow",
                         .img_size = 16,
                         .skip_low_resolution = false,
                         .max_image_pixels = 1'000'000})
        .fingerprint();
}

// Two cleanings of one set have the same number of rows in files of the same names.
TEST(PictureTable, TheFingerprintIsThatOfTheRows) {
    const uint64_t value = fingerprint_of({{"a", "12345678", "x"}, {"b", "123", "y"}});
    EXPECT_EQ(fingerprint_of({{"a", "abcdefgh", "x"}, {"b", "123", "y"}}), value);  // only lengths
    EXPECT_NE(fingerprint_of({{"a", "12345678", "x"}, {"c", "123", "y"}}), value);
    EXPECT_NE(fingerprint_of({{"b", "123", "y"}, {"a", "12345678", "x"}}), value);
    EXPECT_NE(fingerprint_of({{"a", "12345678", "x"}, {"b", "1234", "y"}}), value);
    EXPECT_NE(fingerprint_of({{"", "12345678", "x"}, {"", "123", "y"}}),
              fingerprint_of({{"", "12345678", "x"}, {"", "123", "z"}}));
}

TEST(PictureTable, TimestepsAreCheckedWhereTheyAreRead) {
    const test::TemporaryFolder folder;
    ArrowWriter writer(
        folder.path() / "data.arrow",
        {{"png", SavedKind::kImage}, {"txt", SavedKind::kText}, {"timestep", SavedKind::kInt32}},
        SavedCompression::kNone);
    const std::string png = encode_png(Image{16, 16, std::vector<uint8_t>(768)}.view());
    for (const int32_t timestep : {7, 8, -1}) {
        writer.add({std::string_view(png), std::string_view("x"), timestep});
    }
    writer.add({std::string_view(png), std::string_view("x"), SavedCell()});
    writer.commit();
    const PictureTable table({.path = folder.path() / "data.arrow",
                              .img_size = 16,
                              .read_timesteps = true,
                              .max_image_pixels = 1'000'000});
    EXPECT_EQ(table.read(0, 0).timestep, 7);
    EXPECT_EQ(table.read(3, 0).timestep, -1);
    EXPECT_THAT([&] { table.read(1, 0); },
                testing::ThrowsMessage<Error>(HasSubstr("row 1: timestep 8: must be 0 .. 7")));
    EXPECT_THAT([&] { table.read(2, 0); },
                testing::ThrowsMessage<Error>(HasSubstr("timestep -1: must be 0 .. 7")));
    EXPECT_THAT(
        [&] {
            PictureTable({.path = folder.path() / "data.arrow",
                          .img_size = 16,
                          .read_timesteps = true,
                          .needs_timesteps = true});
        },
        testing::ThrowsMessage<Error>(HasSubstr("row 1: timestep 8: must be 0 .. 7")));
}

TEST(PictureTable, SortsIntoBucketsByTheHeads) {
    const test::TemporaryFolder folder;
    const std::vector<SavedColumn> columns = {{"png", SavedKind::kImage},
                                              {"txt", SavedKind::kText}};
    ArrowWriter writer(folder.path() / "data.arrow", columns, SavedCompression::kNone);
    for (const auto& [width, height] :
         std::vector<std::pair<int, int>>{{40, 40}, {20, 40}, {64, 36}, {36, 70}, {33, 32}}) {
        const std::vector<uint8_t> rgb(size_t(3) * width * height, 9);
        const std::string png = encode_png(ImageView{rgb.data(), width, height});
        writer.add({std::string_view(png), std::string_view("a caption")});
    }
    writer.commit();
    const PictureTable table({.path = folder.path() / "data.arrow",
                              .img_size = 32,
                              .buckets = {.step = 16},
                              .max_image_pixels = 1'000'000});
    ASSERT_NE(table.buckets(), nullptr);
    ASSERT_EQ(table.size(), 4);  // 20 x 40 is smaller than any shape
    for (int64_t row = 0; row < table.size(); ++row) {
        const Image image = table.read(row, 0).image;
        EXPECT_EQ(PictureShape(image.width, image.height), table.buckets()->shape(row));
        EXPECT_EQ(image.rgb, std::vector<uint8_t>(image.rgb.size(), 9));
    }
    EXPECT_EQ(table.buckets()->shape(0), PictureShape(32));
    EXPECT_EQ(table.buckets()->shape(1), PictureShape(48, 16));
    EXPECT_EQ(table.buckets()->shape(2), PictureShape(16, 48));
}

TEST(ParityPictureTable, ReadsTheCleanedCc12mInOrder) {
    FLUX_SKIP_WITHOUT_REFERENCE();
    const auto folder = *test::reference_dir() / "data/clean_cc12m";
    const auto manifest = nlohmann::json::parse(read_text(folder / "output_manifest.json"));
    const auto dataset = make_dataset({.name = "cc12m_disk", .path = (folder / "output").string()});
    const nlohmann::json& kept = manifest.at("rows");
    ASSERT_EQ(dataset->size(), static_cast<int64_t>(kept.size()));
    ASSERT_GT(kept.size(), 0u);
    for (int64_t row = 0; row < dataset->size(); ++row) {
        const Sample sample = dataset->read(row, 0);
        EXPECT_EQ(sample.key, kept.at(static_cast<size_t>(row)).at("key").get<std::string>());
        EXPECT_EQ(sample.image.width, 256);
        EXPECT_FALSE(sample.caption.empty());
    }
}

}  // namespace
}  // namespace flux::data
