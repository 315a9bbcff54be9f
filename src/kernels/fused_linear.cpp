// linear(): the products of a layer whose inputs need not stand side by side, nor be kept for
// backward where they can be made again. Where a CPU multiplies bf16 slowly, both factors are
// widened to fp32 for the products, and the result, which adds up in fp32 there as well, is rounded
// once.
#include <ATen/TensorOperators.h>
#include <ATen/Version.h>
#include <ATen/cpu/Utils.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>

#include "flux/kernels/fused.h"
#include "kernels/fused_twin.h"
#include "kernels/kept_tensors.h"
#include "kernels/left_out.h"
#include "kernels/linear_parts.h"

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

/// [parts] weight^T. `inputs` are x of all parts, as gradients are for tensors.
struct FusedLinear : torch::autograd::Function<FusedLinear> {
    static at::Tensor forward(AutogradContext* context, at::TensorList inputs,
                              std::span<const LinearInput> parts, const at::Tensor& weight,
                              Memo* memo) {
        KeptTensors::save(context, kept_by_linear(inputs, parts, weight));
        return recall(memo, 1, [&] { return variable_list{product(inputs, weight)}; })[0];
    }

    static at::Tensor product(at::TensorList inputs, const at::Tensor& weight) {
        const at::Tensor matrix = factor(weight).t();
        const at::Tensor& x = inputs.front();
        const at::Tensor y = at::empty({x.size(0) * x.size(1), weight.size(0)}, matrix.options());
        int64_t column = 0;
        check_made(inputs);
        for (const at::Tensor& input : inputs) {
            product_(y, factor(matrix_of(input)), matrix.narrow(0, column, input.size(2)),
                     /*add=*/column > 0);
            column += input.size(2);
        }
        return y.to(x.scalar_type()).view(with_width(x.sizes(), weight.size(0)));
    }

    static variable_list backward(AutogradContext* context, const variable_list& gradients) {
        const KeptTensors kept(context);
        const at::Tensor weight = kept[0].front();
        const at::Tensor dy = factor(matrix_of(gradients[0]).contiguous());
        const at::Tensor dweight = weight_gradient(kept, weight, dy);
        const at::Tensor matrix = factor(weight);
        variable_list found;
        int64_t column = 0;
        for (size_t i = 1; i < kept.size(); ++i) {
            const at::Tensor columns = matrix.narrow(1, column, kept.shape(i).back());
            found.push_back(at::mm(dy, columns).to(weight.scalar_type()).view(kept.shape(i)));
            column += columns.size(1);
        }
        found.insert(found.end(),
                     {at::Tensor(), dweight, at::Tensor()});  // nothing for `parts`, `memo`
        return found;
    }

private:
    static at::Tensor weight_gradient(const KeptTensors& kept, const at::Tensor& weight,
                                      const at::Tensor& dy) {
        const at::Tensor dweight = at::empty(weight.sizes(), dy.options());
        int64_t column = 0;
        for (size_t i = 1; i < kept.size(); ++i) {
            const at::Tensor columns = dweight.narrow(1, column, kept.shape(i).back());
            product_(columns, dy.t(), factor(matrix_of(kept[i].front())));
            column += columns.size(1);
        }
        return dweight.to(weight.scalar_type());
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

at::Tensor linear(Path path, std::span<const LinearInput> parts, const at::Tensor& weight,
                  Memo* memo) {
    check_linear(parts, weight);
    if (path == Path::kTwin) {
        return twin::linear(parts, weight);
    }
    return FusedLinear::apply(at::TensorList(tensors_of(parts)), parts, weight, memo);
}

}  // namespace flux::kernels
