// Each product is one of two matrices whose rows are multiplied, [R, K] and [R', K], which is what
// at::_scaled_mm() wants (row-major times column-major). A matrix that is multiplied along its
// columns is transposed while it is quantised.
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/_scaled_mm.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/maximum.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/custom_function.h>

#include <limits>
#include <optional>
#include <vector>

#include "flux/kernels/float8.h"

namespace flux::kernels {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;
using Tensors = std::vector<at::Tensor>;
using Kind = Products::Kind;

/// A matrix in FP8, and what its numbers are multiplied by afterwards.
struct Scaled {
    at::Tensor data;     // e4m3 or e5m2 [R, K]
    at::Tensor inverse;  // fp32, a number or [R, 1]
};

struct Scale {
    at::Tensor factor;   // in the dtype of what it multiplies
    at::Tensor inverse;  // fp32
};

double largest_of(at::ScalarType float8) {
    return float8 == at::kFloat8_e5m2 ? std::numeric_limits<c10::Float8_e5m2>::max()
                                      : std::numeric_limits<c10::Float8_e4m3fn>::max();
}

/// Brings `amax` to the largest number of the FP8 dtype `to`. In bf16 the factor has eight bits, so
/// that a product with it stays bf16: half the memory traffic of fp32.
Scale scale_of(const at::Tensor& amax, at::ScalarType to, at::ScalarType dtype, Kind kind) {
    constexpr double kLeast = 1e-30;  // keeps factor and inverse finite where everything is 0
    at::Tensor factor = amax.clamp_min(kLeast).reciprocal_().mul_(largest_of(to));
    if (kind == Kind::kRowwise) {
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

int64_t width_of(const Tensors& parts) {
    int64_t width = 0;
    for (const at::Tensor& part : parts) {
        width += part.size(1);
    }
    return width;
}

/// Matrices side by side, ready for a product along their rows. parts: [R, K], [R, K'].
Scaled rows(const Tensors& parts, at::ScalarType to, Kind kind) {
    const at::Tensor& first = parts[0];
    const Scale scale = scale_of(largest_in_rows(parts, kind), to, first.scalar_type(), kind);
    if (parts.size() == 1) {
        return {scaled(first, scale).to(to).contiguous(), scale.inverse};
    }
    const at::Tensor data = at::empty({first.size(0), width_of(parts)}, first.options().dtype(to));
    int64_t begin = 0;
    for (const at::Tensor& part : parts) {
        data.narrow(1, begin, part.size(1)).copy_(scaled(part, scale));
        begin += part.size(1);
    }
    return {data, scale.inverse};
}

/// Room for a transposed matrix whose rows are filled up with zeros, which add nothing to products.
at::Tensor transposed_room(int64_t rows, int64_t columns, const at::TensorOptions& options) {
    const int64_t padded = (rows + kFloat8Alignment - 1) / kFloat8Alignment * kFloat8Alignment;
    return padded == rows ? at::empty({columns, rows}, options)
                          : at::zeros({columns, padded}, options);
}

/// The same numbers, ready for a product along their columns: [K, R filled up].
at::Tensor transposed(const at::Tensor& data) {
    at::Tensor room = transposed_room(data.size(0), data.size(1), data.options());
    room.narrow(1, 0, data.size(0)).copy_(data.t());
    return room;
}

/// Ready for a product along their columns: [K + K', R filled up]. With one scale a tensor there is
/// one part.
Scaled columns(const Tensors& parts, at::ScalarType to, Kind kind) {
    const int64_t count = parts[0].size(0);
    const at::Tensor data = transposed_room(count, width_of(parts), parts[0].options().dtype(to));
    Tensors inverses;
    int64_t begin = 0;
    for (const at::Tensor& part : parts) {
        const Scale scale = scale_of(largest(part, kind, 0), to, part.scalar_type(), kind);
        data.narrow(0, begin, part.size(1)).narrow(1, 0, count).copy_(scaled(part, scale).t());
        inverses.push_back(scale.inverse.t());
        begin += part.size(1);
    }
    return {data, inverses.size() == 1 ? inverses[0].contiguous() : at::cat(inverses)};
}

/// a b^T. a: [R, K]; b: [R', K]; result: [R, R'].
at::Tensor product(const Scaled& a, const Scaled& b, at::ScalarType dtype, const Products& products,
                   bool fast) {
    if (products.emulated) {
        return at::mm(a.data.to(at::kFloat), b.data.to(at::kFloat).t())
            .mul_(a.inverse)
            .mul_(b.inverse.t())
            .to(dtype);
    }
    // With scales of rows there is no other result than bf16.
    const at::ScalarType result = products.kind == Kind::kRowwise ? at::kBFloat16 : dtype;
    return at::_scaled_mm(a.data, b.data.t(), a.inverse, b.inverse.t(), {}, {}, result, fast)
        .to(dtype);
}

at::Tensor rows_of(const at::Tensor& x) { return x.reshape({-1, x.size(-1)}); }

Tensors parts_of(const at::Tensor& a, const std::optional<at::Tensor>& b) {
    return b ? Tensors{rows_of(a), rows_of(*b)} : Tensors{rows_of(a)};
}

at::Tensor forward_product(const Scaled& x, const at::Tensor& weight, const Products& products) {
    return product(x, rows({weight}, at::kFloat8_e4m3fn, products.kind), weight.scalar_type(),
                   products, /*fast=*/true);
}

std::vector<int64_t> with_width(at::IntArrayRef shape, int64_t width) {
    std::vector<int64_t> result = shape.vec();
    result.back() = width;
    return result;
}

struct Float8Linear : torch::autograd::Function<Float8Linear> {
    static at::Tensor forward(AutogradContext* context, const at::Tensor& a,
                              const std::optional<at::Tensor>& b, const at::Tensor& weight,
                              const Products& products) {
        const Tensors parts = parts_of(a, b);
        const Scaled x = rows(parts, at::kFloat8_e4m3fn, products.kind);
        // Rows have other scales than columns, so one cannot be made of the other.
        const Scaled kept =
            products.kind == Kind::kRowwise ? columns(parts, at::kFloat8_e4m3fn, products.kind) : x;
        context->save_for_backward({kept.data, kept.inverse, weight});
        context->saved_data["shape"] = a.sizes().vec();
        context->saved_data["kind"] = static_cast<int64_t>(products.kind);
        context->saved_data["emulated"] = products.emulated;
        return forward_product(x, weight, products).view(with_width(a.sizes(), weight.size(0)));
    }

    static variable_list backward(AutogradContext* context, const variable_list& gradients) {
        const auto saved = context->get_saved_variables();
        const at::Tensor& weight = saved[2];
        const Products products{.kind = static_cast<Kind>(context->saved_data["kind"].toInt()),
                                .emulated = context->saved_data["emulated"].toBool()};
        const bool rowwise = products.kind == Kind::kRowwise;
        const at::ScalarType to = rowwise ? at::kFloat8_e4m3fn : at::kFloat8_e5m2;
        const at::Tensor dy = rows_of(gradients[0]).contiguous();
        Scaled up = rows({dy}, to, products.kind);
        const auto shape = context->saved_data["shape"].toIntVector();
        const variable_list inputs = input_gradients(up, weight, shape, products);
        up = rowwise ? columns({dy}, to, products.kind) : Scaled{transposed(up.data), up.inverse};
        const Scaled x{rowwise ? saved[0] : transposed(saved[0]), saved[1]};
        return {inputs[0], inputs[1], product(up, x, weight.scalar_type(), products, rowwise), {}};
    }

    /// dy W, for each of the two inputs. up: [R, out]; shape: of the first input.
    static variable_list input_gradients(const Scaled& up, const at::Tensor& weight,
                                         const std::vector<int64_t>& shape,
                                         const Products& products) {
        const Scaled down = columns({weight}, at::kFloat8_e4m3fn, products.kind);  // [C + C', out]
        const bool fast = products.kind == Kind::kRowwise;
        const int64_t width = shape.back(), rest = weight.size(1) - width;
        const auto gradient = [&](int64_t begin, int64_t count) {
            const bool whole = down.inverse.dim() == 0;
            const Scaled part{down.data.narrow(0, begin, count),
                              whole ? down.inverse : down.inverse.narrow(0, begin, count)};
            return product(up, part, weight.scalar_type(), products, fast);
        };
        if (rest == 0) {
            return {gradient(0, width).view(shape), {}};
        }
        if (width % kFloat8Alignment != 0) {  // only both together can be multiplied
            const at::Tensor both = gradient(0, weight.size(1));
            return {both.narrow(1, 0, width).reshape(shape),
                    both.narrow(1, width, rest).reshape(with_width(shape, rest))};
        }
        return {gradient(0, width).view(shape),
                gradient(width, rest).view(with_width(shape, rest))};
    }
};

}  // namespace

at::Tensor float8_linear(const Products& products, const at::Tensor& a,
                         const std::optional<at::Tensor>& b, const at::Tensor& weight) {
    TORCH_CHECK(products.kind != Kind::kPlain, "a plain product is not one in FP8");
    if (at::GradMode::is_enabled()) {
        return Float8Linear::apply(a, b, weight, products);
    }
    const Scaled x = rows(parts_of(a, b), at::kFloat8_e4m3fn, products.kind);
    return forward_product(x, weight, products).view(with_width(a.sizes(), weight.size(0)));
}

}  // namespace flux::kernels
