// The layers all blocks are made of. Numerics follow the published Flux.1 model code.
//
// Legend: B batch, T tokens, C hidden size, H heads, D head size.
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>
#include <span>

#include "flux/model/execution.h"
#include "flux/model/flux_config.h"
#include "flux/units/parameter.h"

namespace flux::model {

using units::Init;
using units::ParameterScope;

/// Some outputs of a linear layer, with the weights of one pass.
struct LinearRows {
    at::Tensor weight;  // [out, in]
    at::Tensor bias;    // [out], undefined without one
    kernels::Products products;

    /// Of inputs side by side, [B, T, in] together -> [B, T, out], without the bias, which the
    /// operation after it adds. Leaves its result in `memo` for a second run.
    at::Tensor product(kernels::Path path, std::span<const kernels::LinearInput> parts,
                       kernels::Memo* memo = nullptr) const;
    at::Tensor product(kernels::Path path, const kernels::LinearInput& x,
                       kernels::Memo* memo = nullptr) const {
        return product(path, std::span(&x, 1), memo);
    }
    /// The first `count` outputs, and the others.
    std::array<LinearRows, 2> cut(int64_t count) const;
};

class Linear : public LinearRows {
public:
    /// `weight_init` is the first value of the weight; the bias starts at 0. Weight [out, in].
    Linear(const ParameterScope& scope, int64_t in, int64_t out, Init weight_init,
           bool with_bias = true, const kernels::Products& arithmetic = {});
    Linear(const Linear&) = delete;

    at::Tensor operator()(const at::Tensor& x) const;  // [..., in] -> [..., out]
};

/// The usual start of this model's linear layers: Xavier uniform.
inline Init xavier(int64_t in, int64_t out) { return Init::xavier_uniform(in, out); }

/// A linear layer of a block that may be computed in FP8.
Linear block_linear(const Execution& execution, const ParameterScope& scope, int64_t in,
                    int64_t out, bool bias = true);

/// out_layer(silu(in_layer(x))): embeds timestep, pooled text and guidance.
class MlpEmbedder {
public:
    MlpEmbedder(const ParameterScope& scope, int64_t in, int64_t hidden);

    at::Tensor operator()(const at::Tensor& x) const;  // [B, in] -> [B, hidden]

private:
    Linear in_layer_;
    Linear out_layer_;
};

struct ShiftScaleGate {
    at::Tensor shift;  // [B, 1, C], like the others
    at::Tensor scale;
    at::Tensor gate;
};

/// `count` triples from the conditioning vector: lin(silu(vec)), cut into shift, scale, gate,
/// shift, ...
class Modulation {
public:
    Modulation(const ParameterScope& scope, int64_t hidden, int count);

    std::vector<ShiftScaleGate> operator()(const at::Tensor& vec) const;  // [B, C]

private:
    int count_;
    Linear lin_;
};

/// RMSNorm over the last dimension with its statistics in fp32; the result has the dtype of x.
at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps);

/// Sinusoidal embedding of `1000 * t`, cosines first, fp32 [B, 256].
at::Tensor timestep_embedding(const at::Tensor& t);  // fp32 [B]

/// Width of timestep_embedding().
inline constexpr int64_t kTimestepEmbedding = 256;

}  // namespace flux::model
