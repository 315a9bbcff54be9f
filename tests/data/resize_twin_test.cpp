// Both codes of the resize, portable and AVX2, against the same two passes written plainly.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <iterator>
#include <random>
#include <vector>

#include "data/resize_avx2.h"
#include "data/resize_path.h"
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

class ResizeTwin : public testing::Test {
protected:
    int below(int limit) { return static_cast<int>(random_() % static_cast<unsigned>(limit)); }

    /// Noise, or nothing but black and white, whose sums leave the range of a byte.
    Raster picture(Mode mode, int width, int height, bool extreme) {
        Raster raster{width, height, mode, {}, {}};
        raster.data.resize(raster.row_bytes() * static_cast<size_t>(height));
        for (uint8_t& byte : raster.data) {
            byte = static_cast<uint8_t>(extreme ? random_() % 2 * 255 : random_());
        }
        return raster;
    }

    /// Calls check(source, width, height, window) with sizes that change, in one direction or both.
    template <class Check>
    void each_case(int rounds, Check check) {
        for (int round = 0; round < rounds; ++round) {
            const int from_width = 1 + below(200), from_height = 1 + below(120);
            const int width = round % 5 == 1 ? from_width : 1 + below(150);
            const int height = round % 5 == 2 ? from_height : 1 + below(150);
            const int x = below(width), y = below(height);
            const Window window{x, y, 1 + below(width - x), 1 + below(height - y)};
            const Mode mode = kModes[round % std::size(kModes)];
            SCOPED_TRACE(fmt::format("{} channels, {}x{} to {}x{}", bytes_per_pixel(mode),
                                     from_width, from_height, width, height));
            check(picture(mode, from_width, from_height, round / 5 % 2 == 0), width, height,
                  window);
        }
    }

    static constexpr Mode kModes[] = {Mode::kGray, Mode::kGrayAlpha, Mode::kRgb, Mode::kRgba,
                                      Mode::kCmyk};
    static std::vector<ResizePath> paths() {
        return has_avx2() ? std::vector{ResizePath::kPortable, ResizePath::kAvx2}
                          : std::vector{ResizePath::kPortable};
    }

    std::mt19937 random_{11};
};

TEST_F(ResizeTwin, BothPathsGiveTheBytesOfThePlainPasses) {
    each_case(400, [](Raster source, int width, int height, const Window& window) {
        const int channels = bytes_per_pixel(source.mode);
        if (source.mode == Mode::kGrayAlpha || source.mode == Mode::kRgba) {
            for (size_t i = channels - 1; i < source.data.size(); i += channels) {
                source.data[i] = 255;  // opaque: alpha changes nothing around the passes
            }
        }
        const Raster expected = plain_resize(source, width, height, window);
        for (const ResizePath path : paths()) {
            EXPECT_EQ(resize_by(path, source, width, height, window).data, expected.data)
                << "path " << static_cast<int>(path);
        }
    });
}

TEST_F(ResizeTwin, BothPathsGiveTheSameBytesBelowAlpha) {
    each_case(100, [](const Raster& source, int width, int height, const Window& window) {
        const Raster portable = resize_by(ResizePath::kPortable, source, width, height, window);
        EXPECT_EQ(resize(source, width, height, window).data, portable.data);
    });
}

}  // namespace
}  // namespace flux::data
