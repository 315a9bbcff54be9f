// The operations of fused.h in plain tensor operations: what they mean, and what tests hold the
// fused ones against.
#pragma once

#include "flux/kernels/fused.h"

namespace flux::kernels::twin {

at::Tensor norm_modulate(const at::Tensor& x, const at::Tensor& shift, const at::Tensor& scale);
at::Tensor gated_residual(const at::Tensor& x, const at::Tensor& gate, const at::Tensor& y,
                          const at::Tensor& bias);
at::Tensor bias_gelu(const at::Tensor& u, const at::Tensor& bias);
Heads split_heads(std::span<const PackedHeads> parts, const at::Tensor& cos, const at::Tensor& sin,
                  double eps);
at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v);
at::Tensor linear_pair(const at::Tensor& a, const at::Tensor& b, const at::Tensor& weight);

}  // namespace flux::kernels::twin
