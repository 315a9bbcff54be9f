#include "kernels/fused_twin.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/_fused_adam.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/pixel_unshuffle.h>
#include <ATen/ops/rms_norm.h>
#include <ATen/ops/scaled_dot_product_attention.h>

#include <array>
#include <vector>

#include "kernels/linear_parts.h"

namespace flux::kernels::twin {
namespace {

/// Turns pairs of channels; at least fp32 arithmetic, result in the dtype of x. [B, H, T, D]
at::Tensor rotate(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin) {
    const at::Tensor exact = x.to(x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat);
    const at::Tensor swapped = exact.unflatten(-1, {x.size(-1) / 2, 2}).flip(-1).flatten(-2);
    return (exact * cos + swapped * sin).to(x.scalar_type());
}

}  // namespace

at::Tensor norm_modulate(const at::Tensor& x, const at::Tensor& shift, const at::Tensor& scale) {
    return (1 + scale) * at::layer_norm(x, {x.size(-1)}, {}, {}, 1e-6) + shift;
}

at::Tensor gated_residual(const at::Tensor& x, const at::Tensor& gate, const at::Tensor& y,
                          const at::Tensor& bias) {
    return x + gate * (y + bias);
}

at::Tensor bias_gelu(const at::Tensor& u, const at::Tensor& bias) {
    return at::gelu(u + bias, "tanh");
}

Heads split_heads(std::span<const PackedHeads> parts, const at::Tensor& cos, const at::Tensor& sin,
                  double eps) {
    Heads heads;
    std::array<std::vector<at::Tensor>, 3> found;  // q, k, v of each part, [B, H, T, D]
    const int64_t size = cos.size(-1);
    for (const PackedHeads& part : parts) {
        const at::Tensor row = part.bias.defined() ? part.qkv + part.bias : part.qkv;
        const int64_t width = part.heads * size;
        const auto qkv = row.narrow(-1, 0, 3 * width)
                             .unflatten(-1, {3, part.heads, size})
                             .permute({2, 0, 3, 1, 4})
                             .unbind(0);
        found[0].push_back(at::rms_norm(qkv[0], {size}, part.query_scale, eps));
        found[1].push_back(at::rms_norm(qkv[1], {size}, part.key_scale, eps));
        found[2].push_back(qkv[2]);
        if (row.size(-1) > 3 * width) {
            heads.mlp.x = at::gelu(row.narrow(-1, 3 * width, row.size(-1) - 3 * width), "tanh");
        }
    }
    heads.q = rotate(at::cat(found[0], 2), cos, sin);
    heads.k = rotate(at::cat(found[1], 2), cos, sin);
    heads.v = at::cat(found[2], 2);
    return heads;
}

at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
    return at::scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2);
}

at::Tensor linear(std::span<const LinearInput> parts, const at::Tensor& weight) {
    return at::linear(parts.size() == 1 ? parts.front().x : at::cat(tensors_of(parts), -1), weight);
}

void adam_(const AdamSettings& settings, const AdamScalars& scalars,
           std::span<const AdamRun> runs) {
    std::vector<at::Tensor> values, gradients, means, squares;
    for (const AdamRun& run : runs) {
        values.push_back(run.value);
        gradients.push_back(run.gradient);
        means.push_back(run.mean);
        squares.push_back(run.square);
    }
    const std::vector<at::Tensor> steps(runs.size(), scalars.steps);
    const auto update = [&](auto&& fused) {
        fused(values, gradients, means, squares, at::TensorList(), steps, scalars.lr,
              settings.beta1, settings.beta2, settings.weight_decay, settings.eps,
              /*amsgrad=*/false, /*maximize=*/false, scalars.divisor, scalars.skip);
    };
    if (settings.decoupled) {
        update([](auto&&... arguments) { at::_fused_adamw_(arguments...); });
    } else {
        update([](auto&&... arguments) { at::_fused_adam_(arguments...); });
    }
    for (const AdamRun& run : runs) {
        if (run.copy.defined()) {
            run.copy.copy_(run.value);
        }
    }
}

PackedMix mix_and_pack(const at::Tensor& a, const at::Tensor& b, const at::Tensor& t) {
    const auto pack = [](const at::Tensor& x) {
        return at::pixel_unshuffle(x, 2).flatten(2).transpose(1, 2).contiguous();
    };
    const at::Tensor share = t.view({-1, 1, 1, 1});
    return {pack(a * (-share + 1) + b * share), pack(b - a)};
}

at::Tensor mean_squared_error(const at::Tensor& prediction, const at::Tensor& target) {
    return (prediction.to(target.scalar_type()) - target).square().flatten(1).mean(1);
}

SquaredError squared_error_with_gradient(const at::Tensor& prediction, const at::Tensor& target,
                                         double share) {
    const auto elements = static_cast<double>(prediction.numel() / prediction.size(0));
    const at::Tensor difference = prediction.to(target.scalar_type()) - target;
    return {mean_squared_error(prediction, target),
            (difference * (2.0 * share / elements)).to(prediction.scalar_type())};
}

}  // namespace flux::kernels::twin
