// The operations of the transformer's blocks, each in two forms that mean the same: one pass over
// memory with a backward pass of its own, and the twin in plain tensor operations that defines it.
// All take part in autograd, and throw c10::Error for tensors of another shape, dtype or device
// than is said here.
//
// Legend: B batch, T tokens, C hidden size, H heads, D head size, M inner width of the MLP.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <span>
#include <vector>

#include "flux/kernels/memo.h"

namespace flux::kernels {

/// Fused where there is a body for the tensors' device and dtype, else the twin: in fp32 and bf16
/// on CPUs, and on GPUs if built with a CUDA compiler; attention where fuses_attention_on_cpu().
enum class Path { kTwin, kFused };
/// Whether there is, attention apart.
bool fuses(c10::DeviceType device, c10::ScalarType dtype);

/// How to make tensors again, bit by bit, from others: so that backward, which keeps those anyway,
/// need not keep these. Nothing if `make` is empty, as it is where no graph is recorded. `make`
/// captures no tensors, which would outlive the graph.
struct Remake {
    using Tensors = std::vector<at::Tensor>;
    Tensors from;
    std::function<Tensors(const Tensors& from)> make;
};

/// What a linear layer multiplies, or some of its columns.
struct LinearInput {
    at::Tensor x;     // [B, T, C]
    Remake remake{};  // x alone
};
/// The tokens from `first` on, [B, T - first, C]: a view. Made again, all are made, then cut.
LinearInput tokens_from(int64_t first, const LinearInput& all);

/// LayerNorm over the last dimension without weights (epsilon 1e-6), then * (1 + scale) + shift.
/// x: [B, T, C]; shift, scale: [B, 1, C].
LinearInput norm_modulate(Path path, const at::Tensor& x, const at::Tensor& shift,
                          const at::Tensor& scale);

/// x + gate * (y + bias): a block's residual, with the bias of the layer that made y.
/// x, y: [B, T, C]; gate: [B, 1, C]; bias: [C].
at::Tensor gated_residual(Path path, const at::Tensor& x, const at::Tensor& gate,
                          const at::Tensor& y, const at::Tensor& bias);

/// GELU (tanh form) of u + bias. u: [B, T, M]; bias: [M]. `memo`: that of the product that alone
/// reads the result. Where a second run recalls that product, x holds NaN instead, and the twin
/// makes it as ever.
LinearInput bias_gelu(Path path, const at::Tensor& u, const at::Tensor& bias, Memo* memo = nullptr);

/// Queries, keys and values of some tokens, one after the other in each row, before their bias.
struct PackedHeads {
    at::Tensor qkv;          // [B, T, 3 C], or [B, T, 3 C + M] with the MLP's input after them
    at::Tensor bias;         // of that width, or undefined
    at::Tensor query_scale;  // [D], of RMSNorm, like the next
    at::Tensor key_scale;
    int64_t heads = 0;
};

/// What attention reads.
struct Heads {
    at::Tensor q;  // [B, H, all T, D], like the next two
    at::Tensor k;
    at::Tensor v;
    Remake remake;    // those three
    LinearInput mlp;  // GELU of the first part's MLP input, [B, T, M]; undefined without one
};

/// RMSNorm of queries and keys (statistics in fp32), rotation of their pairs of channels, and the
/// layout attention reads, for one or two parts whose tokens follow each other; the MLP's input
/// goes through bias_gelu(). cos, sin: fp32 [B or 1, 1, all T, D],
/// for both channels of a pair, as in model/rope.h. `memo`: that of the attention and of the
/// product that alone read the results; what these do not read in a second run is left out, as in
/// bias_gelu().
Heads split_heads(Path path, std::span<const PackedHeads> parts, const at::Tensor& cos,
                  const at::Tensor& sin, double eps, Memo* memo = nullptr);

/// Each query's mean of the values, weighted by the softmax of its products with the keys over
/// sqrt(D). Keeps the result and a number for each query, not the weights. q, k, v: [B, H, T, D];
/// result: [B, T, H D]. `remake`: q, k and v, which are kept where ATen's attention is taken; there
/// `memo` is left alone, too.
at::Tensor attention(Path path, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                     const Remake& remake = {}, Memo* memo = nullptr);
/// Whether that is fused on this machine's processor. It gives gradients in the order of its inputs
/// and its result with heads side by side; elsewhere both are copied into that order.
bool fuses_attention_on_cpu(at::ScalarType dtype);
/// What each thread of that takes besides in backward.
int64_t attention_scratch_bytes(int64_t tokens, int64_t head_size, at::ScalarType dtype);

/// [parts] weight^T without putting the parts side by side: the product of each is added to those
/// before it, whose sum has been rounded to the dtype unless products are widened. The twin leaves
/// `memo` alone. weight: [out, C of all parts].
at::Tensor linear(Path path, std::span<const LinearInput> parts, const at::Tensor& weight,
                  Memo* memo = nullptr);
/// Whether products are made in fp32 on this machine's processor, because those in `dtype` are
/// slower.
bool widens_products(at::ScalarType dtype);

}  // namespace flux::kernels
