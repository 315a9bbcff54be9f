// The weights of the bicubic resize.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace flux::data {

/// Binary places of the fixed-point weights: a byte times a weight, summed with its neighbours,
/// fits 32 bits.
inline constexpr int kPrecisionBits = 32 - 8 - 2;

/// Which source pixels make an output pixel, and their weights.
struct Taps {
    struct Range {
        int first;
        int count;
    };
    std::vector<Range> ranges;    // one per output pixel of the window
    std::vector<double> weights;  // max_count per output pixel
    std::vector<int32_t> fixed;   // the same, scaled by 2^kPrecisionBits
    int max_count = 0;

    const double* weights_of(int output) const { return &weights[size_t(output) * max_count]; }
    const int32_t* fixed_of(int output) const { return &fixed[size_t(output) * max_count]; }
    int first() const { return ranges.front().first; }
    int end() const { return ranges.back().first + ranges.back().count; }
};

/// Weights for outputs [start, start + count) of `in_size` pixels resized to `out_size`. The
/// expressions, down to their order, are the ones whose rounding the reference has.
Taps make_taps(int in_size, int out_size, int start, int count);

}  // namespace flux::data
