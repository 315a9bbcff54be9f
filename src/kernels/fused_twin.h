// The operations of fused.h and fused_step.h in plain tensor operations: what they mean, and what
// tests hold the fused ones against.
#pragma once

#include "flux/kernels/fused.h"
#include "flux/kernels/fused_step.h"

namespace flux::kernels::twin {

at::Tensor norm_modulate(const at::Tensor& x, const at::Tensor& shift, const at::Tensor& scale);
at::Tensor gated_residual(const at::Tensor& x, const at::Tensor& gate, const at::Tensor& y,
                          const at::Tensor& bias);
at::Tensor bias_gelu(const at::Tensor& u, const at::Tensor& bias);
Heads split_heads(std::span<const PackedHeads> parts, const at::Tensor& cos, const at::Tensor& sin,
                  double eps);
at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v);
at::Tensor linear(std::span<const LinearInput> parts, const at::Tensor& weight);

void adam_(const AdamSettings& settings, const AdamScalars& scalars, std::span<const AdamRun> runs);
PackedMix mix_and_pack(const at::Tensor& a, const at::Tensor& b, const at::Tensor& t);
at::Tensor mean_squared_error(const at::Tensor& prediction, const at::Tensor& target);
SquaredError squared_error_with_gradient(const at::Tensor& prediction, const at::Tensor& target,
                                         double share);

}  // namespace flux::kernels::twin
