// Linear layers in FP8: their products, forward and backward. float8_casts.h makes the factors.
#include <ATen/TensorOperators.h>
#include <ATen/ops/_scaled_mm.h>
#include <ATen/ops/mm.h>

#include <vector>

#include "kernels/float8_casts.h"
#include "kernels/kept_tensors.h"
#include "kernels/left_out.h"
#include "kernels/linear_parts.h"

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
    check_made(inputs);
    for (const at::Tensor& input : inputs) {
        all.push_back(matrix_of(input));
    }
    return all;
}

/// x: the inputs side by side.
at::Tensor forward_product(Path path, const Products& products, const Float8Matrix& x,
                           const at::Tensor& weight, at::IntArrayRef shape) {
    return product(x, float8_rows(path, {weight}, {at::kFloat8_e4m3fn, products.kind}),
                   weight.scalar_type(), products, /*fast=*/true)
        .view(with_width(shape, weight.size(0)));
}

struct Float8Linear : torch::autograd::Function<Float8Linear> {
    static at::Tensor forward(AutogradContext* context, Path path, const Products& products,
                              at::TensorList inputs, std::span<const LinearInput> parts,
                              const at::Tensor& weight, Memo* memo) {
        KeptTensors::save(context, kept_by_linear(inputs, parts, weight));
        context->saved_data["path"] = static_cast<int64_t>(path);
        context->saved_data["kind"] = static_cast<int64_t>(products.kind);
        context->saved_data["emulated"] = products.emulated;
        return recall(memo, 1, [&] {
            const Float8Cast cast{at::kFloat8_e4m3fn, products.kind};
            return Tensors{forward_product(path, products,
                                           float8_rows(path, matrices_of(inputs), cast), weight,
                                           inputs.front().sizes())};
        })[0];
    }

    static variable_list backward(AutogradContext* context, const variable_list& gradients) {
        const KeptTensors kept(context);
        const at::Tensor weight = kept[0].front();
        const Products products{.kind = static_cast<Kind>(context->saved_data["kind"].toInt()),
                                .emulated = context->saved_data["emulated"].toBool()};
        const auto path = static_cast<Path>(context->saved_data["path"].toInt());
        const bool rowwise = products.kind == Kind::kRowwise;
        const Float8Cast cast{rowwise ? at::kFloat8_e4m3fn : at::kFloat8_e5m2, products.kind};
        const at::Tensor dy = matrix_of(gradients[0]).contiguous();
        Float8Matrix up;  // along rows; if these have scales of their own, made when needed
        if (!rowwise) {
            up = float8_rows(path, {dy}, cast);
        }
        const at::Tensor dweight =
            product(rowwise ? float8_columns(path, {dy}, cast) : transposed(path, up),
                    input_columns(path, kept, products), weight.scalar_type(), products, rowwise);
        if (rowwise) {
            up = float8_rows(path, {dy}, cast);
        }
        variable_list found{{}, {}};  // nothing for path and products
        const variable_list inputs = input_gradients(path, up, weight, kept.shape(1), products);
        found.insert(found.end(), inputs.begin(), inputs.end());
        found.insert(found.end(), {at::Tensor(), dweight, at::Tensor()});
        return found;
    }

private:
    static Float8Matrix transposed(Path path, const Float8Matrix& rows) {
        return {float8_transposed(path, rows.data), rows.inverse};
    }

    /// [C of all parts, R].
    static Float8Matrix input_columns(Path path, const KeptTensors& kept,
                                      const Products& products) {
        Tensors parts;
        for (size_t i = 1; i < kept.size(); ++i) {
            parts.push_back(matrix_of(kept[i].front()));
        }
        const Float8Cast cast{at::kFloat8_e4m3fn, products.kind};
        return products.kind == Kind::kRowwise ? float8_columns(path, parts, cast)
                                               : transposed(path, float8_rows(path, parts, cast));
    }

    /// dy W, for each of the one or two inputs. up: [R, out]; shape: of the first input.
    static variable_list input_gradients(Path path, const Float8Matrix& up,
                                         const at::Tensor& weight, at::IntArrayRef shape,
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
                         const at::Tensor& weight, Memo* memo) {
    check_linear(parts, weight);
    TORCH_CHECK(products.kind != Kind::kPlain, "a plain product is not one in FP8");
    TORCH_CHECK(parts.size() <= 2, parts.size(), " parts of an FP8 product");
    return Float8Linear::apply(path, products, at::TensorList(tensors_of(parts)), parts, weight,
                               memo);
}

}  // namespace flux::kernels
