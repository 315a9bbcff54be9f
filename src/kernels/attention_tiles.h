// What attention's two passes over tiles share: room, products and the tensors of one call.
//
// Legend: B batch, H heads, T tokens, D head size.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/native/CPUBlas.h>
#include <c10/core/CPUAllocator.h>

#include <algorithm>
#include <cmath>

#include "kernels/attention_rows.h"

namespace flux::kernels {

/// Left uninitialised.
template <class T>
class Buffer {
public:
    explicit Buffer(int64_t count)
        : memory_(c10::GetCPUAllocator()->allocate(static_cast<size_t>(count) * sizeof(T))) {}
    T* data() const { return static_cast<T*>(memory_.get()); }

private:
    c10::DataPtr memory_;
};

/// Hands out parts of one piece of memory, each from a whole line of the cache on; without memory
/// it only counts.
class Scratch {
public:
    explicit Scratch(char* memory) : memory_(memory) {}
    template <class T>
    T* take(int64_t count) {
        constexpr int64_t kLine = 64;
        char* const part = memory_ == nullptr ? nullptr : memory_ + bytes_;
        bytes_ += (count * static_cast<int64_t>(sizeof(T)) + kLine - 1) / kLine * kLine;
        return reinterpret_cast<T*>(part);
    }
    int64_t bytes() const { return bytes_; }

private:
    char* memory_;
    int64_t bytes_ = 0;
};

inline int64_t in_panels(int64_t count) { return (count + kPanel - 1) / kPanel * kPanel; }

/// Columns of a panel that fill vectors.
inline int64_t in_lanes(int64_t count) { return (count + 15) / 16 * 16; }

/// How many a product sums up for `count`: bf16 is taken two at a time, zeros behind the last.
template <class T>
int64_t summed(int64_t count) {
    return sizeof(T) == sizeof(float) ? count : count + count % 2;
}

/// What of c a panel gives: c = a panel, or c + a panel. a: [m, k]; panel: k rows; c: [m, n].
struct Extent {
    int64_t m, n, k;
};
inline void multiply(const Extent& extent, const float* a, int64_t a_stride, const float* panel,
                     float* c, int64_t c_stride, bool add) {
    at::native::cpublas::brgemm(extent.m, extent.n, extent.k, a_stride, kPanel, c_stride, add, a,
                                panel, c, /*is_vnni=*/false);
}
inline void multiply(const Extent& extent, const at::BFloat16* a, int64_t a_stride,
                     const at::BFloat16* panel, float* c, int64_t c_stride, bool add) {
    at::native::cpublas::brgemm(extent.m, extent.n, extent.k, a_stride, kPanel, c_stride, add, a,
                                panel, c, /*is_vnni=*/true);
}

/// The same for as many panels as c is wide, which follow each other.
template <class T>
void multiply_all(const Extent& extent, const T* a, int64_t a_stride, const T* panels, float* c,
                  int64_t c_stride, bool add) {
    for (int64_t first = 0; first < extent.n; first += kPanel) {
        const Extent one{extent.m, std::min(kPanel, extent.n - first), extent.k};
        multiply(one, a, a_stride, panels + first * extent.k, c + first, c_stride, add);
    }
}

/// The tensors of one call. T is their dtype.
template <class T>
struct AttentionTensors {
    AttentionTensors(const at::Tensor& q_of, const at::Tensor& k_of, const at::Tensor& v_of,
                     const at::Tensor& out_of, const at::Tensor& log_sum_of)
        : per_picture(q_of.size(1)),
          heads(q_of.size(0) * per_picture),
          tokens(q_of.size(2)),
          size(q_of.size(3)),
          q(q_of.const_data_ptr<T>()),
          k(k_of.const_data_ptr<T>()),
          v(v_of.const_data_ptr<T>()),
          out(out_of.data_ptr<T>()),
          log_sum(log_sum_of.data_ptr<float>()) {}

    float scale() const { return static_cast<float>(1 / std::sqrt(static_cast<double>(size))); }
    int64_t width() const { return per_picture * size; }
    /// Of a head in [B, H, T, D], and in [B, T, H D].
    int64_t by_head(int64_t head) const { return head * tokens * size; }
    int64_t by_token(int64_t head) const {
        return head / per_picture * tokens * width() + head % per_picture * size;
    }

    int64_t per_picture, heads, tokens, size;
    const T *q, *k, *v;  // [B, H, T, D]
    T* out;              // [B, T, H D]
    float* log_sum;      // [B, H, T]: log2 of the sum of e^score
};

inline constexpr int64_t kQueries = 128,
                         kKeys = 256;  // of a tile; backward takes a panel of queries

/// What one thread needs for a head backward.
template <class T>
struct BackwardRoom {
    BackwardRoom(int64_t all_tokens, int64_t size, Scratch scratch)
        : tokens(in_panels(all_tokens)),
          queries(scratch.take<T>(tokens * size)),
          douts(scratch.take<T>(tokens * size)),
          query_rows(scratch.take<T>(tokens * in_panels(size))),
          dout_rows(scratch.take<T>(tokens * in_panels(size))),
          keys(scratch.take<T>(kKeys * size)),
          scores(scratch.take<float>(kKeys * kPanel)),
          dweights(scratch.take<float>(kKeys * kPanel)),
          narrow(scratch.take<T>(sizeof(T) == sizeof(float) ? 0 : 3 * kKeys * kPanel)),
          log_sum(scratch.take<float>(tokens)),
          projection(scratch.take<float>(tokens)),
          dkey(scratch.take<float>(kKeys * size)),
          dvalue(scratch.take<float>(kKeys * size)),
          dquery(scratch.take<float>(tokens * size)),
          dquery_rows(scratch.take<float>(kPanel * size)),
          bytes(scratch.bytes()) {}

    static int64_t bytes_for(int64_t tokens, int64_t size) {
        return BackwardRoom(tokens, size, Scratch(nullptr)).bytes;
    }

    int64_t tokens;               // in whole panels
    T *queries, *douts;           // one head's, as panels of tokens
    T *query_rows, *dout_rows;    // as panels of D, for each panel of tokens
    T* keys;                      // [D, kKeys], of a tile
    float *scores, *dweights;     // [kKeys, kPanel]
    T* narrow;                    // bf16: weights and both forms of the scores' gradients
    float *log_sum, *projection;  // [tokens]
    float *dkey, *dvalue;         // [kKeys, D]
    float* dquery;                // [D, kPanel] of each panel
    float* dquery_rows;           // [kPanel, D]
    int64_t bytes;                // of all
};

}  // namespace flux::kernels
