// Casts to FP8 in plain tensor operations: what they mean, and what tests hold the kernels against.
#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/maximum.h>
#include <ATen/ops/zeros.h>

#include <limits>

#include "kernels/float8_casts.h"

namespace flux::kernels {
namespace {

using Tensors = std::vector<at::Tensor>;
using Kind = Products::Kind;

struct Scale {
    at::Tensor factor;   // in the dtype of what it multiplies
    at::Tensor inverse;  // fp32
};

double largest_of(at::ScalarType float8) {
    return float8 == at::kFloat8_e5m2 ? std::numeric_limits<c10::Float8_e5m2>::max()
                                      : std::numeric_limits<c10::Float8_e4m3fn>::max();
}

/// Brings `amax` to the largest number of the FP8 dtype. In bf16 the factor has eight bits, so
/// that a product with it stays bf16: half the memory traffic of fp32.
Scale scale_of(const at::Tensor& amax, const Float8Cast& cast, at::ScalarType dtype) {
    constexpr double kLeast = 1e-30;  // keeps factor and inverse finite where everything is 0
    at::Tensor factor = amax.clamp_min(kLeast).reciprocal_().mul_(largest_of(cast.to));
    if (cast.kind == Kind::kRowwise) {
        factor.log2_().floor_().exp2_();
    }
    factor = factor.to(dtype);
    return {factor, factor.to(at::kFloat).reciprocal()};
}

/// No number goes beyond the largest one by more than it is rounded back, so none needs clamping.
/// An infinity meets the factor 0 and, like NaN, becomes NaN.
at::Tensor scaled(const at::Tensor& x, const Scale& scale) { return x * scale.factor; }

/// The largest magnitude, fp32: of everything, or along `dim`.
at::Tensor largest(const at::Tensor& x, Kind kind, int64_t dim) {
    constexpr double kInfinity = std::numeric_limits<double>::infinity();
    return kind == Kind::kRowwise
               ? at::linalg_vector_norm(x, kInfinity, dim, /*keepdim=*/true, at::kFloat)
               : at::linalg_vector_norm(x, kInfinity, {}, /*keepdim=*/false, at::kFloat);
}

/// The largest magnitude of all parts: of everything, or for each row.
at::Tensor largest_in_rows(const Tensors& parts, Kind kind) {
    at::Tensor amax = largest(parts[0], kind, 1);
    for (size_t i = 1; i < parts.size(); ++i) {
        amax = at::maximum(amax, largest(parts[i], kind, 1));
    }
    return amax;
}

/// transposed_room() with zeros behind the rows.
at::Tensor zero_filled_room(int64_t rows, int64_t columns, const at::TensorOptions& options) {
    at::Tensor room = transposed_room(rows, columns, options);
    room.view(at::kByte).slice(1, rows).zero_();
    return room;
}

}  // namespace

namespace twin {

Float8Matrix float8_rows(const Tensors& parts, const Float8Cast& cast) {
    const at::Tensor& first = parts[0];
    const Scale scale = scale_of(largest_in_rows(parts, cast.kind), cast, first.scalar_type());
    if (parts.size() == 1) {
        return {scaled(first, scale).to(cast.to).contiguous(), scale.inverse};
    }
    const at::Tensor data =
        at::empty({first.size(0), width_of(parts)}, first.options().dtype(cast.to));
    int64_t begin = 0;
    for (const at::Tensor& part : parts) {
        data.narrow(1, begin, part.size(1)).copy_(scaled(part, scale));
        begin += part.size(1);
    }
    return {data, scale.inverse};
}

Float8Matrix float8_columns(const Tensors& parts, const Float8Cast& cast) {
    const int64_t count = parts[0].size(0);
    const at::Tensor data =
        zero_filled_room(count, width_of(parts), parts[0].options().dtype(cast.to));
    Tensors inverses;
    int64_t begin = 0;
    for (const at::Tensor& part : parts) {
        const Scale scale = scale_of(largest(part, cast.kind, 0), cast, part.scalar_type());
        data.narrow(0, begin, part.size(1)).narrow(1, 0, count).copy_(scaled(part, scale).t());
        inverses.push_back(scale.inverse.t());
        begin += part.size(1);
    }
    return {data, inverses.size() == 1 ? inverses[0].contiguous() : at::cat(inverses)};
}

at::Tensor float8_transposed(const at::Tensor& data) {
    at::Tensor room = zero_filled_room(data.size(0), data.size(1), data.options());
    room.narrow(1, 0, data.size(0)).copy_(data.t());
    return room;
}

}  // namespace twin

}  // namespace flux::kernels
