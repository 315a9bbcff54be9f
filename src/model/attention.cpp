#include "flux/model/attention.h"

namespace flux::model {

QkNorm::QkNorm(const units::ParameterScope& scope, const FluxConfig& config)
    : eps_(config.qk_norm_eps), num_heads_(config.num_heads) {
    scope.add("query_norm.scale", query_scale_, {config.head_dim()}, units::Init::constant(1));
    scope.add("key_norm.scale", key_scale_, {config.head_dim()}, units::Init::constant(1));
}

kernels::PackedHeads QkNorm::pack(kernels::Path path, const LinearRows& qkv,
                                  const kernels::LinearInput& x) const {
    return {.qkv = qkv.product(path, x),
            .bias = qkv.bias,
            .query_scale = query_scale_,
            .key_scale = key_scale_,
            .heads = num_heads_};
}

at::Tensor attend(kernels::Path path, const kernels::Heads& heads, kernels::Memo* memo) {
    return kernels::attention(path, heads.q, heads.k, heads.v, heads.remake, memo);
}

}  // namespace flux::model
