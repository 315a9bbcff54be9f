// Decoding, resizing and cropping against the pixels of the reference's Python stack.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <vector>

#include "data/pixel_match.h"
#include "flux/base/error.h"
#include "flux/base/file.h"
#include "flux/base/npy.h"
#include "flux/data/image_decode.h"
#include "flux/data/image_transform.h"
#include "flux/data/registry.h"
#include "support/reference.h"

namespace flux::data {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using test::pixel_difference;
using test::PixelDifference;

std::vector<uint8_t> read_bytes(const fs::path& path) {
    const std::string text = read_text(path);
    return {text.begin(), text.end()};
}

class ParityImages : public testing::Test {
protected:
    void SetUp() override {
        FLUX_SKIP_WITHOUT_REFERENCE();
        folder_ = *test::reference_dir() / "data/images";
        const json expected = json::parse(read_text(folder_ / "expected.json"));
        side_ = expected.at("output_size");
        images_ = expected.at("images").get<std::vector<json>>();
        ASSERT_FALSE(images_.empty());
    }

    Raster decode(const std::string& file) const {
        return decode_image(read_bytes(folder_ / file), DatasetSettings{}.max_image_pixels);
    }

    /// Compares both crops (offset 0 and the largest one) with the stored pixels.
    PixelDifference compare_crops(const json& image, const Raster& raster) const {
        const at::Tensor expected = read_npy(folder_ / image.at("expected").get<std::string>());
        const size_t bytes = size_t(side_) * side_ * 3;
        EXPECT_EQ(expected.numel(), static_cast<int64_t>(2 * bytes));
        const auto offset = image.at("max_offset").get<std::vector<int>>();
        PixelDifference worst;
        for (int i = 0; i < 2; ++i) {
            const Image square = to_cropped_rgb(raster, side_, {i * offset[0], i * offset[1]});
            const auto difference = pixel_difference(
                square.rgb, {expected.const_data_ptr<uint8_t>() + i * bytes, bytes});
            worst.worst = std::max(worst.worst, difference.worst);
            worst.mean = std::max(worst.mean, difference.mean);
            worst.share = std::max(worst.share, difference.share);
        }
        return worst;
    }

    fs::path folder_;
    int side_ = 0;
    std::vector<json> images_;
};

void print(const std::string& file, const PixelDifference& difference) {
    fmt::print("{:28} max {} mean {:.4f} share of pixels {:.4f}\n", file, difference.worst,
               difference.mean, difference.share);
}

TEST_F(ParityImages, DecodesToTheSameModeAndSize) {
    for (const json& image : images_) {
        const std::string file = image.at("file");
        if (!image.at("decodes").get<bool>()) {
            EXPECT_THROW(decode(file), Error) << file;
            continue;
        }
        const Raster raster = decode(file);
        EXPECT_EQ(raster.width, image.at("width").get<int>()) << file;
        EXPECT_EQ(raster.height, image.at("height").get<int>()) << file;
        EXPECT_EQ(mode_name(raster.mode), image.at("mode").get<std::string>()) << file;
        const auto plan = plan_resize(raster.width, raster.height, side_);
        EXPECT_EQ((std::vector{plan.width, plan.height}),
                  image.at("resized").get<std::vector<int>>())
            << file;
    }
}

TEST_F(ParityImages, DecodesToTheSamePixels) {
    int compared = 0;
    for (const json& image : images_) {
        if (!image.contains("decoded")) {
            continue;
        }
        const std::string file = image.at("file");
        const Image decoded = to_rgb(decode(file));
        const Image expected = to_rgb(decode(image.at("decoded").get<std::string>()));
        ASSERT_EQ(decoded.rgb.size(), expected.rgb.size()) << file;
        const PixelDifference difference = pixel_difference(decoded.rgb, expected.rgb);
        print(file, difference);
        EXPECT_LE(difference.mean, 1.0) << file;
        EXPECT_LE(difference.worst, 16) << file;
        ++compared;
    }
    EXPECT_GT(compared, 0);
}

/// From the reference's own decoded pixels, where there are such, else from a lossless file: the
/// arithmetic must agree exactly.
TEST_F(ParityImages, ResizesAndCropsExactly) {
    int compared = 0;
    for (const json& image : images_) {
        const std::string format = image.value("format", "");
        const bool lossless = format == "PNG" || format == "GIF" || format == "BMP";
        if (!image.contains("expected") || (!image.contains("decoded") && !lossless)) {
            continue;
        }
        const std::string file = image.at("file");
        const PixelDifference difference =
            compare_crops(image, decode(image.value("decoded", file)));
        EXPECT_EQ(difference.worst, 0) << file << ": share of pixels " << difference.share;
        ++compared;
    }
    EXPECT_GT(compared, 0);
}

TEST_F(ParityImages, EndToEnd) {
    int compared = 0;
    for (const json& image : images_) {
        if (!image.contains("expected")) {
            continue;
        }
        const std::string file = image.at("file");
        const PixelDifference difference = compare_crops(image, decode(file));
        print(file, difference);
        EXPECT_LE(difference.mean, 1.0) << file;
        EXPECT_LE(difference.worst, 16) << file;
        ++compared;
    }
    EXPECT_GT(compared, 0);
}

TEST_F(ParityImages, HeadersTellTheSize) {
    for (const json& image : images_) {
        const std::vector<uint8_t> bytes = read_bytes(folder_ / image.at("file"));
        const auto size =
            probe_picture_size([&](uint64_t offset, std::span<uint8_t> out) -> size_t {
                const size_t begin = std::min<uint64_t>(offset, bytes.size());
                const size_t count = std::min(out.size(), bytes.size() - begin);
                std::copy_n(bytes.begin() + static_cast<std::ptrdiff_t>(begin), count, out.begin());
                return count;
            });
        if (image.at("decodes").get<bool>()) {
            ASSERT_TRUE(size.has_value()) << image.at("file");
            EXPECT_EQ(size->width, image.at("width").get<int>()) << image.at("file");
            EXPECT_EQ(size->height, image.at("height").get<int>()) << image.at("file");
            EXPECT_EQ(std::min(size->width, size->height) >= side_,
                      image.at("accepted").get<bool>())
                << image.at("file");
        }
    }
}

TEST_F(ParityImages, ResizeSizes) {
    const json sizes = json::parse(read_text(folder_ / "resize_sizes.json"));
    ASSERT_FALSE(sizes.empty());
    for (const json& size : sizes) {
        const ResizePlan plan = plan_resize(size.at("w"), size.at("h"), side_);
        EXPECT_EQ(plan, (ResizePlan{size.at("new_w"), size.at("new_h")})) << size.dump();
    }
}

}  // namespace
}  // namespace flux::data
