// Attention on CPUs: scores of a tile of queries against a tile of keys stay in the cache between
// the products that make and use them. Forward keeps each query's largest score and sum of weights
// up to date from tile to tile; backward makes the weights anew from the logarithm of that sum.
// Tiles do not depend on the number of threads, and a head's gradients are summed by one.
//
// Legend: B batch, H heads, T tokens, D head size.
#include <ATen/Context.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "flux/kernels/fused.h"
#include "kernels/attention_tiles.h"
#include "kernels/check_beside.h"
#include "kernels/fused_twin.h"
#include "kernels/kept_tensors.h"
#include "kernels/left_out.h"
#include "kernels/parallel.h"
#include "kernels/row_kernel_choice.h"

namespace flux::kernels {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// One thread's work forward, and its room.
template <class T>
class Forward {
public:
    explicit Forward(const AttentionTensors<T>& tensors)
        : tensors_(tensors),
          kernels_(*cpu_kernels(c10::CppTypeToScalarType<T>::value).attention),
          keys_(in_panels(tensors.tokens) * tensors.size),
          values_((tensors.tokens + 1) * in_panels(tensors.size)),
          scores_(kQueries * kKeys),
          narrow_(sizeof(T) == sizeof(float) ? 0 : kQueries * kKeys),
          result_(kQueries * tensors.size) {}

    static int64_t tiles_of(int64_t tokens) { return (tokens + kQueries - 1) / kQueries; }

    /// Tile: of all heads' queries.
    void run(int64_t tile) {
        const int64_t tiles = tiles_of(tensors_.tokens), head = tile / tiles;
        if (head != packed_head_) {
            pack(head);
            packed_head_ = head;
        }
        const int64_t first = tile % tiles * kQueries;
        const int64_t queries = std::min(kQueries, tensors_.tokens - first);
        for (int64_t key = 0; key < tensors_.tokens; key += kKeys) {
            add_keys(head, first, queries, key);
        }
        kernels_.put_rows({.from = result_.data(),
                           .stride = tensors_.size,
                           .divisors = sum_.data(),
                           .rows = queries,
                           .columns = tensors_.size,
                           .to = tensors_.out + tensors_.by_token(head) + first * tensors_.width(),
                           .to_stride = tensors_.width()});
        float* const log_sum = tensors_.log_sum + head * tensors_.tokens + first;
        for (int64_t i = 0; i < queries; ++i) {
            const auto row = static_cast<size_t>(i);
            log_sum[i] = largest_[row] + std::log2(sum_[row]);
        }
    }

private:
    void pack(int64_t head) const {
        const int64_t size = tensors_.size, tokens = tensors_.tokens;
        const int64_t offset = tensors_.by_head(head);
        kernels_.pack_columns({tensors_.k + offset, size, tokens, size, keys_.data(), 0});
        for (int64_t key = 0; key < tokens; key += kKeys) {
            kernels_.pack_rows({tensors_.v + offset + key * size, size,
                                std::min(kKeys, tokens - key), size,
                                values_.data() + key * in_panels(size), 0});
        }
    }

    void add_keys(int64_t head, int64_t first, int64_t queries, int64_t key) {
        const int64_t size = tensors_.size, keys = std::min(kKeys, tensors_.tokens - key);
        multiply_all({queries, keys, size}, tensors_.q + tensors_.by_head(head) + first * size,
                     size, keys_.data() + key * size, scores_.data(), kKeys, false);
        T* const weights = weights_of(scores_, narrow_);
        kernels_.softmax({.queries = queries,
                          .keys = keys,
                          .scale = tensors_.scale(),
                          .scores = scores_.data(),
                          .weights = weights,
                          .stride = kKeys,
                          .largest = largest_.data(),
                          .sum = sum_.data(),
                          .result = result_.data(),
                          .width = size,
                          .result_stride = size,
                          .first = key == 0});
        multiply_all({queries, size, summed<T>(keys)}, weights, kKeys,
                     values_.data() + key * in_panels(size), result_.data(), size, key > 0);
    }

    static float* weights_of(const Buffer<float>& wide, const Buffer<float>&) {
        return wide.data();
    }
    static at::BFloat16* weights_of(const Buffer<float>&, const Buffer<at::BFloat16>& narrow) {
        return narrow.data();
    }

    const AttentionTensors<T>& tensors_;
    const AttentionKernels& kernels_;
    Buffer<T> keys_, values_;  // one head's, as panels; values tile by tile
    Buffer<float> scores_;
    Buffer<T> narrow_;  // bf16: weights
    Buffer<float> result_;
    std::array<float, kQueries> largest_{}, sum_{};
    int64_t packed_head_ = -1;
};

/// [B, H, T, D], but dout, which is [B, T, H D].
template <class T>
struct Gradients {
    const T* dout;
    T *dq, *dk, *dv;
};

/// One thread's work backward. Scores stand with a row for each key, so that queries' numbers are
/// vectors and the gradients of keys and values need no transposition. Keys are the outer loop:
/// what belongs to a tile of them is more than what belongs to a panel of queries.
template <class T>
class Backward {
public:
    Backward(const AttentionTensors<T>& tensors, const Gradients<T>& gradients)
        : tensors_(tensors),
          gradients_(gradients),
          kernels_(*cpu_kernels(c10::CppTypeToScalarType<T>::value).attention),
          wide_(*cpu_kernels(at::kFloat).attention),
          memory_(BackwardRoom<T>::bytes_for(tensors.tokens, tensors.size)),
          room_(tensors.tokens, tensors.size, Scratch(memory_.data())) {}

    void run(int64_t head) {
        const int64_t tokens = tensors_.tokens, size = tensors_.size;
        const int64_t offset = tensors_.by_head(head);
        pack(head);
        for (int64_t key = 0; key < tokens; key += kKeys) {
            const int64_t keys = std::min(kKeys, tokens - key), from = offset + key * size;
            kernels_.transpose({tensors_.k + from, size, keys, size, room_.keys, kKeys});
            for (int64_t query = 0; query < tokens; query += kPanel) {
                run_tile(from, key, keys, query);
            }
            put(room_.dkey, keys, gradients_.dk + from);
            put(room_.dvalue, keys, gradients_.dv + from);
        }
        for (int64_t query = 0; query < tokens; query += kPanel) {
            const int64_t queries = std::min(kPanel, tokens - query);
            wide_.transpose(
                {room_.dquery + query * size, kPanel, size, queries, room_.dquery_rows, size});
            put(room_.dquery_rows, queries, gradients_.dq + offset + query * size);
        }
    }

private:
    void put(const float* from, int64_t rows, T* to) const {
        const int64_t size = tensors_.size;
        kernels_.put_rows({from, size, nullptr, rows, size, to, size});
    }

    void pack(int64_t head) const {
        const int64_t size = tensors_.size, tokens = tensors_.tokens, width = tensors_.width();
        const T* const q = tensors_.q + tensors_.by_head(head);
        const T* const dout = gradients_.dout + tensors_.by_token(head);
        kernels_.pack_columns({q, size, tokens, size, room_.queries, 0});
        kernels_.pack_columns({dout, width, tokens, size, room_.douts, 0});
        for (int64_t query = 0; query < tokens; query += kPanel) {
            const int64_t queries = std::min(kPanel, tokens - query);
            const int64_t to = query * in_panels(size);
            kernels_.pack_rows({q + query * size, size, queries, size, room_.query_rows + to, 0});
            kernels_.pack_rows(
                {dout + query * width, width, queries, size, room_.dout_rows + to, 0});
        }
        kernels_.row_products(
            {dout, tensors_.out + tensors_.by_token(head), width, tokens, size, room_.projection});
        std::copy_n(tensors_.log_sum + head * tokens, tokens, room_.log_sum);
        // Queries behind the last have scores of zero, and gradients of zero.
        std::fill(room_.log_sum + tokens, room_.log_sum + room_.tokens, 0.0F);
        std::fill(room_.projection + tokens, room_.projection + room_.tokens, 0.0F);
    }

    /// `offset`: of the tile's first key in [B, H, T, D].
    void run_tile(int64_t offset, int64_t key, int64_t keys, int64_t query) const {
        const int64_t size = tensors_.size, queries = std::min(kPanel, tensors_.tokens - query);
        const int64_t columns = in_lanes(queries), packed = query * in_panels(size);
        const Extent all{keys, columns, size};
        multiply(all, tensors_.k + offset, size, room_.queries + query * size, room_.scores, kPanel,
                 false);
        multiply(all, tensors_.v + offset, size, room_.douts + query * size, room_.dweights, kPanel,
                 false);
        const Tile tile = tile_of(room_.scores, room_.dweights, room_.narrow);
        kernels_.softmax_backward({.keys = keys,
                                   .columns = columns,
                                   .scale = tensors_.scale(),
                                   .scores = room_.scores,
                                   .dweights = room_.dweights,
                                   .log_sum = room_.log_sum + query,
                                   .projection = room_.projection + query,
                                   .weights = tile.weights,
                                   .dscores = tile.dscores,
                                   .panel = tile.panel == tile.dscores ? nullptr : tile.panel});
        const Extent rows{keys, size, summed<T>(queries)};
        multiply_all(rows, tile.weights, kPanel, room_.dout_rows + packed, room_.dvalue, size,
                     query > 0);
        multiply_all(rows, tile.dscores, kPanel, room_.query_rows + packed, room_.dkey, size,
                     query > 0);
        multiply({size, columns, summed<T>(keys)}, room_.keys, kKeys, tile.panel,
                 room_.dquery + query * size, kPanel, key > 0);
    }

    struct Tile {
        T *weights, *dscores, *panel;
    };
    /// fp32 takes the place of what it is made from, and is a panel as it stands.
    static Tile tile_of(float* scores, float* dweights, float*) {
        return {scores, dweights, dweights};
    }
    static Tile tile_of(float*, float*, at::BFloat16* narrow) {
        return {narrow, narrow + kKeys * kPanel, narrow + 2 * kKeys * kPanel};
    }

    const AttentionTensors<T>& tensors_;
    const Gradients<T>& gradients_;
    const AttentionKernels &kernels_, &wide_;
    Buffer<char> memory_;
    BackwardRoom<T> room_;
};

/// The processor's state that bf16 products may have set.
template <class T>
void release() {
    if (sizeof(T) != sizeof(float)) {
        at::native::cpublas::brgemm_release(/*is_vnni=*/true);
    }
}

template <class T>
void attend(const AttentionTensors<T>& tensors) {
    const int64_t tiles = Forward<T>::tiles_of(tensors.tokens);
    at::parallel_for(0, tensors.heads * tiles, 1, [&](int64_t begin, int64_t end) {
        Forward<T> forward(tensors);
        for (int64_t tile = begin; tile < end; ++tile) {
            forward.run(tile);
        }
        release<T>();
    });
}

template <class T>
void attend_backward(const AttentionTensors<T>& tensors, const Gradients<T>& gradients) {
    at::parallel_for(0, tensors.heads, 1, [&](int64_t begin, int64_t end) {
        Backward<T> backward(tensors, gradients);
        for (int64_t head = begin; head < end; ++head) {
            backward.run(head);
        }
        release<T>();
    });
}

struct Attention : torch::autograd::Function<Attention> {
    static at::Tensor forward(AutogradContext* context, const at::Tensor& q, const at::Tensor& k,
                              const at::Tensor& v, const Remake& remake, Memo* memo) {
        const variable_list results = recall(memo, 2, [&] { return run(q, k, v); });
        KeptTensors::save(context,
                          {{.tensors = {q, k, v}, .remake = remake}, {.tensors = results}});
        return results[0];
    }

    /// The mean of the values, and each query's log_sum.
    static variable_list run(const at::Tensor& queries, const at::Tensor& keys,
                             const at::Tensor& values) {
        check_made({queries, keys, values});
        const at::Tensor q = queries.contiguous(), k = keys.contiguous(), v = values.contiguous();
        const at::Tensor out =
            at::empty({q.size(0), q.size(2), q.size(1) * q.size(3)}, q.options());
        const at::Tensor log_sum =
            at::empty({q.size(0), q.size(1), q.size(2)}, q.options().dtype(at::kFloat));
        if (q.scalar_type() == at::kFloat) {
            attend(AttentionTensors<float>(q, k, v, out, log_sum));
        } else {
            attend(AttentionTensors<at::BFloat16>(q, k, v, out, log_sum));
        }
        return {out, log_sum};
    }

    static variable_list backward(AutogradContext* context, const variable_list& gradients) {
        const KeptTensors kept(context);
        const at::Tensor dout = gradients[0].contiguous();
        return dout.scalar_type() == at::kFloat
                   ? run_backward<float>(kept[0], kept[1], dout)
                   : run_backward<at::BFloat16>(kept[0], kept[1], dout);
    }

    /// heads: q, k, v; results: the mean of the values, and log_sum.
    template <class T>
    static variable_list run_backward(const variable_list& heads, const variable_list& results,
                                      const at::Tensor& dout) {
        variable_list dense, found;
        for (const at::Tensor& head : heads) {
            dense.push_back(head.contiguous());
            found.push_back(at::empty_like(dense.back()));
        }
        attend_backward(AttentionTensors<T>(dense[0], dense[1], dense[2], results[0], results[1]),
                        Gradients<T>{dout.const_data_ptr<T>(), found[0].data_ptr<T>(),
                                     found[1].data_ptr<T>(), found[2].data_ptr<T>()});
        found.insert(found.end(), 2, {});  // nothing for `remake` and `memo`
        return found;
    }
};

/// bf16 products that add up in fp32.
bool has_bf16_products() {
#if defined(__x86_64__)
    static const bool found = __builtin_cpu_supports("avx512bf16") != 0;
    return found;
#else
    return false;
#endif
}

}  // namespace

// Elsewhere ATen's attention has better products than tiles.
bool fuses_attention_on_cpu(at::ScalarType dtype) {
    if (dtype != at::kFloat && (dtype != at::kBFloat16 || !has_bf16_products())) {
        return false;
    }
    return at::globalContext().userEnabledMkldnn() && cpu_kernels(dtype).attention != nullptr;
}

bool attention_takes_memo(c10::DeviceType device, at::ScalarType dtype, int64_t head_size) {
    return device == c10::DeviceType::CPU && head_size % 2 == 0 && fuses_attention_on_cpu(dtype);
}

int64_t attention_scratch_bytes(int64_t tokens, int64_t head_size, at::ScalarType dtype) {
    return dtype == at::kFloat ? BackwardRoom<float>::bytes_for(tokens, head_size)
                               : BackwardRoom<at::BFloat16>::bytes_for(tokens, head_size);
}

at::Tensor attention(Path path, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                     const Remake& remake, Memo* memo) {
    check_shape(q, {-1, -1, -1, -1}, "q");
    check_beside(q, k, q.sizes(), "k");
    check_beside(q, v, q.sizes(), "v");
    if (path == Path::kFused && q.numel() > 0 &&
        attention_takes_memo(q.device().type(), q.scalar_type(), q.size(3))) {
        return Attention::apply(q, k, v, remake, memo);
    }
    check_made({q, k, v});
    return twin::attention(q, k, v);
}

}  // namespace flux::kernels
