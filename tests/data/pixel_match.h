// Comparison of pictures, byte by byte.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <span>

namespace flux::test {

struct PixelDifference {
    int worst = 0;       // largest difference of a byte
    double mean = 0.0;   // of all bytes
    double share = 0.0;  // of pixels (three bytes) that differ at all
};

inline PixelDifference pixel_difference(std::span<const uint8_t> a, std::span<const uint8_t> b) {
    PixelDifference result;
    int64_t sum = 0;
    int64_t pixels = 0;
    for (size_t i = 0; i < a.size(); i += 3) {
        bool differs = false;
        for (size_t c = i; c < i + 3 && c < a.size(); ++c) {
            const int difference = std::abs(int{a[c]} - int{b[c]});
            result.worst = std::max(result.worst, difference);
            sum += difference;
            differs = differs || difference != 0;
        }
        pixels += differs ? 1 : 0;
    }
    result.mean = static_cast<double>(sum) / static_cast<double>(a.size());
    result.share = static_cast<double>(pixels) * 3 / static_cast<double>(a.size());
    return result;
}

}  // namespace flux::test
