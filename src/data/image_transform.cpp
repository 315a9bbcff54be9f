#include "flux/data/image_transform.h"

#include <algorithm>
#include <cmath>
#include <utility>

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

ResizePlan plan_resize(int width, int height, PictureShape shape) {
    if (width == shape.width && height == shape.height) {
        return {width, height};
    }
    const auto in_proportion = [&](int fitted, int from, int other) {
        const double size = std::ceil(static_cast<double>(fitted) / from * other);
        if (size > kMaxSide) {
            fail(
                "{} x {} pixels: too elongated, resizing the shorter side to {} makes the other {}",
                width, height, fitted, size);
        }
        return static_cast<int>(size);
    };
    return int64_t{width} * shape.height >= int64_t{height} * shape.width
               ? ResizePlan{in_proportion(shape.height, height, width), shape.height}
               : ResizePlan{shape.width, in_proportion(shape.width, width, height)};
}

CropOffset draw_crop(const ResizePlan& plan, PictureShape shape, const Draw& draw) {
    return {static_cast<int>(draw.below(plan.width - shape.width + 1, 0)),
            static_cast<int>(draw.below(plan.height - shape.height + 1, 1))};
}

Image to_rgb(Raster raster) {
    if (raster.mode == Mode::kRgb) {
        return {raster.width, raster.height, std::move(raster.data)};
    }
    Image image{raster.width, raster.height, {}};
    image.rgb.resize(size_t(raster.width) * raster.height * 3);
    switch (raster.mode) {
        case Mode::kRgb:  // has returned
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

Image to_cropped_rgb(const Raster& raster, PictureShape shape, CropOffset offset) {
    const ResizePlan plan = plan_resize(raster.width, raster.height, shape);
    if (offset.x < 0 || offset.y < 0 || offset.x + shape.width > plan.width ||
        offset.y + shape.height > plan.height) {
        fail("crop at ({}, {}) of {} x {} pixels: {} x {} pixels must lie inside", offset.x,
             offset.y, plan.width, plan.height, shape.width, shape.height);
    }
    return to_rgb(
        resize(raster, plan.width, plan.height, {offset.x, offset.y, shape.width, shape.height}));
}

}  // namespace flux::data
