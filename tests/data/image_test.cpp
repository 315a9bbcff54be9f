// Pictures made on the fly: formats and cases that need no stored file.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zlib.h>

#include <algorithm>
#include <string>

#include "data/decoders.h"
#include "flux/base/error.h"
#include "flux/data/image_decode.h"
#include "flux/data/image_resize.h"
#include "flux/data/image_transform.h"
#include "flux/data/registry.h"
#include "support/problem.h"

namespace flux::data {
namespace {

std::span<const uint8_t> bytes_of(const std::string& text) {
    return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

Raster decode(const std::string& file, int64_t max_pixels = DatasetSettings{}.max_image_pixels) {
    return decode_image(bytes_of(file), max_pixels);
}

std::string error_of(const std::string& file,
                     int64_t max_pixels = DatasetSettings{}.max_image_pixels) {
    return test::problem_of([&] { decode(file, max_pixels); });
}

std::string big_endian(uint32_t value) {
    return {static_cast<char>(value >> 24), static_cast<char>(value >> 16),
            static_cast<char>(value >> 8), static_cast<char>(value)};
}

std::string little_endian(uint32_t value, int size) {
    std::string text;
    for (int i = 0; i < size; ++i) {
        text += static_cast<char>(value >> (8 * i));
    }
    return text;
}

std::string png_chunk(const std::string& type, const std::string& data) {
    const std::string body = type + data;
    const auto crc = crc32(0, bytes_of(body).data(), static_cast<uInt>(body.size()));
    return big_endian(static_cast<uint32_t>(data.size())) + body +
           big_endian(static_cast<uint32_t>(crc));
}

constexpr size_t kPngHeader = 8 + 25;  // signature and IHDR

/// EXIF data with nothing but an orientation.
std::string exif_with(int orientation, bool big) {
    const auto number = [&](uint32_t value, int size) {
        std::string text = little_endian(value, size);
        return big ? std::string(text.rbegin(), text.rend()) : text;
    };
    return std::string(big ? "MM" : "II") + number(42, 2) + number(8, 4) + number(1, 2) +
           number(0x0112, 2) + number(3, 2) + number(1, 4) +
           number(static_cast<uint32_t>(orientation), 2) + number(0, 2) + number(0, 4);
}

TEST(DecodeImage, TurnsPicturesUpright) {
    Image stored{3, 2, {}};
    for (const char c : std::string("abcdef")) {
        stored.rgb.insert(stored.rgb.end(), 3, static_cast<uint8_t>(c));
    }
    const std::string png = encode_png(stored.view());
    const std::vector<std::string> expected = {"abc/def/",  "cba/fed/",  "fed/cba/",  "def/abc/",
                                               "ad/be/cf/", "da/eb/fc/", "fc/eb/da/", "cf/be/ad/"};
    for (int orientation = 1; orientation <= 8; ++orientation) {
        for (const bool big : {false, true}) {
            const Raster raster =
                decode(png.substr(0, kPngHeader) + png_chunk("eXIf", exif_with(orientation, big)) +
                       png.substr(kPngHeader));
            std::string text;
            for (int y = 0; y < raster.height; ++y) {
                for (int x = 0; x < raster.width; ++x) {
                    text += static_cast<char>(raster.row(y)[3 * x]);
                }
                text += '/';
            }
            EXPECT_EQ(text, expected[static_cast<size_t>(orientation - 1)]) << orientation;
        }
    }
}

TEST(DecodeImage, IgnoresExifThatMakesNoSense) {
    for (const std::string& exif : {exif_with(0, false), exif_with(9, true), std::string("II"),
                                    std::string(40, '\xFF'), std::string("Exif\0\0MM\0", 9)}) {
        EXPECT_EQ(exif_orientation(bytes_of(exif)), 1);
    }
}

/// "400x300"
std::string probed(const std::string& file) {
    const auto size = probe_picture_size([&](uint64_t offset, std::span<uint8_t> out) -> size_t {
        const size_t begin = std::min<uint64_t>(offset, file.size());
        return bytes_of(file).subspan(begin).size() < out.size()
                   ? file.copy(reinterpret_cast<char*>(out.data()), file.size() - begin, begin)
                   : file.copy(reinterpret_cast<char*>(out.data()), out.size(), begin);
    });
    return size ? fmt::format("{}x{}", size->width, size->height) : "unknown";
}

TEST(ProbePictureSize, IsThatOfTheUprightPicture) {
    const std::string png = encode_png(Image{3, 2, std::vector<uint8_t>(18)}.view());
    const auto segment = [](char marker, const std::string& data) {
        const std::string size = big_endian(static_cast<uint32_t>(data.size() + 2)).substr(2);
        return std::string("\xFF") + marker + size + data;
    };
    const auto chunk = [](const std::string& kind, const std::string& data) {
        return kind + little_endian(static_cast<uint32_t>(data.size()), 4) + data +
               std::string(data.size() % 2, '\0');
    };
    const std::string frame("\x08\0\x02\0\x03\x01\x01\x11\0", 9);
    const std::string extended("\x08\0\0\0\x02\0\0\x01\0\0", 10);
    for (int orientation = 1; orientation <= 8; ++orientation) {
        const std::string exif = exif_with(orientation, orientation % 2 == 0);
        const std::string expected = orientation >= 5 ? "2x3" : "3x2";
        EXPECT_EQ(probed(png.substr(0, kPngHeader) + png_chunk("gAMA", big_endian(45'455)) +
                         png_chunk("eXIf", exif) + png.substr(kPngHeader)),
                  expected);
        // The first EXIF segment counts, as when the picture is decoded.
        EXPECT_EQ(probed("\xFF\xD8" + segment('\xE0', "JFIF") + segment('\xE1', "http://xmp") +
                         segment('\xE1', std::string("Exif\0\0", 6) + exif) +
                         segment('\xE1', std::string("Exif\0\0", 6) + exif_with(6, false)) +
                         segment('\xC0', frame)),
                  expected);
        const std::string chunks =
            "WEBP" + chunk("VP8X", extended) + chunk("VP8 ", "pixel") + chunk("EXIF", exif);
        EXPECT_EQ(probed(chunk("RIFF", chunks)), expected);
    }
    EXPECT_EQ(probed(png), "3x2");
    EXPECT_EQ(probed("\xFF\xD8" + segment('\xE1', std::string(40, 'x')) + segment('\xC0', frame)),
              "3x2");
    EXPECT_EQ(probed("\xFF\xD8" + segment('\xE1', std::string("Exif\0\0", 6) + "II*") +
                     segment('\xC0', frame) + std::string(8, 'x')),
              "3x2");
}

TEST(DecodeImage, RefusesBombsBeforeTakingMemory) {
    const std::string header =
        big_endian(200'000) + big_endian(200'000) + std::string("\x08\x02\0\0\0", 5);
    const std::string bomb = "\x89PNG\r\n\x1A\n" + png_chunk("IHDR", header) +
                             png_chunk("IDAT", "x") + png_chunk("IEND", "");
    EXPECT_THAT(error_of(bomb), testing::HasSubstr("PNG picture of 200000 x 200000 pixels: more "
                                                   "than the limit of 933120000"));
    const std::string small = encode_png(Image{4, 4, std::vector<uint8_t>(48)}.view());
    EXPECT_THAT(error_of(small, 15), testing::HasSubstr("more than the limit"));
    EXPECT_EQ(error_of(small, 16), "");
}

TEST(DecodeImage, SaysWhatIsWrong) {
    const std::string png = encode_png(Image{40, 40, std::vector<uint8_t>(4800, 7)}.view());
    EXPECT_THAT(error_of(""), testing::HasSubstr("no bytes"));
    EXPECT_THAT(error_of("once upon a time"), testing::HasSubstr("\"once upon a time\""));
    EXPECT_THAT(error_of(png.substr(0, png.size() - 30)), testing::HasSubstr("truncated"));
    EXPECT_THAT(error_of("\xFF\xD8\xFF"), testing::HasSubstr("JPEG picture: "));
    EXPECT_THAT(error_of("GIF89a"), testing::HasSubstr("GIF picture: "));
    EXPECT_THAT(error_of("RIFF....WEBPVP8 "), testing::HasSubstr("WebP picture: "));
    EXPECT_THAT(error_of("BM"), testing::HasSubstr("BMP picture: "));
}

/// File header and 40-byte header; `height` may be negative (rows from the top).
std::string bmp(int width, int height, int depth, const std::string& palette,
                const std::string& pixels, uint32_t compression = 0) {
    const auto pixels_at = static_cast<uint32_t>(54 + palette.size());
    return "BM" + little_endian(0, 4) + little_endian(0, 4) + little_endian(pixels_at, 4) +
           little_endian(40, 4) + little_endian(static_cast<uint32_t>(width), 4) +
           little_endian(static_cast<uint32_t>(height), 4) + little_endian(1, 2) +
           little_endian(static_cast<uint32_t>(depth), 2) + little_endian(compression, 4) +
           std::string(12, '\0') + little_endian(static_cast<uint32_t>(palette.size() / 4), 4) +
           little_endian(0, 4) + palette + pixels;
}

TEST(DecodeBmp, ReadsEveryDepth) {
    using testing::ElementsAre;
    const std::string palette("\1\2\3\0\4\5\6\0", 8);  // (3,2,1), (6,5,4)
    Raster raster = decode(bmp(2, 2, 24, "", std::string("\1\2\3\4\5\6..\7\10\11\12\13\14..", 16)));
    EXPECT_EQ(raster.mode, Mode::kRgb);
    EXPECT_THAT(raster.data, ElementsAre(9, 8, 7, 12, 11, 10, 3, 2, 1, 6, 5, 4));
    raster = decode(bmp(1, -2, 32, "", std::string("\1\2\3\xFF\4\5\6\xFF", 8)));
    EXPECT_THAT(raster.data, ElementsAre(3, 2, 1, 6, 5, 4));
    raster = decode(bmp(2, 1, 16, "", std::string("\xFF\x7F\x1F\0", 4)));
    EXPECT_THAT(raster.data, ElementsAre(255, 255, 255, 0, 0, 255));
    for (const int depth : {1, 4, 8}) {
        const std::string row = depth == 1   ? std::string("\x40\0\0\0", 4)
                                : depth == 4 ? std::string("\x01\0\0\0", 4)
                                             : std::string("\0\1\0\0", 4);
        raster = decode(bmp(2, 1, depth, palette, row));
        EXPECT_EQ(raster.mode, Mode::kPalette);
        EXPECT_THAT(to_rgb(raster).rgb, ElementsAre(3, 2, 1, 6, 5, 4)) << depth;
    }
    raster = decode(bmp(2, 1, 1, std::string("\0\0\0\0\xFF\xFF\xFF\0", 8), {"\x40\0\0\0", 4}));
    EXPECT_EQ(raster.mode, Mode::kBilevel);
    EXPECT_THAT(raster.data, ElementsAre(0, 255));
}

TEST(DecodeBmp, RefusesWhatItCannotRead) {
    EXPECT_THAT(error_of(bmp(2, 2, 24, "", "1234")), testing::HasSubstr("but the file has"));
    EXPECT_THAT(error_of(bmp(2, 1, 8, "", "1234", 1)), testing::HasSubstr("compression 1"));
    EXPECT_THAT(error_of(bmp(2, 1, 7, "", "1234")), testing::HasSubstr("7 bits"));
    EXPECT_THAT(error_of(bmp(-2, 1, 8, "", "1234")), testing::HasSubstr("must be positive"));
    EXPECT_THAT(error_of(bmp(1 << 30, 1 << 30, 24, "", "")), testing::HasSubstr("more than"));
}

TEST(Resize, WindowEqualsTheWholeCropped) {
    for (const Mode mode :
         {Mode::kGray, Mode::kGrayAlpha, Mode::kPalette, Mode::kRgb, Mode::kRgba, Mode::kGray16}) {
        Raster source = make_raster(91, 67, mode);
        uint32_t state = 1;
        for (uint8_t& value : source.data) {
            state = state * 1664525 + 1013904223;
            value = static_cast<uint8_t>(state >> 24);
        }
        for (const auto& [width, height] : {std::pair{40, 50}, {200, 30}, {91, 30}, {30, 67}}) {
            const Raster whole = resize(source, width, height, {0, 0, width, height});
            const Window window{7, 5, 20, 21};
            const Raster part = resize(source, width, height, window);
            const size_t step = bytes_per_pixel(mode);
            for (int y = 0; y < window.height; ++y) {
                const uint8_t* expected = whole.row(window.y + y) + window.x * step;
                ASSERT_TRUE(std::equal(part.row(y), part.row(y) + part.row_bytes(), expected))
                    << mode_name(mode) << " " << width << " x " << height;
            }
        }
    }
}

TEST(PlanResize, RefusesStripes) {
    EXPECT_THAT(
        [] { plan_resize(1, 1'000'000, 256); },
        testing::ThrowsMessage<Error>(testing::HasSubstr("1 x 1000000 pixels: too elongated")));
}

TEST(DrawCrop, ReachesEveryOffset) {
    std::vector<int> count(11, 0);
    for (uint32_t epoch = 0; epoch < 1100; ++epoch) {
        const CropOffset offset = draw_crop({266, 256}, 256, {1, Purpose::kCrop, 5, epoch});
        EXPECT_EQ(offset.y, 0);
        ++count.at(static_cast<size_t>(offset.x));
    }
    EXPECT_THAT(count, testing::Each(testing::Gt(60)));
}

}  // namespace
}  // namespace flux::data
