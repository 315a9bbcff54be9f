#include "flux/base/png.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <png.h>
#include <signal.h>
#include <sys/resource.h>

#include <random>
#include <vector>

#include "flux/base/error.h"
#include "flux/base/file.h"
#include "support/problem.h"
#include "support/reference.h"

namespace flux {
namespace {

using test::TemporaryFolder;
using testing::HasSubstr;

std::vector<uint8_t> noise(int64_t width, int64_t height) {
    std::vector<uint8_t> rgb(static_cast<size_t>(width * height * 3));
    std::mt19937 random(1);  // noise does not compress
    for (uint8_t& value : rgb) {
        value = static_cast<uint8_t>(random());
    }
    return rgb;
}

std::vector<uint8_t> read_rgb(const std::filesystem::path& path, png_image& image) {
    image = {};
    image.version = PNG_IMAGE_VERSION;
    EXPECT_TRUE(png_image_begin_read_from_file(&image, path.c_str())) << image.message;
    EXPECT_EQ(image.format, static_cast<png_uint_32>(PNG_FORMAT_RGB));
    std::vector<uint8_t> rgb(PNG_IMAGE_SIZE(image));
    EXPECT_TRUE(png_image_finish_read(&image, nullptr, rgb.data(), 0, nullptr)) << image.message;
    return rgb;
}

std::string error_of(const std::filesystem::path& path, const ImageView& image,
                     std::span<const PngText> texts = {}) {
    return test::problem_of([&] { write_png(path, image, texts); });
}

TEST(WritePng, KeepsEveryPixel) {
    const TemporaryFolder folder;
    for (const auto& [width, height] : {std::pair<int64_t, int64_t>{1, 1}, {7, 5}, {64, 48}}) {
        const auto path = folder.path() / "a.png";
        const auto rgb = noise(width, height);
        write_png(path, {rgb.data(), width, height});
        png_image image;
        EXPECT_EQ(read_rgb(path, image), rgb);
        EXPECT_EQ(image.width, width);
        EXPECT_EQ(image.height, height);
    }
    EXPECT_EQ(list_folder(folder.path()), std::vector{folder.path() / "a.png"});
}

TEST(WritePng, KeepsTextsInAnyScript) {
    const TemporaryFolder folder;
    const auto path = folder.path() / "a.png";
    const auto rgb = noise(4, 4);
    const std::vector<PngText> texts = {{"prompt", "a caf\xC3\xA9 by the sea"},
                                        {"prompt_ja", "\xE7\x8C\xAB \xF0\x9F\x90\x88"},
                                        {"seed", "1234"},
                                        {"negative", ""}};
    write_png(path, {rgb.data(), 4, 4}, texts);
    const auto read = read_png_text(path);
    ASSERT_EQ(read.size(), texts.size());
    for (const PngText& text : texts) {
        EXPECT_EQ(read.at(text.keyword), text.text);
    }
}

TEST(WritePng, UsesTheInternationalChunkOnlyWhereItMust) {
    const TemporaryFolder folder;
    const auto rgb = noise(4, 4);
    const PngText latin{"prompt", "caf\xC3\xA9"};
    const PngText other{"prompt", "\xE7\x8C\xAB"};
    write_png(folder.path() / "latin.png", {rgb.data(), 4, 4}, {&latin, 1});
    write_png(folder.path() / "other.png", {rgb.data(), 4, 4}, {&other, 1});
    EXPECT_THAT(read_text(folder.path() / "latin.png"), HasSubstr("tEXt"));
    EXPECT_THAT(read_text(folder.path() / "other.png"), HasSubstr("iTXt"));
}

TEST(WritePng, NamesWhatIsWrong) {
    const TemporaryFolder folder;
    const auto rgb = noise(4, 4);
    EXPECT_THAT(error_of(folder.path() / "a.png", {rgb.data(), 0, 4}), HasSubstr("0 x 4"));
    const auto missing = folder.path() / "missing/a.png";
    EXPECT_THAT(error_of(missing, {rgb.data(), 4, 4}), HasSubstr(missing.string()));
    const PngText unnamed{"", "text"};
    EXPECT_THAT(error_of(folder.path() / "a.png", {rgb.data(), 4, 4}, {&unnamed, 1}),
                HasSubstr("a.png"));
    EXPECT_TRUE(std::filesystem::is_empty(folder.path())) << "no file may be left behind";
}

TEST(WritePng, KeepsTheOldFileWhenTheDiskIsFull) {
    const TemporaryFolder folder;
    const auto path = folder.path() / "a.png";
    const auto small = noise(2, 2);
    write_png(path, {small.data(), 2, 2});
    const auto large = noise(256, 256);
    ::signal(SIGXFSZ, SIG_IGN);
    rlimit before{};
    ::getrlimit(RLIMIT_FSIZE, &before);
    const rlimit limit{.rlim_cur = 4096, .rlim_max = before.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    const std::string message = error_of(path, {large.data(), 256, 256});
    ::setrlimit(RLIMIT_FSIZE, &before);
    EXPECT_THAT(message, HasSubstr("cannot write"));
    png_image image;
    EXPECT_EQ(read_rgb(path, image), small);
    EXPECT_EQ(list_folder(folder.path()), std::vector{folder.path() / "a.png"});
}

TEST(ReadPngText, RefusesWhatIsNoWholePng) {
    const TemporaryFolder folder;
    const auto path = folder.path() / "a.png";
    const auto rgb = noise(4, 4);
    const PngText text{"prompt", "a cat"};
    write_png(path, {rgb.data(), 4, 4}, {&text, 1});
    const std::string whole = read_text(path);
    for (size_t size = 0; size < whole.size(); ++size) {
        const auto bytes = std::as_bytes(std::span(whole.data(), size));
        EXPECT_THROW(read_png_text(bytes, path), Error) << size << " bytes";
    }
}

}  // namespace
}  // namespace flux
