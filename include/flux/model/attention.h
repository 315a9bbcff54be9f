// Joint attention of text and image tokens: RMSNorm on queries and keys, rotary positions, softmax
// attention.
//
// Legend: B batch, T tokens, C hidden size, H heads, D head size.
#pragma once

#include <ATen/core/Tensor.h>

#include "flux/model/flux_config.h"
#include "flux/model/rope.h"
#include "flux/units/parameter.h"

namespace flux::model {

struct QueryKeyValue {
    at::Tensor q;  // [B, H, T, D], like the others
    at::Tensor k;
    at::Tensor v;
};

/// Cuts the result of a qkv layer [B, T, 3 C] into heads.
QueryKeyValue split_heads(const at::Tensor& qkv, int64_t num_heads);

/// RMSNorm of queries and keys with learned scales.
class QkNorm {
public:
    QkNorm(const units::ParameterScope& scope, const FluxConfig& config);
    QkNorm(const QkNorm&) = delete;

    /// Normalises q and k; v passes.
    QueryKeyValue operator()(QueryKeyValue heads) const;

private:
    double eps_;
    at::Tensor query_scale_;  // [D]
    at::Tensor key_scale_;    // [D]
};

/// softmax(rotate(q) rotate(k)^T / sqrt(D)) v, heads joined again: [B, T, C].
at::Tensor attend(const QueryKeyValue& heads, const RotaryTable& positions);

}  // namespace flux::model
