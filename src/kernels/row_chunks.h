// Buffers, and sums over chunks, for the bodies of row_kernels.h on CPUs. Included by those bodies
// alone, and private to the file that includes it.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/row_common.h"
#include "kernels/row_numbers.h"

namespace flux::kernels {
namespace {

class Floats {
public:
    explicit Floats(int64_t count) : data_(new float[static_cast<size_t>(count)]) {}
    /// A vector in fp32; zeros where there is none.
    template <class T>
    Floats(const T* from, int64_t count, float added = 0) : Floats(count) {
        for (int64_t i = 0; i < count; ++i) {
            data_[i] = from == nullptr ? 0.0f : value(from[i]) + added;
        }
    }
    ~Floats() { delete[] data_; }
    Floats(const Floats&) = delete;
    Floats& operator=(const Floats&) = delete;
    float* data() const { return data_; }

private:
    float* data_;
};

inline void clear(float* from, int64_t count) {
    for (int64_t i = 0; i < count; ++i) {
        from[i] = 0.0f;
    }
}

/// Sums over the rows of a chunk. A few rows at a time are added up on their own: the error of a
/// long sum grows with its length.
class ChunkSums {
public:
    explicit ChunkSums(int64_t count) : count_(count), few_(count) { clear(few_.data(), count); }

    float* few() const { return few_.data(); }
    void begin(float* sums) const { clear(sums, count_); }
    void end_row(int64_t row, int64_t last, float* __restrict sums) const {
        if (row % kFew != kFew - 1 && row != last - 1) {
            return;
        }
        float* const __restrict few = few_.data();
        for (int64_t i = 0; i < count_; ++i) {
            sums[i] += few[i];
            few[i] = 0.0f;
        }
    }

private:
    static constexpr int64_t kFew = 8;
    int64_t count_;
    Floats few_;
};

inline float inverse_root(float x) { return 1.0f / __builtin_sqrtf(x); }

}  // namespace
}  // namespace flux::kernels
