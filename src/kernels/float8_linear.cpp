// Linear layers in FP8: their products, and what they keep for backward. float8_casts.h makes the
// factors.
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/_scaled_mm.h>
#include <ATen/ops/mm.h>
#include <torch/csrc/autograd/custom_function.h>

#include <vector>

#include "kernels/float8_casts.h"
#include "kernels/matrices.h"

namespace flux::kernels {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;
using Tensors = std::vector<at::Tensor>;
using Kind = Products::Kind;

/// a b^T. a: [R, K]; b: [R', K]; result: [R, R'].
at::Tensor product(const Float8Matrix& a, const Float8Matrix& b, at::ScalarType dtype,
                   const Products& products, bool fast) {
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

Tensors matrices_of(at::TensorList inputs) {
    Tensors all;
    for (const at::Tensor& input : inputs) {
        all.push_back(matrix_of(input));
    }
    return all;
}

at::Tensor forward_product(Path path, const Float8Matrix& x, const at::Tensor& weight,
                           const Products& products) {
    return product(x, float8_rows(path, {weight}, {at::kFloat8_e4m3fn, products.kind}),
                   weight.scalar_type(), products, /*fast=*/true);
}

struct Float8Linear : torch::autograd::Function<Float8Linear> {
    static at::Tensor forward(AutogradContext* context, Path path, const Products& products,
                              at::TensorList inputs, const at::Tensor& weight) {
        const Tensors parts = matrices_of(inputs);
        const Float8Cast cast{at::kFloat8_e4m3fn, products.kind};
        const Float8Matrix x = float8_rows(path, parts, cast);
        // Rows have other scales than columns, so one cannot be made of the other.
        const Float8Matrix kept =
            products.kind == Kind::kRowwise ? float8_columns(path, parts, cast) : x;
        context->save_for_backward({kept.data, kept.inverse, weight});
        context->saved_data["shape"] = inputs.front().sizes().vec();
        context->saved_data["path"] = static_cast<int64_t>(path);
        context->saved_data["kind"] = static_cast<int64_t>(products.kind);
        context->saved_data["emulated"] = products.emulated;
        return forward_product(path, x, weight, products)
            .view(with_width(inputs.front().sizes(), weight.size(0)));
    }

    static variable_list backward(AutogradContext* context, const variable_list& gradients) {
        const auto saved = context->get_saved_variables();
        const at::Tensor& weight = saved[2];
        const Products products{.kind = static_cast<Kind>(context->saved_data["kind"].toInt()),
                                .emulated = context->saved_data["emulated"].toBool()};
        const auto path = static_cast<Path>(context->saved_data["path"].toInt());
        const bool rowwise = products.kind == Kind::kRowwise;
        const Float8Cast cast{rowwise ? at::kFloat8_e4m3fn : at::kFloat8_e5m2, products.kind};
        const at::Tensor dy = matrix_of(gradients[0]).contiguous();
        Float8Matrix up = float8_rows(path, {dy}, cast);
        const auto shape = context->saved_data["shape"].toIntVector();
        variable_list found{{}, {}};  // of path and products
        const variable_list inputs = input_gradients(path, up, weight, shape, products);
        found.insert(found.end(), inputs.begin(), inputs.end());
        if (rowwise) {
            up = {};  // before the other takes its place
            up = float8_columns(path, {dy}, cast);
        } else {
            up.data = float8_transposed(path, up.data);
        }
        const Float8Matrix x{rowwise ? saved[0] : float8_transposed(path, saved[0]), saved[1]};
        found.push_back(product(up, x, weight.scalar_type(), products, rowwise));
        return found;
    }

    /// dy W, for each of the one or two inputs. up: [R, out]; shape: of the first input.
    static variable_list input_gradients(Path path, const Float8Matrix& up,
                                         const at::Tensor& weight,
                                         const std::vector<int64_t>& shape,
                                         const Products& products) {
        const Float8Matrix down =
            float8_columns(path, {weight}, {at::kFloat8_e4m3fn, products.kind});  // [C + C', out]
        const bool fast = products.kind == Kind::kRowwise;
        const int64_t width = shape.back(), rest = weight.size(1) - width;
        const auto gradient = [&](int64_t begin, int64_t count) {
            const bool whole = down.inverse.dim() == 0;
            const Float8Matrix part{down.data.narrow(0, begin, count),
                                    whole ? down.inverse : down.inverse.narrow(0, begin, count)};
            return product(up, part, weight.scalar_type(), products, fast);
        };
        if (rest == 0) {
            return {gradient(0, width).view(shape)};
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

at::Tensor float8_linear(Path path, const Products& products, std::span<const LinearInput> parts,
                         const at::Tensor& weight) {
    check_linear(parts, weight);
    TORCH_CHECK(products.kind != Kind::kPlain, "a plain product is not one in FP8");
    TORCH_CHECK(parts.size() <= 2, parts.size(), " parts of an FP8 product");
    const Tensors inputs = tensors_of(parts);
    if (at::GradMode::is_enabled()) {
        return Float8Linear::apply(path, products, at::TensorList(inputs), weight);
    }
    const Float8Matrix x =
        float8_rows(path, matrices_of(inputs), {at::kFloat8_e4m3fn, products.kind});
    return forward_product(path, x, weight, products)
        .view(with_width(inputs.front().sizes(), weight.size(0)));
}

}  // namespace flux::kernels
