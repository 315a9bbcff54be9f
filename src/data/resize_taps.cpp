#include "data/resize_taps.h"

#include <algorithm>
#include <cmath>

namespace flux::data {
namespace {

double cubic(double x) {
    constexpr double a = -0.5;
    x = std::fabs(x);
    if (x < 1.0) {
        return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
    }
    if (x < 2.0) {
        return (((x - 5) * x + 8) * x - 4) * a;
    }
    return 0.0;
}

}  // namespace

Taps make_taps(int in_size, int out_size, int start, int count) {
    const double scale = static_cast<double>(in_size) / out_size;
    const double filter_scale = std::max(scale, 1.0);
    const double support = 2.0 * filter_scale;
    const double step = 1.0 / filter_scale;
    Taps taps;
    taps.max_count = static_cast<int>(std::ceil(support)) * 2 + 1;
    taps.ranges.resize(count);
    taps.weights.resize(size_t(count) * taps.max_count);
    taps.fixed.resize(taps.weights.size());
    for (int i = 0; i < count; ++i) {
        const double center = (start + i + 0.5) * scale;
        const int first = std::max(static_cast<int>(center - support + 0.5), 0);
        const int end = std::min(static_cast<int>(center + support + 0.5), in_size);
        double* weights = &taps.weights[size_t(i) * taps.max_count];
        double sum = 0.0;
        for (int x = 0; x < end - first; ++x) {
            weights[x] = cubic((x + first - center + 0.5) * step);
            sum += weights[x];
        }
        int32_t* fixed = &taps.fixed[size_t(i) * taps.max_count];
        for (int x = 0; x < end - first; ++x) {
            if (sum != 0.0) {
                weights[x] /= sum;
            }
            const double scaled = weights[x] * (1 << kPrecisionBits);
            fixed[x] = static_cast<int32_t>(scaled < 0 ? scaled - 0.5 : scaled + 0.5);
        }
        taps.ranges[i] = {first, end - first};
    }
    return taps;
}

}  // namespace flux::data
