// What attention does to tiles of queries, keys and scores between its matrix products, as raw
// pointers: shared by the bodies for the CPU's instruction sets.
//
// A product's right operand lies in panels of kPanel columns, so that it is read in one stream.
// bf16 products add up two neighbours at a time: there the panel's rows 2 i and 2 i + 1 alternate,
// element by element, in row i.
#pragma once

#include <cstdint>

namespace flux::kernels {

inline constexpr int64_t kPanel = 64;

/// A tile of a fp32 or bf16 matrix, in another order.
struct PackJob {
    const void* from;  // [rows, columns], rows `stride` elements apart
    int64_t stride;
    int64_t rows;
    int64_t columns;
    void* to;
    int64_t to_stride;  // transpose(): between rows of [columns, rows], zeros up to it
};

/// Scores of a tile of queries against a tile of keys, to weights: powers of two, of scores times
/// scale and log2(e).
struct SoftmaxJob {
    int64_t queries;
    int64_t keys;
    float scale;
    const float* scores;  // [queries, keys], rows `stride` elements apart
    void* weights;        // 2^(score - largest), as many apart; may take the scores' place
    int64_t stride;
    float* largest;  // [queries]: of those scores so far
    float* sum;      // [queries]: of the weights so far
    float* result;   // [queries, width] so far, shrunk where `largest` grows
    int64_t width;
    int64_t result_stride;
    bool first;  // nothing is there so far
};

/// Backward of a tile of keys against a panel of queries: rows are keys, kPanel elements apart.
struct SoftmaxBackwardJob {
    int64_t keys;
    int64_t columns;  // that are read and written, at most kPanel
    float scale;
    const float* scores;      // [keys, kPanel]
    const float* dweights;    // [keys, kPanel]
    const float* log_sum;     // [kPanel]: log2 of the sum of e^(scale * score)
    const float* projection;  // [kPanel]: sum of weights * dweights
    void* weights;            // [keys, kPanel], like the next
    void* dscores;
    void* panel;  // bf16: dscores as a panel
};

/// sums[i] = sum over row i of a * b.
struct RowProductsJob {
    const void* a;
    const void* b;
    int64_t stride;
    int64_t rows;
    int64_t columns;
    float* sums;
};

/// Rows of fp32 numbers, divided each by its own number where there are any, to the tensor's dtype.
struct PutRowsJob {
    const float* from;
    int64_t stride;
    const float* divisors;  // [rows], or null
    int64_t rows;
    int64_t columns;
    void* to;
    int64_t to_stride;
};

template <class Job>
using AttentionKernel = void (*)(const Job&);

}  // namespace flux::kernels
