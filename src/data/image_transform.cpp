#include "flux/data/image_transform.h"

#include <algorithm>
#include <cmath>

#include "flux/base/error.h"
#include "flux/data/image_resize.h"

namespace flux::data {
namespace {

constexpr double kMaxSide = 1 << 24;

void cmyk_to_rgb(const uint8_t* from, uint8_t* to) {
    const int white = 255 - from[3];
    for (int c = 0; c < 3; ++c) {
        const int product = from[c] * white + 128;
        to[c] = static_cast<uint8_t>(std::clamp(white - (((product >> 8) + product) >> 8), 0, 255));
    }
}

/// Calls convert(pixel, rgb) for every pixel.
template <class Convert>
void each_pixel(const Raster& raster, Image& image, Convert convert) {
    const int step = bytes_per_pixel(raster.mode);
    const uint8_t* from = raster.data.data();
    uint8_t* to = image.rgb.data();
    for (size_t i = 0; i < size_t(raster.width) * raster.height; ++i, from += step, to += 3) {
        convert(from, to);
    }
}

}  // namespace

ResizePlan plan_resize(int width, int height, int side) {
    if (width == side && height == side) {
        return {side, side};
    }
    const auto longer = [&](int shorter_size, int longer_size) {
        const double size = std::ceil(static_cast<double>(side) / shorter_size * longer_size);
        if (size > kMaxSide) {
            fail(
                "{} x {} pixels: too elongated, resizing the shorter side to {} makes the other {}",
                width, height, side, size);
        }
        return static_cast<int>(size);
    };
    return width >= height ? ResizePlan{longer(height, width), side}
                           : ResizePlan{side, longer(width, height)};
}

CropOffset draw_crop(const ResizePlan& plan, int side, const Draw& draw) {
    return {static_cast<int>(draw.below(plan.width - side + 1, 0)),
            static_cast<int>(draw.below(plan.height - side + 1, 1))};
}

Image to_rgb(const Raster& raster) {
    Image image{raster.width, raster.height, {}};
    image.rgb.resize(size_t(raster.width) * raster.height * 3);
    switch (raster.mode) {
        case Mode::kRgb:
            image.rgb = raster.data;
            break;
        case Mode::kBilevel:
        case Mode::kGray:
        case Mode::kGrayAlpha:
            each_pixel(raster, image,
                       [](const uint8_t* from, uint8_t* to) { to[0] = to[1] = to[2] = from[0]; });
            break;
        case Mode::kGray16:
            each_pixel(raster, image, [](const uint8_t* from, uint8_t* to) {
                to[0] = to[1] = to[2] = from[1] == 0 ? from[0] : 255;
            });
            break;
        case Mode::kPalette:
            each_pixel(raster, image, [&](const uint8_t* from, uint8_t* to) {
                std::copy_n(&raster.palette[3 * size_t(from[0])], 3, to);
            });
            break;
        case Mode::kRgba:
            each_pixel(raster, image,
                       [](const uint8_t* from, uint8_t* to) { std::copy_n(from, 3, to); });
            break;
        case Mode::kCmyk:
            each_pixel(raster, image, cmyk_to_rgb);
            break;
    }
    return image;
}

Image to_square_rgb(const Raster& raster, int side, CropOffset offset) {
    const ResizePlan plan = plan_resize(raster.width, raster.height, side);
    if (offset.x < 0 || offset.y < 0 || offset.x + side > plan.width ||
        offset.y + side > plan.height) {
        fail("crop at ({}, {}) of {} x {} pixels: a square of {} must lie inside", offset.x,
             offset.y, plan.width, plan.height, side);
    }
    return to_rgb(resize(raster, plan.width, plan.height, {offset.x, offset.y, side, side}));
}

}  // namespace flux::data
