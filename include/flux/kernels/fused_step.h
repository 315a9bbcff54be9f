// The operations of a step around the transformer, each in two forms that mean the same: one pass
// over memory, and the twin in plain tensor operations that defines it. None takes part in
// autograd.
//
// Legend: B batch, T tokens, C channels, H W latent height and width, N elements.
#pragma once

#include <ATen/core/Tensor.h>

#include <span>

#include "flux/kernels/fused.h"

namespace flux::kernels {

/// Elements that Adam changes together.
struct AdamRun {
    at::Tensor value;  // fp32 [N], dense like the next four
    at::Tensor gradient;
    at::Tensor mean;    // of the gradients
    at::Tensor square;  // mean of their squares
    at::Tensor copy;    // the value rounded to another dtype, written along; may be undefined
};

struct AdamSettings {
    double beta1, beta2, eps;
    double weight_decay;
    bool decoupled;  // AdamW's decay: of the values; else added to the gradient
};

/// What changes between steps, fp32 scalar tensors beside the values: nothing is read back by the
/// host where these lie on a GPU.
struct AdamScalars {
    at::Tensor lr;
    at::Tensor steps;    // taken, with this one
    at::Tensor divisor;  // of the gradients
    at::Tensor skip;     // 1: nothing changes, copies neither
};

/// One step. The twin divides the gradients where they lie.
void adam_(Path path, const AdamSettings& settings, const AdamScalars& scalars,
           std::span<const AdamRun> runs);

struct PackedMix {
    at::Tensor mixed;       // (1 - t) a + t b, [B, H/2 W/2, 4 C], like the next
    at::Tensor difference;  // b - a
};

/// a, b: fp32 [B, C, H, W]; t: fp32 [B]. A token is a patch of 2 x 2, its numbers in the order
/// (channel, row in patch, column in patch).
PackedMix mix_and_pack(Path path, const at::Tensor& a, const at::Tensor& b, const at::Tensor& t);

/// Mean over each sample of (prediction - target)^2, fp32 [B]: the same bits whichever samples
/// share its batch. prediction: [B, T, C]; target: fp32 [B, T, C].
at::Tensor mean_squared_error(Path path, const at::Tensor& prediction, const at::Tensor& target);

struct SquaredError {
    at::Tensor means;     // as above
    at::Tensor gradient;  // of sum(means) * share with respect to the prediction, in its dtype
};
SquaredError squared_error_with_gradient(Path path, const at::Tensor& prediction,
                                         const at::Tensor& target, double share);

}  // namespace flux::kernels
