// The bodies of row_kernels.h in plain loops that the compiler vectorises. Each row_kernels_*.cpp
// includes this once, with FLUX_ROW_KERNELS the name of its table and the flags of its instruction
// set. All else is private to that file, and nothing here may leave an inline function that the
// linker could give to code for another processor: so no containers or algorithms of the library.
#include <cstddef>

#include "kernels/attention_rows_body.h"
#include "kernels/row_kernels.h"
#include "kernels/row_numbers.h"

namespace flux::kernels {
namespace {

constexpr float kGeluSlope = 0.7978845608f;  // sqrt(2 / pi)
constexpr float kGeluCube = 0.044715f;

/// x sigmoid(2 w) with w = sqrt(2/pi) (x + 0.044715 x^3), which is the tanh form of GELU.
inline float gelu_sigmoid(float x) {
    return 1.0f / (1.0f + exponential(-2.0f * kGeluSlope * (x + kGeluCube * x * x * x)));
}

/// Rows of a chunk.
struct ChunkRows {
    ChunkRows(const Rows& rows, int64_t chunk)
        : picture(chunk / rows.chunks_of_one()),
          first(chunk % rows.chunks_of_one() * rows.chunk),
          last(first + rows.chunk < rows.tokens ? first + rows.chunk : rows.tokens) {}
    int64_t picture, first, last;
};

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
                put(y[i], x * gelu_sigmoid(x));
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
                const float s = gelu_sigmoid(x);
                const float inner = 2.0f * kGeluSlope * (1.0f + 3.0f * kGeluCube * x * x);
                const float d = value(dy[i]) * (s + x * s * (1.0f - s) * inner);
                sum[i] += d;
                put(du[i], d);
            }
            sums.end_row(t, rows.last, total);
        }
    }
}

/// Queries or keys of one head: its part of a row with the bias added, and 1 / root mean square.
template <class T>
float load_head(const T* __restrict from, const float* __restrict bias, int64_t size, float eps,
                float* __restrict to) {
    float square = 0;
#pragma omp simd reduction(+ : square)
    for (int64_t i = 0; i < size; ++i) {
        to[i] = value(from[i]) + bias[i];
        square += to[i] * to[i];
    }
    return inverse_root(square / static_cast<float>(size) + eps);
}

/// Exchanges the channels of each pair.
inline void swap_pairs(const float* __restrict from, int64_t size, float* __restrict to) {
    for (int64_t i = 0; i < size; i += 2) {
        to[i] = from[i + 1];
        to[i + 1] = from[i];
    }
}

/// Room for one head's numbers.
struct HeadBuffers {
    explicit HeadBuffers(int64_t size) : values(size), slopes(size), swapped(size) {}
    Floats values, slopes, swapped;
};

template <class T>
void normalise_head(const T* from, const float* bias, const float* scale, const float* cosine,
                    const float* sine, int64_t size, float eps, const HeadBuffers& buffers, T* to) {
    float* const __restrict x = buffers.values.data(), * const __restrict s =
                                                           buffers.swapped.data();
    const float rstd = load_head(from, bias, size, eps, x);
#pragma omp simd
    for (int64_t i = 0; i < size; ++i) {
        x[i] *= rstd * scale[i];
    }
    swap_pairs(x, size, s);
#pragma omp simd
    for (int64_t i = 0; i < size; ++i) {
        put(to[i], x[i] * cosine[i] + s[i] * sine[i]);
    }
}

/// `gradient`: of the rotated, normalised head.
template <class T>
void normalise_head_backward(const T* from, const float* bias, const float* scale,
                             const float* cosine, const float* sine, int64_t size, float eps,
                             const HeadBuffers& buffers, const T* gradient,
                             float* __restrict scale_sum, float* __restrict bias_sum, T* to) {
    float* const __restrict x = buffers.values.data();
    float* const __restrict g = buffers.slopes.data(), * const __restrict s =
                                                           buffers.swapped.data();
    const float rstd = load_head(from, bias, size, eps, x);
#pragma omp simd
    for (int64_t i = 0; i < size; ++i) {
        g[i] = value(gradient[i]);
    }
    swap_pairs(g, size, s);
    float projection = 0;
#pragma omp simd reduction(+ : projection)
    for (int64_t i = 0; i < size; ++i) {
        const float turned = g[i] * cosine[i] - s[i] * sine[i];
        x[i] *= rstd;
        scale_sum[i] += turned * x[i];
        g[i] = turned * scale[i];
        projection += g[i] * x[i];
    }
    projection /= static_cast<float>(size);
#pragma omp simd
    for (int64_t i = 0; i < size; ++i) {
        const float d = rstd * (g[i] - x[i] * projection);
        bias_sum[i] += d;
        put(to[i], d);
    }
}

template <class T>
void heads(const HeadsJob& job, int64_t begin, int64_t end) {
    const int64_t size = job.head_size, channels = job.heads * size;
    const Floats biases(at<T>(job.bias, 0), 3 * channels);
    const Floats query_scale(at<T>(job.query_scale, 0), size);
    const Floats key_scale(at<T>(job.key_scale, 0), size);
    const auto eps = static_cast<float>(job.eps);
    const float* const bias = biases.data();
    const HeadBuffers buffers(size);
    for (int64_t chunk = begin; chunk < end; ++chunk) {
        const ChunkRows rows(job.rows, chunk);
        for (int64_t t = rows.first; t < rows.last; ++t) {
            const T* const row = at<T>(job.qkv, (rows.picture * job.rows.tokens + t) * job.stride);
            const int64_t turn = rows.picture * job.table_stride + (job.offset + t) * size;
            for (int64_t h = 0; h < job.heads; ++h) {
                const int64_t to =
                    ((rows.picture * job.heads + h) * job.all_tokens + job.offset + t) * size;
                const int64_t from = h * size;
                normalise_head(row + from, bias + from, query_scale.data(), job.cos + turn,
                               job.sin + turn, size, eps, buffers, at<T>(job.q, to));
                normalise_head(row + channels + from, bias + channels + from, key_scale.data(),
                               job.cos + turn, job.sin + turn, size, eps, buffers,
                               at<T>(job.k, to));
                const T* const __restrict v = row + 2 * channels + from;
                const float* const __restrict b = bias + 2 * channels + from;
                T* const __restrict out = at<T>(job.v, to);
#pragma omp simd
                for (int64_t i = 0; i < size; ++i) {
                    put(out[i], value(v[i]) + b[i]);
                }
            }
        }
    }
}

template <class T>
void heads_backward(const HeadsJob& job, int64_t begin, int64_t end) {
    const int64_t size = job.head_size, channels = job.heads * size;
    const Floats biases(at<T>(job.bias, 0), 3 * channels);
    const Floats query_scale(at<T>(job.query_scale, 0), size);
    const Floats key_scale(at<T>(job.key_scale, 0), size);
    const auto eps = static_cast<float>(job.eps);
    const float* const bias = biases.data();
    const HeadBuffers buffers(size);
    const ChunkSums sums(2 * size + 3 * channels);
    float *const query_sum = sums.few(), *const key_sum = query_sum + size;
    float* const bias_sum = key_sum + size;
    for (int64_t chunk = begin; chunk < end; ++chunk) {
        const ChunkRows rows(job.rows, chunk);
        float* const total = job.sums + chunk * (2 * size + 3 * channels);
        sums.begin(total);
        for (int64_t t = rows.first; t < rows.last; ++t) {
            const int64_t offset = (rows.picture * job.rows.tokens + t) * job.stride;
            const T* const row = at<T>(job.qkv, offset);
            T* const out = at<T>(job.dqkv, offset);
            const int64_t turn = rows.picture * job.table_stride + (job.offset + t) * size;
            for (int64_t h = 0; h < job.heads; ++h) {
                const int64_t in =
                    ((rows.picture * job.heads + h) * job.all_tokens + job.offset + t) * size;
                const int64_t part = h * size;
                normalise_head_backward(row + part, bias + part, query_scale.data(), job.cos + turn,
                                        job.sin + turn, size, eps, buffers, at<T>(job.dq, in),
                                        query_sum, bias_sum + part, out + part);
                const int64_t key = channels + part;
                normalise_head_backward(row + key, bias + key, key_scale.data(), job.cos + turn,
                                        job.sin + turn, size, eps, buffers, at<T>(job.dk, in),
                                        key_sum, bias_sum + key, out + key);
                const T* const __restrict dv = at<T>(job.dv, in);
                float* const __restrict sum = bias_sum + 2 * channels + part;
                T* const __restrict to = out + 2 * channels + part;
#pragma omp simd
                for (int64_t i = 0; i < size; ++i) {
                    sum[i] += value(dv[i]);
                    to[i] = dv[i];
                }
            }
            sums.end_row(t, rows.last, total);
        }
    }
}

template <class T>
constexpr CpuKernels table() {
    return {.rows = {.norm_modulate = norm_modulate<T>,
                     .norm_modulate_backward = norm_modulate_backward<T>,
                     .gated_residual = gated_residual<T>,
                     .gated_residual_backward = gated_residual_backward<T>,
                     .gelu = gelu<T>,
                     .gelu_backward = gelu_backward<T>,
                     .heads = heads<T>,
                     .heads_backward = heads_backward<T>},
            .attention = {.transpose = transpose<T>,
                          .pack_rows = pack_rows<T>,
                          .pack_columns = pack_columns<T>,
                          .softmax = softmax<T>,
                          .softmax_backward = softmax_backward<T>,
                          .row_products = row_products<T>,
                          .put_rows = put_rows<T>}};
}

}  // namespace

const KernelSet<CpuKernels> FLUX_ROW_KERNELS{.fp32 = table<float>(), .bf16 = table<Bf16>()};

}  // namespace flux::kernels
