#include "flux/model/layers.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/rms_norm.h>
#include <ATen/ops/silu.h>

#include <cmath>

namespace flux::model {

Linear::Linear(const ParameterScope& scope, int64_t in, int64_t out, Init weight_init,
               bool with_bias, const kernels::Products& arithmetic)
    : LinearRows{.weight = {}, .bias = {}, .products = arithmetic} {
    scope.add("weight", weight, {out, in}, weight_init);
    if (with_bias) {
        scope.add("bias", bias, {out}, Init::constant(0));
    }
}

at::Tensor Linear::operator()(const at::Tensor& x) const { return at::linear(x, weight, bias); }

at::Tensor LinearRows::product(kernels::Path path, std::span<const kernels::LinearInput> parts,
                               kernels::Memo* memo) const {
    return products.kind == kernels::Products::Kind::kPlain
               ? kernels::linear(path, parts, weight, memo)
               : kernels::float8_linear(path, products, parts, weight, memo);
}

std::array<LinearRows, 2> LinearRows::cut(int64_t count) const {
    // Together, so that backward puts both gradients into one tensor.
    const std::array counts{count, weight.size(0) - count};
    const auto weights = weight.split_with_sizes(counts);
    std::array<LinearRows, 2> parts{LinearRows{weights[0], {}, products},
                                    LinearRows{weights[1], {}, products}};
    if (bias.defined()) {
        const auto biases = bias.split_with_sizes(counts);
        parts[0].bias = biases[0];
        parts[1].bias = biases[1];
    }
    return parts;
}

Linear block_linear(const Execution& execution, const ParameterScope& scope, int64_t in,
                    int64_t out, bool bias) {
    return {scope, in, out, xavier(in, out), bias, execution.products_of(scope.name(), in, out)};
}

MlpEmbedder::MlpEmbedder(const ParameterScope& scope, int64_t in, int64_t hidden)
    : in_layer_(scope / "in_layer", in, hidden, Init::normal(0.02)),
      out_layer_(scope / "out_layer", hidden, hidden, Init::normal(0.02)) {}

at::Tensor MlpEmbedder::operator()(const at::Tensor& x) const {
    return out_layer_(at::silu(in_layer_(x)));
}

Modulation::Modulation(const ParameterScope& scope, int64_t hidden, int count)
    : count_(count), lin_(scope / "lin", hidden, 3 * count * hidden, Init::constant(0)) {}

std::vector<ShiftScaleGate> Modulation::operator()(const at::Tensor& vec) const {
    const auto parts =
        lin_(at::silu(vec)).unsqueeze(1).chunk(3 * count_, /*dim=*/-1);  // each [B, 1, C]
    std::vector<ShiftScaleGate> triples;
    for (size_t i = 0; i < parts.size(); i += 3) {
        triples.push_back({parts[i], parts[i + 1], parts[i + 2]});
    }
    return triples;
}

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps) {
    return at::rms_norm(x, {x.size(-1)}, weight, eps);
}

at::Tensor timestep_embedding(const at::Tensor& t) {
    constexpr double kMaxPeriod = 10000;
    const int64_t half = kTimestepEmbedding / 2;
    const auto options = t.options().dtype(at::kFloat);
    const at::Tensor frequencies =
        (at::arange(half, options) * (-std::log(kMaxPeriod)) / half).exp();
    const at::Tensor angles =
        (1000.0 * t).unsqueeze(1).to(at::kFloat) * frequencies.unsqueeze(0);  // [B, half]
    return at::cat({angles.cos(), angles.sin()}, -1);
}

}  // namespace flux::model
