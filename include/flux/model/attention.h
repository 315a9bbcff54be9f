// What RMSNorm of queries and keys learns, and the attention of all tokens to all.
//
// Legend: B batch, T tokens, C hidden size, H heads, D head size.
#pragma once

#include <ATen/core/Tensor.h>

#include "flux/kernels/fused.h"
#include "flux/model/flux_config.h"
#include "flux/model/layers.h"
#include "flux/units/parameter.h"

namespace flux::model {

/// Learned scales of queries and keys.
class QkNorm {
public:
    QkNorm(const units::ParameterScope& scope, const FluxConfig& config);
    QkNorm(const QkNorm&) = delete;

    /// The layer's result for x, [B, T, C], with what splitting it into heads needs.
    kernels::PackedHeads pack(kernels::Path path, const LinearRows& qkv,
                              const kernels::LinearInput& x) const;
    double eps() const { return eps_; }

private:
    double eps_;
    int64_t num_heads_;
    at::Tensor query_scale_;  // [D]
    at::Tensor key_scale_;    // [D]
};

/// softmax(q k^T / sqrt(D)) v, heads joined again: [B, T, C].
at::Tensor attend(kernels::Path path, const kernels::Heads& heads, kernels::Memo* memo);

}  // namespace flux::model
