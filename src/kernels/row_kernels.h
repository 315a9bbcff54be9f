// The fused operations' work on rows, as raw pointers: what the bodies for the CPU's instruction
// sets and for GPUs are given.
//
//   row_kernels.h        jobs, and tables of the bodies that do them (attention_rows.h: its tiles')
//   row_common.h         what all bodies share
//   row_kernels_body.h   bodies for CPUs, once for each instruction set: row_kernels_<set>.cpp
//     heads_rows_body.h, step_rows_body.h, attention_rows_body.h: parts of it
//     row_numbers.h, row_chunks.h: numbers, buffers and sums for it
//   row_kernel_choice.h  which of those this processor takes
//   cuda_row_table.h     bodies for GPUs, which row_kernels.cu compiles and a test runs on the host
//     cuda_columns.h, cuda_norm.h, cuda_heads.h, cuda_step.h: parts of it
//     cuda_rows.h: vectors, sums and launches for it
//   float8_job.h         jobs and table of casts to FP8, for GPUs alone
//     cuda_float8.h, cuda_float8_columns.h: their bodies
//   run_rows.h           deals out rows and runs a job where its tensors live
//
// Legend: B batch, T tokens, C channels, H heads, D head size. A row is one token. Rows are dealt
// out in chunks of some tokens of one picture, whatever the number of threads, and each chunk
// leaves partial sums of its own: so sums do not depend on the threads.
#pragma once

#include <cstdint>

#include "flux/base/philox.h"
#include "kernels/attention_rows.h"

namespace flux::kernels {

inline constexpr int64_t kChunk = 32;  // on CPUs, and the most on GPUs

struct Rows {
    int64_t batch;
    int64_t tokens;  // of one picture
    int64_t chunk;   // tokens of a chunk; the last of a picture may have fewer

    [[gnu::always_inline]] FLUX_HOST_DEVICE int64_t chunks_of_one() const {
        return (tokens + chunk - 1) / chunk;
    }
    [[gnu::always_inline]] FLUX_HOST_DEVICE int64_t chunks() const {
        return batch * chunks_of_one();
    }
};

/// Pointers are to fp32 or bf16 numbers unless they say float. [B, T, C] tensors have one row after
/// the other; a vector of a picture lies `stride` elements after the one before.
struct NormModulateJob {
    static constexpr const char* kName = "norm_modulate";
    Rows rows;
    int64_t channels;
    const void* x;
    const void* shift;  // [B, C]
    const void* scale;  // [B, C]
    int64_t modulation_stride;
    float* mean;  // [B, T], written forward, read backward
    float* rstd;
    void* y;         // forward
    const void* dy;  // backward, like the next two
    void* dx;
    float* sums;  // [chunks, 2, C]: of d shift, of d scale
    double eps;
};

struct GatedResidualJob {
    static constexpr const char* kName = "gated_residual";
    Rows rows;
    int64_t channels;
    const void* x;
    const void* y;
    const void* gate;  // [B, C]
    int64_t gate_stride;
    const void* bias;  // [C], or null
    void* out;         // forward
    const void* dout;  // backward, like the next two
    void* dy;
    float* sums;  // [chunks, 2, C]: of d gate, and of dout
};

struct GeluJob {
    static constexpr const char* kName = "bias_gelu";
    Rows rows;
    int64_t channels;
    const void* u;  // rows `stride` elements apart
    int64_t stride;
    const void* bias;  // [C], or null
    void* y;           // forward, dense
    const void* dy;    // backward, dense
    void* du;          // rows `stride` elements apart
    float* sums;       // [chunks, C]: of du
};

struct HeadsJob {
    static constexpr const char* kName = "split_heads";
    Rows rows;
    int64_t heads;
    int64_t head_size;
    const void* qkv;  // [B, T, 3 C], rows `stride` elements apart
    int64_t stride;
    const void* bias;         // [3 C], or null
    const void* query_scale;  // [D]
    const void* key_scale;    // [D]
    const float* cos;         // [B or 1, all tokens, D]: each cosine twice
    const float* sin;         // the same, the first of each pair negative
    int64_t table_stride;     // from picture to picture, 0 if they share it
    int64_t all_tokens;       // of q, k and v
    int64_t offset;           // of these tokens among them
    double eps;
    void* q;  // [B, H, all tokens, D], written forward
    void* k;
    void* v;
    const void* dq;  // the same shape, read backward
    const void* dk;
    const void* dv;
    void* dqkv;   // backward, rows `stride` elements apart
    float* sums;  // [chunks, 2 D + 3 C]: of d query_scale, d key_scale, d bias; on a GPU [chunks,
                  // 5 C], as each head has its own d query_scale and d key_scale
};

/// Adam on elements, each of which is a row of one picture. Scalars are read where they lie.
struct AdamJob {
    static constexpr const char* kName = "adam";
    Rows rows;
    float* value;
    const float* gradient;
    float* mean;
    float* square;
    void* copy;  // of the value, or null
    const float* lr;
    const float* steps;
    const float* divisor;
    const float* skip;
    double mean_share;    // 1 - beta1: of a gradient in the mean
    double square_share;  // 1 - beta2
    double log_beta1;
    double log_beta2;
    double eps;
    double weight_decay;
    bool decoupled;
};

/// Patches of 2 x 2 of [B, C, H, W] become rows.
struct MixJob {
    static constexpr const char* kName = "mix_and_pack";
    Rows rows;
    int64_t channels;
    int64_t columns;  // of patches: W / 2
    const float* a;   // [B, C, H, W]
    const float* b;
    const float* t;     // [B]
    float* mixed;       // [B, T, 4 C]
    float* difference;  // [B, T, 4 C]
};

struct SquaredErrorJob {
    static constexpr const char* kName = "squared_error";
    Rows rows;
    int64_t channels;
    const void* prediction;
    const float* target;
    void* gradient;  // or null
    double factor;   // of the difference in the gradient
    float* sums;     // [chunks]
};

/// For chunks [begin, end).
template <class Job>
using RowKernel = void (*)(const Job&, int64_t begin, int64_t end);

/// Launches all chunks on `stream` (a cudaStream_t). Returns the CUDA error code, 0 for success, or
/// kNoKernel where none is for such widths.
template <class Job>
using CudaRowKernel = int (*)(const Job&, void* stream);

inline constexpr int kNoKernel = -1;

/// One dtype's.
template <template <class> class Kernel>
struct RowKernels {
    Kernel<NormModulateJob> norm_modulate;
    Kernel<NormModulateJob> norm_modulate_backward;
    Kernel<GatedResidualJob> gated_residual;
    Kernel<GatedResidualJob> gated_residual_backward;
    Kernel<GeluJob> gelu;
    Kernel<GeluJob> gelu_backward;
    Kernel<HeadsJob> heads;
    Kernel<HeadsJob> heads_backward;
    Kernel<AdamJob> adam;  // the dtype is the copy's
    Kernel<MixJob> mix_and_pack;
    Kernel<SquaredErrorJob> squared_error;  // the dtype is the prediction's
};

struct AttentionKernels {
    AttentionKernel<PackJob> transpose;
    AttentionKernel<PackJob> pack_rows;
    AttentionKernel<PackJob> pack_columns;
    AttentionKernel<SoftmaxJob> softmax;
    AttentionKernel<SoftmaxBackwardJob> softmax_backward;
    AttentionKernel<RowProductsJob> row_products;
    AttentionKernel<PutRowsJob> put_rows;
};

/// One dtype's on CPUs.
struct CpuKernels {
    RowKernels<RowKernel> rows;
    const AttentionKernels* attention;  // null where it runs in no tiles
};

/// One instruction set's, or a GPU's.
template <class Kernels>
struct KernelSet {
    Kernels fp32;
    Kernels bf16;
};

extern const KernelSet<CpuKernels> kCpuKernelsGeneric;
#if defined(__x86_64__)
extern const KernelSet<CpuKernels> kCpuKernelsAvx2;
extern const KernelSet<CpuKernels> kCpuKernelsAvx512;
#endif
#ifdef FLUX_WITH_CUDA
extern const KernelSet<RowKernels<CudaRowKernel>> kRowKernelsCuda;
#endif

/// What the CUDA bodies hold in registers: wider rows and larger heads are for the twins.
inline constexpr int64_t kMaxCudaNormChannels = 16384;
inline constexpr int64_t kMaxCudaHeadSize = 256;

}  // namespace flux::kernels
