// The resize's vector code against the same two passes written plainly.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "data/resize_taps.h"
#include "flux/data/image_resize.h"

namespace flux::data {
namespace {

/// One output byte: `in` holds the weighted bytes `stride` apart.
uint8_t weighted(const uint8_t* in, size_t stride, const int32_t* weights, int count) {
    int64_t sum = int64_t{1} << (kPrecisionBits - 1);
    for (int i = 0; i < count; ++i) {
        sum += int64_t{in[stride * i]} * weights[i];
    }
    return static_cast<uint8_t>(std::clamp<int64_t>(sum >> kPrecisionBits, 0, 255));
}

Raster plain_resize(const Raster& source, int width, int height, const Window& window) {
    const size_t channels = bytes_per_pixel(source.mode);
    const Taps across = make_taps(source.width, width, window.x, window.width);
    const Taps down = make_taps(source.height, height, window.y, window.height);
    Raster wide{window.width, source.height, source.mode, {}, {}};
    wide.data.resize(wide.row_bytes() * wide.height);
    for (int y = 0; y < wide.height; ++y) {
        for (size_t i = 0; i < wide.row_bytes(); ++i) {
            const auto x = static_cast<int>(i / channels);
            const size_t first = across.ranges[x].first * channels + i % channels;
            wide.row(y)[i] = weighted(source.row(y) + first, channels, across.fixed_of(x),
                                      across.ranges[x].count);
        }
    }
    Raster out{window.width, window.height, source.mode, {}, {}};
    out.data.resize(out.row_bytes() * out.height);
    for (int y = 0; y < out.height; ++y) {
        for (size_t i = 0; i < out.row_bytes(); ++i) {
            out.row(y)[i] = weighted(wide.row(down.ranges[y].first) + i, wide.row_bytes(),
                                     down.fixed_of(y), down.ranges[y].count);
        }
    }
    return out;
}

TEST(ResizeTwin, VectorCodeGivesTheBytesOfThePlainPasses) {
    std::mt19937 random(11);
    const auto below = [&](int limit) { return static_cast<int>(random() % limit); };
    for (int round = 0; round < 300; ++round) {
        const Mode modes[] = {Mode::kGray, Mode::kRgb, Mode::kCmyk};
        Raster source{1 + below(200), 1 + below(120), modes[round % 3], {}, {}};
        source.data.resize(source.row_bytes() * source.height);
        for (uint8_t& byte : source.data) {
            byte = static_cast<uint8_t>(round % 2 == 0 ? random() : random() % 2 * 255);
        }
        const int width = 1 + below(150), height = 1 + below(150);
        if (width == source.width || height == source.height) {
            continue;  // a pass is left out
        }
        const int x = below(width), y = below(height);
        const Window window{x, y, 1 + below(width - x), 1 + below(height - y)};
        EXPECT_EQ(resize(source, width, height, window).data,
                  plain_resize(source, width, height, window).data)
            << source.width << "x" << source.height << " to " << width << "x" << height;
    }
}

}  // namespace
}  // namespace flux::data
