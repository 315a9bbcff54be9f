// The bodies of row_kernels.h in plain loops that the compiler vectorises. Each row_kernels_*.cpp
// includes this once, with FLUX_ROW_KERNELS the name of its table and the flags of its instruction
// set. All else is private to that file, and nothing here may leave an inline function that the
// linker could give to code for another processor: so no containers or algorithms of the library,
// and what others see too is always inlined. The test RowKernelsArePrivate looks at the symbols.
#if defined(__AVX2__)
#include "kernels/attention_rows_body.h"
#endif
#include "kernels/heads_rows_body.h"
#include "kernels/row_chunks.h"
#include "kernels/row_common.h"
#include "kernels/row_kernels.h"
#include "kernels/row_numbers.h"
#include "kernels/step_rows_body.h"

namespace flux::kernels {
namespace {

inline float gelu_power(float x) { return exponential(gelu_exponent(x)); }
inline float gelu_sigmoid(float power) { return 1.0f / (1.0f + power); }

template <class T>
void norm_modulate(const NormModulateJob& job, int64_t begin, int64_t end) {
    const int64_t channels = job.channels;
    const Floats buffer(channels);
    float* const __restrict row = buffer.data();
    for (int64_t chunk = begin; chunk < end; ++chunk) {
        const ChunkRows rows(job.rows, chunk);
        const Floats scales(at<T>(job.scale, rows.picture * job.modulation_stride), channels, 1);
        const Floats shifts(at<T>(job.shift, rows.picture * job.modulation_stride), channels);
        const float *const scale = scales.data(), *const shift = shifts.data();
        for (int64_t t = rows.first; t < rows.last; ++t) {
            const int64_t index = rows.picture * job.rows.tokens + t;
            const T* const x = at<T>(job.x, index * channels);
            T* const y = at<T>(job.y, index * channels);
            float sum = 0, square = 0;
#pragma omp simd reduction(+ : sum)
            for (int64_t i = 0; i < channels; ++i) {
                row[i] = value(x[i]);
                sum += row[i];
            }
            const float mean = sum / static_cast<float>(channels);
#pragma omp simd reduction(+ : square)
            for (int64_t i = 0; i < channels; ++i) {
                row[i] -= mean;
                square += row[i] * row[i];
            }
            const float rstd =
                inverse_root(square / static_cast<float>(channels) + static_cast<float>(job.eps));
#pragma omp simd
            for (int64_t i = 0; i < channels; ++i) {
                put(y[i], row[i] * rstd * scale[i] + shift[i]);
            }
            job.mean[index] = mean;
            job.rstd[index] = rstd;
        }
    }
}

template <class T>
void norm_modulate_backward(const NormModulateJob& job, int64_t begin, int64_t end) {
    const int64_t channels = job.channels;
    const Floats normal(channels), slope(channels);
    float* const __restrict n = normal.data(), * const __restrict g = slope.data();
    const ChunkSums sums(2 * channels);
    float* const __restrict shift_sum = sums.few(), * const __restrict scale_sum =
                                                        shift_sum + channels;
    for (int64_t chunk = begin; chunk < end; ++chunk) {
        const ChunkRows rows(job.rows, chunk);
        const Floats scales(at<T>(job.scale, rows.picture * job.modulation_stride), channels, 1);
        const float* const scale = scales.data();
        float* const total = job.sums + chunk * 2 * channels;
        sums.begin(total);
        for (int64_t t = rows.first; t < rows.last; ++t) {
            const int64_t index = rows.picture * job.rows.tokens + t;
            const T* const x = at<T>(job.x, index * channels);
            const T* const dy = at<T>(job.dy, index * channels);
            T* const dx = at<T>(job.dx, index * channels);
            const float mean = job.mean[index], rstd = job.rstd[index];
            float sum = 0, projection = 0;
#pragma omp simd reduction(+ : sum, projection)
            for (int64_t i = 0; i < channels; ++i) {
                const float d = value(dy[i]);
                n[i] = (value(x[i]) - mean) * rstd;
                g[i] = d * scale[i];
                shift_sum[i] += d;
                scale_sum[i] += d * n[i];
                sum += g[i];
                projection += g[i] * n[i];
            }
            sum /= static_cast<float>(channels);
            projection /= static_cast<float>(channels);
#pragma omp simd
            for (int64_t i = 0; i < channels; ++i) {
                put(dx[i], rstd * (g[i] - sum - n[i] * projection));
            }
            sums.end_row(t, rows.last, total);
        }
    }
}

template <class T>
void gated_residual(const GatedResidualJob& job, int64_t begin, int64_t end) {
    const int64_t channels = job.channels;
    const Floats biases(at<T>(job.bias, 0), channels);
    const float* const bias = biases.data();
    for (int64_t chunk = begin; chunk < end; ++chunk) {
        const ChunkRows rows(job.rows, chunk);
        const Floats gates(at<T>(job.gate, rows.picture * job.gate_stride), channels);
        const float* const gate = gates.data();
        for (int64_t t = rows.first; t < rows.last; ++t) {
            const int64_t offset = (rows.picture * job.rows.tokens + t) * channels;
            const T *const x = at<T>(job.x, offset), *const y = at<T>(job.y, offset);
            T* const out = at<T>(job.out, offset);
#pragma omp simd
            for (int64_t i = 0; i < channels; ++i) {
                put(out[i], value(x[i]) + gate[i] * (value(y[i]) + bias[i]));
            }
        }
    }
}

template <class T>
void gated_residual_backward(const GatedResidualJob& job, int64_t begin, int64_t end) {
    const int64_t channels = job.channels;
    const Floats biases(at<T>(job.bias, 0), channels);
    const float* const bias = biases.data();
    const ChunkSums sums(2 * channels);
    float* const __restrict gate_sum = sums.few(), * const __restrict out_sum = gate_sum + channels;
    for (int64_t chunk = begin; chunk < end; ++chunk) {
        const ChunkRows rows(job.rows, chunk);
        const Floats gates(at<T>(job.gate, rows.picture * job.gate_stride), channels);
        const float* const gate = gates.data();
        float* const total = job.sums + chunk * 2 * channels;
        sums.begin(total);
        for (int64_t t = rows.first; t < rows.last; ++t) {
            const int64_t offset = (rows.picture * job.rows.tokens + t) * channels;
            const T *const y = at<T>(job.y, offset), *const dout = at<T>(job.dout, offset);
            T* const dy = at<T>(job.dy, offset);
#pragma omp simd
            for (int64_t i = 0; i < channels; ++i) {
                const float d = value(dout[i]);
                gate_sum[i] += d * (value(y[i]) + bias[i]);
                out_sum[i] += d;
                put(dy[i], d * gate[i]);
            }
            sums.end_row(t, rows.last, total);
        }
    }
}

template <class T>
void gelu(const GeluJob& job, int64_t begin, int64_t end) {
    const Floats biases(at<T>(job.bias, 0), job.channels);
    const float* const bias = biases.data();
    for (int64_t chunk = begin; chunk < end; ++chunk) {
        const ChunkRows rows(job.rows, chunk);
        for (int64_t t = rows.first; t < rows.last; ++t) {
            const int64_t index = rows.picture * job.rows.tokens + t;
            const T* const u = at<T>(job.u, index * job.stride);
            T* const y = at<T>(job.y, index * job.channels);
#pragma omp simd
            for (int64_t i = 0; i < job.channels; ++i) {
                const float x = value(u[i]) + bias[i];
                put(y[i], x * gelu_sigmoid(gelu_power(x)));
            }
        }
    }
}

template <class T>
void gelu_backward(const GeluJob& job, int64_t begin, int64_t end) {
    const Floats biases(at<T>(job.bias, 0), job.channels);
    const float* const bias = biases.data();
    const ChunkSums sums(job.channels);
    float* const __restrict sum = sums.few();
    for (int64_t chunk = begin; chunk < end; ++chunk) {
        const ChunkRows rows(job.rows, chunk);
        float* const total = job.sums + chunk * job.channels;
        sums.begin(total);
        for (int64_t t = rows.first; t < rows.last; ++t) {
            const int64_t index = rows.picture * job.rows.tokens + t;
            const T* const u = at<T>(job.u, index * job.stride);
            const T* const dy = at<T>(job.dy, index * job.channels);
            T* const du = at<T>(job.du, index * job.stride);
#pragma omp simd
            for (int64_t i = 0; i < job.channels; ++i) {
                const float x = value(u[i]) + bias[i];
                const float power = gelu_power(x);
                const float d = value(dy[i]) * gelu_derivative(x, power, gelu_sigmoid(power));
                sum[i] += d;
                put(du[i], d);
            }
            sums.end_row(t, rows.last, total);
        }
    }
}

/// Attention runs in tiles where its products are fast: see fuses_attention_on_cpu().
template <class T>
constexpr const AttentionKernels* kAttention = nullptr;
#if defined(__AVX2__)
template <class T>
constexpr AttentionKernels kAttentionTable{.transpose = transpose<T>,
                                           .pack_rows = pack_rows<T>,
                                           .pack_columns = pack_columns<T>,
                                           .softmax = softmax<T>,
                                           .softmax_backward = softmax_backward<T>,
                                           .row_products = row_products<T>,
                                           .put_rows = put_rows<T>};
template <>
constexpr const AttentionKernels* kAttention<float> = &kAttentionTable<float>;
#endif
#if defined(__AVX512F__)
template <>
constexpr const AttentionKernels* kAttention<Bf16> = &kAttentionTable<Bf16>;
#endif

template <class T>
constexpr CpuKernels table() {
    return {.rows = {.norm_modulate = norm_modulate<T>,
                     .norm_modulate_backward = norm_modulate_backward<T>,
                     .gated_residual = gated_residual<T>,
                     .gated_residual_backward = gated_residual_backward<T>,
                     .gelu = gelu<T>,
                     .gelu_backward = gelu_backward<T>,
                     .heads = heads<T>,
                     .heads_backward = heads_backward<T>,
                     .adam = adam<T>,
                     .mix_and_pack = mix_and_pack,
                     .squared_error = squared_error<T>},
            .attention = kAttention<T>};
}

}  // namespace

const KernelSet<CpuKernels> FLUX_ROW_KERNELS{.fp32 = table<float>(), .bf16 = table<Bf16>()};

}  // namespace flux::kernels
