#include "flux/data/image_folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "flux/base/error.h"
#include "flux/base/file.h"
#include "flux/base/png.h"
#include "flux/data/arrow_writer.h"
#include "flux/data/loader.h"
#include "flux/data/registry.h"
#include "support/reference.h"

namespace flux::data {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::ThrowsMessage;

std::string png(int side, uint8_t value) {
    return encode_png(
        Image{side, side, std::vector<uint8_t>(size_t(3) * side * side, value)}.view());
}

class ImageFolderTest : public testing::Test {
protected:
    void write(const std::string& name, const std::string& bytes) const {
        fs::create_directories((folder_.path() / name).parent_path());
        write_text(folder_.path() / name, bytes);
    }
    void write_pair(const std::string& stem, uint8_t value, int side = 16) const {
        write(stem + ".png", png(side, value));
        write(stem + ".txt", "caption of " + stem);
    }
    std::unique_ptr<Dataset> open(int64_t subset_size = 0, bool validation = false) const {
        return make_dataset({.name = "image_folder",
                             .path = folder_.path().string(),
                             .img_size = 16,
                             .subset_size = subset_size,
                             .validation = validation});
    }

    test::TemporaryFolder folder_;
};

TEST_F(ImageFolderTest, ReadsSubFoldersInTheOrderOfPaths) {
    write_pair("b", 1);
    write_pair("a/z", 2);
    write_pair("a/deep/er", 3);
    write("a/odd.PNG", png(16, 4));
    write("a/odd.txt", "odd");
    write("named", png(16, 5));  // told by content
    write("named.txt", "no extension");
    write("notes.md", "no picture");
    write(".hidden/x.png", png(16, 6));
    fs::create_directory_symlink(folder_.path(), folder_.path() / "a" / "circle");
    const auto dataset = open();
    ASSERT_EQ(dataset->size(), 5);
    const std::vector<std::string> keys{"a/deep/er.png", "a/odd.PNG", "a/z.png", "b.png", "named"};
    const std::vector<int> values{3, 4, 2, 1, 5};
    for (int64_t row = 0; row < 5; ++row) {
        const Sample sample = dataset->read(row, 0);
        EXPECT_EQ(sample.key, keys[static_cast<size_t>(row)]);
        EXPECT_EQ(sample.image.rgb.at(0), values[static_cast<size_t>(row)]);
        EXPECT_EQ(sample.timestep, -1);
    }
    EXPECT_EQ(dataset->read(0, 0).caption, "caption of a/deep/er");
    EXPECT_EQ(dataset->caption(4), "no extension");
}

TEST_F(ImageFolderTest, OfSeveralLinksToAFolderTheFirstNameCounts) {
    write_pair("m/x", 1);
    for (const char* link : {"z", "b", "k"}) {
        fs::create_directory_symlink(folder_.path() / "m", folder_.path() / link);
    }
    const auto dataset = open();
    ASSERT_EQ(dataset->size(), 1);
    EXPECT_EQ(dataset->read(0, 0).key, "b/x.png");
}

TEST_F(ImageFolderTest, BadSamplesAreNamed) {
    write_pair("good", 1);
    write("broken.jpg", "no picture");
    write("broken.txt", "x");
    write("latin.png", png(16, 1));
    write("latin.txt", "caf\xE9");
    write("mute.png", png(16, 1));
    const auto dataset = open();
    ASSERT_EQ(dataset->size(), 4);
    EXPECT_THAT([&] { dataset->read(0, 0); },
                ThrowsMessage<Error>(HasSubstr("broken.jpg: not a JPEG")));
    EXPECT_EQ(dataset->read(1, 0).key, "good.png");
    EXPECT_THAT([&] { dataset->read(2, 0); },
                ThrowsMessage<Error>(HasSubstr("latin.txt: is not UTF-8 at byte 3")));
    EXPECT_THAT([&] { dataset->read(3, 0); },
                ThrowsMessage<Error>(HasSubstr("mute.png: has no caption: there is no mute.txt")));
    EXPECT_THAT([&] { dataset->caption(3); }, ThrowsMessage<Error>(HasSubstr("has no caption")));
    Loader loader(*dataset,
                  {.batch_size = 4, .end = 4, .substitute = false, .max_bad_fraction = 1});
    EXPECT_EQ(loader.next()->keys, std::vector<std::string>{"good.png"});
}

TEST_F(ImageFolderTest, SmallPicturesSubsetAndFingerprint) {
    write_pair("a", 1);
    write_pair("b", 2, 8);
    write_pair("c", 3);
    EXPECT_EQ(open()->size(), 2);
    EXPECT_EQ(open(2)->size(), 1);
    EXPECT_EQ(open(0, true)->size(), 3);
    const uint64_t before = open()->fingerprint();
    EXPECT_EQ(open()->fingerprint(), before);
    write_pair("d", 4);
    EXPECT_NE(open()->fingerprint(), before);
}

TEST_F(ImageFolderTest, EachPictureGoesToItsBucket) {
    const auto write_sized = [&](const std::string& stem, int width, int height) {
        write(
            stem + ".png",
            encode_png(
                Image{width, height, std::vector<uint8_t>(size_t(3) * width * height, 5)}.view()));
        write(stem + ".txt", stem);
    };
    constexpr int64_t kEach = 8;  // a bucket of fewer is none
    for (int64_t i = 0; i < kEach; ++i) {
        write_sized("lying" + std::to_string(i), 100, 60);
        write_sized("square" + std::to_string(i), 64, 64);
        write_sized("standing" + std::to_string(i), 60, 100);
    }
    write_sized("small", 40, 20);
    write("unknown.png", "no picture");
    const auto dataset = make_dataset({.name = "image_folder",
                                       .path = folder_.path().string(),
                                       .img_size = 64,
                                       .buckets = {.step = 16}});
    ASSERT_EQ(dataset->size(), 3 * kEach + 1);
    const std::vector<PictureShape> shapes{{80, 48}, {64, 64}, {48, 80}};
    for (int64_t row = 0; row < 3 * kEach; ++row) {
        const PictureShape& shape = shapes[static_cast<size_t>(row / kEach)];
        const Sample sample = dataset->read(row, 0);
        EXPECT_EQ(PictureShape(sample.image.width, sample.image.height), shape);
        EXPECT_EQ(dataset->buckets()->shape(row), shape);
    }
    EXPECT_EQ(dataset->caption(2 * kEach), "standing0");
    EXPECT_THAT([&] { dataset->read(3 * kEach, 0); },
                ThrowsMessage<Error>(HasSubstr("unknown.png")));
    EXPECT_NE(
        dataset->fingerprint(),
        make_dataset({.name = "image_folder", .path = folder_.path().string(), .img_size = 64})
            ->fingerprint());
}

TEST_F(ImageFolderTest, RefusesPathsThatHoldNothing) {
    EXPECT_THAT([&] { open(); }, ThrowsMessage<Error>(HasSubstr("holds no picture")));
    write("file.png", png(16, 1));
    const auto open_path = [](const std::string& name, const std::string& path) {
        make_dataset({.name = name, .path = path, .img_size = 16});
    };
    EXPECT_THAT([&] { open_path("image_folder", (folder_.path() / "file.png").string()); },
                ThrowsMessage<ConfigError>(HasSubstr("is not a folder")));
    EXPECT_THAT([&] { open_path("image_folder", ""); },
                ThrowsMessage<ConfigError>(HasSubstr("to the folder of the pictures")));
    EXPECT_THAT([&] { open_path("picture_table", ""); },
                ThrowsMessage<ConfigError>(HasSubstr("Parquet")));
    EXPECT_THAT([&] { open_path("preprocessed", ""); },
                ThrowsMessage<ConfigError>(HasSubstr("preprocess` wrote")));
}

TEST_F(ImageFolderTest, TablesAreReachableByTheirKind) {
    const std::string picture = png(16, 7);
    ArrowWriter writer(folder_.path() / "x.arrow",
                       {{"image", SavedKind::kImage}, {"text", SavedKind::kText}},
                       SavedCompression::kNone);
    writer.add({std::string_view(picture), std::string_view("seven")});
    writer.commit();
    const auto dataset = make_dataset(
        {.name = "picture_table", .path = (folder_.path() / "x.arrow").string(), .img_size = 16});
    EXPECT_EQ(dataset->read(0, 0).caption, "seven");
    EXPECT_EQ(dataset->read(0, 0).image.rgb.at(0), 7);
}

}  // namespace
}  // namespace flux::data
