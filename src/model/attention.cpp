#include "flux/model/attention.h"

#include <ATen/ops/scaled_dot_product_attention.h>

#include "flux/model/layers.h"

namespace flux::model {

QueryKeyValue split_heads(const at::Tensor& qkv, int64_t num_heads) {
    const auto parts =
        qkv.unflatten(-1, {3, num_heads, -1}).permute({2, 0, 3, 1, 4}).unbind(0);  // [B, H, T, D]
    return {parts[0], parts[1], parts[2]};
}

QkNorm::QkNorm(const units::ParameterScope& scope, const FluxConfig& config)
    : eps_(config.qk_norm_eps) {
    scope.add("query_norm.scale", query_scale_, {config.head_dim()}, units::Init::constant(1));
    scope.add("key_norm.scale", key_scale_, {config.head_dim()}, units::Init::constant(1));
}

QueryKeyValue QkNorm::operator()(QueryKeyValue heads) const {
    heads.q = rms_norm(heads.q, query_scale_, eps_);
    heads.k = rms_norm(heads.k, key_scale_, eps_);
    return heads;
}

at::Tensor attend(const QueryKeyValue& heads, const RotaryTable& positions) {
    const at::Tensor q = rotate(heads.q, positions);
    const at::Tensor k = rotate(heads.k, positions);
    return at::scaled_dot_product_attention(q, k, heads.v).transpose(1, 2).flatten(2);
}

}  // namespace flux::model
