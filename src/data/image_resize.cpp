// The inner loops run over contiguous bytes with one weight, the form that compilers turn into
// vector code; the horizontal pass has AVX2
// code of its own and else gets there by transposing strips of rows. All sums are exact
// 32-bit integers, so the order of additions does not matter.
#include "flux/data/image_resize.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "data/resize_avx2.h"
#include "data/resize_path.h"
#include "data/resize_taps.h"

namespace flux::data {
namespace {

constexpr int kStripRows = 32;

// The inner loops are compiled twice, for any processor and for AVX2; the choice is made at run
// time.
#if defined(__x86_64__)
#define FLUX_TARGET_AVX2 __attribute__((target("avx2")))
#else
#define FLUX_TARGET_AVX2
#endif
#define FLUX_INLINE inline __attribute__((always_inline))

/// out[i] = the weighted sum of `count` rows that lie `stride` bytes apart, rounded to bytes.
FLUX_INLINE void weighted_rows_body(const uint8_t* rows, size_t stride, const int32_t* weights,
                                    int count, size_t size, uint8_t* out) {
    constexpr size_t kBlock = 64;
    int32_t sums[kBlock];
    for (size_t begin = 0; begin < size; begin += kBlock) {
        const size_t length = std::min(kBlock, size - begin);
        for (size_t i = 0; i < kBlock; ++i) {
            sums[i] = 1 << (kPrecisionBits - 1);
        }
        for (int tap = 0; tap < count; ++tap) {
            const uint8_t* row = rows + stride * tap + begin;
            const int32_t weight = weights[tap];
            if (length == kBlock) {
                for (size_t i = 0; i < kBlock; ++i) {
                    sums[i] += row[i] * weight;
                }
            } else {
                for (size_t i = 0; i < length; ++i) {
                    sums[i] += row[i] * weight;
                }
            }
        }
        for (size_t i = 0; i < length; ++i) {
            out[begin + i] = static_cast<uint8_t>(std::clamp(sums[i] >> kPrecisionBits, 0, 255));
        }
    }
}

void weighted_rows_portable(const uint8_t* rows, size_t stride, const int32_t* weights, int count,
                            size_t size, uint8_t* out) {
    weighted_rows_body(rows, stride, weights, count, size, out);
}

FLUX_TARGET_AVX2 void weighted_rows_avx2(const uint8_t* rows, size_t stride, const int32_t* weights,
                                         int count, size_t size, uint8_t* out) {
    weighted_rows_body(rows, stride, weights, count, size, out);
}

/// The same for one pixel column of a transposed strip: every row is kStripRows bytes per channel.
template <int kChannels>
FLUX_INLINE void weighted_column(const uint8_t* columns, const int32_t* weights, int count,
                                 uint8_t* out) {
    constexpr int kSize = kStripRows * kChannels;
    for (int begin = 0; begin < kSize; begin += kStripRows) {
        int32_t sums[kStripRows];
        for (int i = 0; i < kStripRows; ++i) {
            sums[i] = 1 << (kPrecisionBits - 1);
        }
        for (int tap = 0; tap < count; ++tap) {
            const uint8_t* column = columns + size_t(tap) * kSize + begin;
            const int32_t weight = weights[tap];
            for (int i = 0; i < kStripRows; ++i) {
                sums[i] += column[i] * weight;
            }
        }
        for (int i = 0; i < kStripRows; ++i) {
            out[begin + i] = static_cast<uint8_t>(std::clamp(sums[i] >> kPrecisionBits, 0, 255));
        }
    }
}

/// `rows` rows of `width` bytes, `stride` apart, to columns of kStripRows bytes.
void transpose_in(const uint8_t* from, size_t stride, int rows, size_t width, uint8_t* to) {
    for (int y = 0; y < rows; ++y) {
        const uint8_t* row = from + stride * y;
        for (size_t x = 0; x < width; ++x) {
            to[x * kStripRows + y] = row[x];
        }
    }
}

void transpose_out(const uint8_t* from, int rows, size_t width, uint8_t* to, size_t stride) {
    for (int y = 0; y < rows; ++y) {
        uint8_t* row = to + stride * y;
        for (size_t x = 0; x < width; ++x) {
            row[x] = from[x * kStripRows + y];
        }
    }
}

template <int kChannels>
void filter_strip(const uint8_t* strip, const Taps& taps, uint8_t* out) {
    const int first = taps.first();
    for (size_t x = 0; x < taps.ranges.size(); ++x) {
        const Taps::Range range = taps.ranges[x];
        weighted_column<kChannels>(strip + size_t(range.first - first) * kStripRows * kChannels,
                                   taps.fixed_of(static_cast<int>(x)), range.count,
                                   out + x * kStripRows * kChannels);
    }
}

using FilterStrip = void (*)(const uint8_t* strip, const Taps& taps, uint8_t* out);

FilterStrip filter_strip_for(int channels) {
    switch (channels) {
        case 1:
            return filter_strip<1>;
        case 2:
            return filter_strip<2>;
        case 3:
            return filter_strip<3>;
        default:
            return filter_strip<4>;
    }
}

/// Horizontal pass over source rows [first_row, first_row + rows).
Raster horizontal(ResizePath path, const Raster& source, const Taps& taps, int first_row,
                  int rows) {
    const int channels = bytes_per_pixel(source.mode);
    Raster out{static_cast<int>(taps.ranges.size()), rows, source.mode, {}, source.palette};
    out.data.resize(out.row_bytes() * rows);
    if (path == ResizePath::kAvx2) {
        filter_rows_avx2(source, taps, first_row, out);
        return out;
    }
    const size_t in_bytes = size_t(taps.end() - taps.first()) * channels;
    std::vector<uint8_t> strip(in_bytes * kStripRows);
    std::vector<uint8_t> filtered(out.row_bytes() * kStripRows);
    const FilterStrip filter = filter_strip_for(channels);
    for (int y = 0; y < rows; y += kStripRows) {
        const int strip_rows = std::min(kStripRows, rows - y);
        transpose_in(source.row(first_row + y) + size_t(taps.first()) * channels,
                     source.row_bytes(), strip_rows, in_bytes, strip.data());
        filter(strip.data(), taps, filtered.data());
        transpose_out(filtered.data(), strip_rows, out.row_bytes(), out.row(y), out.row_bytes());
    }
    return out;
}

/// Vertical pass; `first_row` is the source row that row 0 of `source` holds.
Raster vertical(ResizePath path, const Raster& source, const Taps& taps, int first_row) {
    Raster out{source.width, static_cast<int>(taps.ranges.size()), source.mode, {}, source.palette};
    out.data.resize(out.row_bytes() * out.height);
    const auto weighted_rows =
        path == ResizePath::kAvx2 ? weighted_rows_avx2 : weighted_rows_portable;
    for (int y = 0; y < out.height; ++y) {
        const Taps::Range range = taps.ranges[y];
        weighted_rows(source.row(range.first - first_row), source.row_bytes(), taps.fixed_of(y),
                      range.count, out.row_bytes(), out.row(y));
    }
    return out;
}

Raster crop(const Raster& source, const Window& window) {
    Raster out{window.width, window.height, source.mode, {}, source.palette};
    out.data.resize(out.row_bytes() * window.height);
    const size_t offset = size_t(window.x) * bytes_per_pixel(source.mode);
    for (int y = 0; y < window.height; ++y) {
        std::memcpy(out.row(y), source.row(window.y + y) + offset, out.row_bytes());
    }
    return out;
}

/// A pass is left out where the size does not change, as in the reference.
Raster resize_bytes(ResizePath path, const Raster& source, int width, int height,
                    const Window& window) {
    int first_row = window.y;
    int rows = window.height;
    Taps down;
    if (height != source.height) {
        down = make_taps(source.height, height, window.y, window.height);
        first_row = down.first();
        rows = down.end() - first_row;
    }
    Raster wide =
        width != source.width
            ? horizontal(path, source, make_taps(source.width, width, window.x, window.width),
                         first_row, rows)
            : crop(source, {window.x, first_row, window.width, rows});
    return height != source.height ? vertical(path, wide, down, first_row) : wide;
}

int gray16_at(const uint8_t* row, int x) { return row[2 * x] | row[2 * x + 1] << 8; }

/// Rounds half away from zero; a sum out of range keeps what its two bytes hold after each was
/// clamped on its own.
void store_gray16(double sum, uint8_t* out) {
    const int value =
        static_cast<int>(sum >= 0.0 ? std::floor(sum + 0.5) : -std::floor(std::fabs(sum) + 0.5));
    out[0] = static_cast<uint8_t>(std::clamp(value % 256, 0, 255));
    out[1] = static_cast<uint8_t>(std::clamp(value >> 8, 0, 255));
}

/// 16-bit grey is summed in double.
Raster resize_gray16(const Raster& source, int width, int height, const Window& window) {
    Raster wide = source;
    int left = 0;  // column of the source that column 0 of `wide` stands for
    if (width != source.width) {
        const Taps taps = make_taps(source.width, width, window.x, window.width);
        wide = {window.width, source.height, source.mode, {}, {}};
        wide.data.resize(wide.row_bytes() * wide.height);
        for (int y = 0; y < wide.height; ++y) {
            for (int x = 0; x < wide.width; ++x) {
                double sum = 0.0;
                for (int tap = 0; tap < taps.ranges[x].count; ++tap) {
                    sum += gray16_at(source.row(y), taps.ranges[x].first + tap) *
                           taps.weights_of(x)[tap];
                }
                store_gray16(sum, wide.row(y) + 2 * x);
            }
        }
        left = window.x;
    }
    if (height == source.height) {
        return crop(wide, {window.x - left, window.y, window.width, window.height});
    }
    const Taps taps = make_taps(source.height, height, window.y, window.height);
    Raster out{window.width, window.height, source.mode, {}, {}};
    out.data.resize(out.row_bytes() * out.height);
    for (int y = 0; y < out.height; ++y) {
        for (int x = 0; x < out.width; ++x) {
            double sum = 0.0;
            for (int tap = 0; tap < taps.ranges[y].count; ++tap) {
                sum += gray16_at(wide.row(taps.ranges[y].first + tap), window.x - left + x) *
                       taps.weights_of(y)[tap];
            }
            store_gray16(sum, out.row(y) + 2 * x);
        }
    }
    return out;
}

/// Source positions of outputs [start, start + count): the sum is carried along from output 0,
/// because its rounding decides which pixel is nearest.
std::vector<int> nearest_positions(int in_size, int out_size, int start, int count) {
    const double step = static_cast<double>(in_size) / out_size;
    std::vector<int> positions;
    positions.reserve(count);
    double position = step * 0.5;
    for (int i = 0; i < start + count; ++i) {
        if (i >= start) {
            positions.push_back(std::min(static_cast<int>(position), in_size - 1));
        }
        position += step;
    }
    return positions;
}

Raster resize_nearest(const Raster& source, int width, int height, const Window& window) {
    const std::vector<int> columns = nearest_positions(source.width, width, window.x, window.width);
    const std::vector<int> rows = nearest_positions(source.height, height, window.y, window.height);
    Raster out{window.width, window.height, source.mode, {}, source.palette};
    out.data.resize(out.row_bytes() * out.height);
    for (int y = 0; y < out.height; ++y) {
        const uint8_t* from = source.row(rows[y]);
        uint8_t* to = out.row(y);
        for (int x = 0; x < out.width; ++x) {
            to[x] = from[columns[x]];
        }
    }
    return out;
}

Raster premultiplied(Raster raster) {
    const int channels = bytes_per_pixel(raster.mode);
    for (size_t i = 0; i < raster.data.size(); i += channels) {
        const int alpha = raster.data[i + channels - 1];
        for (int c = 0; c < channels - 1; ++c) {
            const int product = raster.data[i + c] * alpha + 128;
            raster.data[i + c] = static_cast<uint8_t>(((product >> 8) + product) >> 8);
        }
    }
    return raster;
}

Raster divided_by_alpha(Raster raster) {
    const int channels = bytes_per_pixel(raster.mode);
    for (size_t i = 0; i < raster.data.size(); i += channels) {
        const int alpha = raster.data[i + channels - 1];
        if (alpha == 0 || alpha == 255) {
            continue;
        }
        for (int c = 0; c < channels - 1; ++c) {
            raster.data[i + c] =
                static_cast<uint8_t>(std::min(255 * raster.data[i + c] / alpha, 255));
        }
    }
    return raster;
}

}  // namespace

Raster resize(const Raster& source, int width, int height, const Window& window) {
    static const ResizePath path = has_avx2() ? ResizePath::kAvx2 : ResizePath::kPortable;
    return resize_by(path, source, width, height, window);
}

Raster resize_by(ResizePath path, const Raster& source, int width, int height,
                 const Window& window) {
    if (width == source.width && height == source.height) {
        return crop(source, window);
    }
    switch (source.mode) {
        case Mode::kBilevel:
        case Mode::kPalette:
            return resize_nearest(source, width, height, window);
        case Mode::kGray16:
            return resize_gray16(source, width, height, window);
        case Mode::kGrayAlpha:
        case Mode::kRgba:
            return divided_by_alpha(
                resize_bytes(path, premultiplied(source), width, height, window));
        default:
            return resize_bytes(path, source, width, height, window);
    }
}

}  // namespace flux::data
