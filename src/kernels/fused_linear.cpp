// Linear layers with one input or two. Where a CPU multiplies bf16 slowly, both factors are widened
// to fp32 for the products, and the result, which adds up in fp32 there as well, is rounded once.
#include <ATen/TensorOperators.h>
#include <ATen/Version.h>
#include <ATen/cpu/Utils.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/mm.h>
#include <torch/csrc/autograd/custom_function.h>

#include <optional>

#include "flux/kernels/fused.h"
#include "kernels/check_beside.h"
#include "kernels/fused_twin.h"
#include "kernels/matrices.h"

namespace flux::kernels {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// As products take it.
at::Tensor factor(const at::Tensor& x) {
    return x.is_cpu() && widens_products(x.scalar_type()) ? x.to(at::kFloat) : x;
}

/// out = a b, or out + a b. a: [m, k]; b: [k, n]; out: [m, n].
void product_(at::Tensor out, const at::Tensor& a, const at::Tensor& b, bool add = false) {
    if (add) {
        at::addmm_out(out, out, a, b);
    } else {
        at::mm_out(out, a, b);
    }
}

/// [a, b] weight^T, or a weight^T without b.
struct FusedLinear : torch::autograd::Function<FusedLinear> {
    static at::Tensor forward(AutogradContext* context, const at::Tensor& a,
                              const std::optional<at::Tensor>& b, const at::Tensor& weight) {
        const at::Tensor left = matrix_of(a), right = b ? matrix_of(*b) : at::Tensor();
        context->save_for_backward({left, right, weight});
        context->saved_data["shape"] = a.sizes().vec();
        const at::Tensor matrix = factor(weight).t();
        const int64_t width = left.size(1);
        const at::Tensor y = at::empty({left.size(0), weight.size(0)}, matrix.options());
        product_(y, factor(left), matrix.narrow(0, 0, width));
        if (b) {
            product_(y, factor(right), matrix.narrow(0, width, right.size(1)), /*add=*/true);
        }
        return y.to(a.scalar_type()).view(with_width(a.sizes(), weight.size(0)));
    }

    static variable_list backward(AutogradContext* context, const variable_list& gradients) {
        const auto saved = context->get_saved_variables();
        const at::Tensor &left = saved[0], &right = saved[1];
        const at::Tensor dy = factor(matrix_of(gradients[0]).contiguous());
        const int64_t width = left.size(1), rest = saved[2].size(1) - width;
        const at::ScalarType dtype = left.scalar_type();
        const auto shape = context->saved_data["shape"].toIntVector();
        const auto gradient = [&](const at::Tensor& columns) {
            return at::mm(dy, columns).to(dtype).view(with_width(shape, columns.size(1)));
        };
        variable_list found(3);
        {
            const at::Tensor weight = factor(saved[2]);
            found[0] = gradient(weight.narrow(1, 0, width));
            if (rest > 0) {
                found[1] = gradient(weight.narrow(1, width, rest));
            }
        }
        const at::Tensor dweight = at::empty(saved[2].sizes(), dy.options());
        product_(dweight.narrow(1, 0, width), dy.t(), factor(left));
        if (rest > 0) {
            product_(dweight.narrow(1, width, rest), dy.t(), factor(right));
        }
        found[2] = dweight.to(dtype);
        return found;
    }
};

}  // namespace

// Measured beside fp32: the dot products of Zen 4 run twice as fast, those of Intel's AVX-512 half
// as fast. Not measured: AMX, which is meant to be several times as fast, and processors without
// either.
bool widens_products(at::ScalarType dtype) {
#if defined(__x86_64__)
    static const bool multiplies_bf16 = at::get_cpu_capability() == "AVX512" &&
                                        __builtin_cpu_supports("avx512bf16") != 0 &&
                                        (__builtin_cpu_is("amd") != 0 || at::cpu::init_amx());
    return dtype == at::kBFloat16 && !multiplies_bf16;
#else
    return false;
#endif
}

at::Tensor linear(Path path, const at::Tensor& x, const at::Tensor& weight) {
    check_shape(x, {-1, -1, -1}, "x");
    check_beside(x, weight, {-1, x.size(2)}, "weight");
    // In one dtype the library's is as good.
    return path == Path::kFused && x.is_cpu() && widens_products(x.scalar_type())
               ? FusedLinear::apply(x, std::nullopt, weight)
               : at::linear(x, weight);
}

at::Tensor linear_pair(Path path, const at::Tensor& a, const at::Tensor& b,
                       const at::Tensor& weight) {
    check_shape(a, {-1, -1, -1}, "a");
    check_beside(a, b, {a.size(0), a.size(1), -1}, "b");
    check_beside(a, weight, {-1, a.size(2) + b.size(2)}, "weight");
    return path == Path::kFused ? FusedLinear::apply(a, b, weight)
                                : twin::linear_pair(a, b, weight);
}

}  // namespace flux::kernels
