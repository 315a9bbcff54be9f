// The linear layer with two inputs.
#include <ATen/TensorOperators.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>
#include <torch/csrc/autograd/custom_function.h>

#include "flux/kernels/fused.h"
#include "kernels/check_beside.h"
#include "kernels/fused_twin.h"

namespace flux::kernels {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

at::Tensor matrix_of(const at::Tensor& x) { return x.reshape({-1, x.size(-1)}); }

/// `like` with `width` numbers in each row.
at::Tensor empty_rows(const at::Tensor& like, int64_t width) {
    std::vector<int64_t> shape = like.sizes().vec();
    shape.back() = width;
    return at::empty(shape, like.options());
}

/// out = a b, or out + a b. a: [m, k]; b: [k, n]; out: [m, n].
void product_(at::Tensor out, const at::Tensor& a, const at::Tensor& b, bool add = false) {
    if (add) {
        at::addmm_out(out, out, a, b);
    } else {
        at::mm_out(out, a, b);
    }
}

struct LinearPair : torch::autograd::Function<LinearPair> {
    static at::Tensor forward(AutogradContext* context, const at::Tensor& a, const at::Tensor& b,
                              const at::Tensor& weight) {
        const at::Tensor left = matrix_of(a), right = matrix_of(b);
        context->save_for_backward({left, right, weight});
        context->saved_data["shape"] = a.sizes().vec();
        at::Tensor y = empty_rows(a, weight.size(0));
        const int64_t width = left.size(1);
        product_(matrix_of(y), left, weight.narrow(1, 0, width).t());
        product_(matrix_of(y), right, weight.narrow(1, width, right.size(1)).t(), true);
        return y;
    }

    static variable_list backward(AutogradContext* context, const variable_list& gradients) {
        const auto saved = context->get_saved_variables();
        const at::Tensor &left = saved[0], &right = saved[1], &weight = saved[2];
        const at::Tensor dy = matrix_of(gradients[0]).contiguous();
        const int64_t width = left.size(1);
        const auto shape = context->saved_data["shape"].toIntVector();
        at::Tensor dleft = at::empty_like(left, at::MemoryFormat::Contiguous);
        at::Tensor dright = at::empty_like(right, at::MemoryFormat::Contiguous);
        at::Tensor dweight = at::empty_like(weight);
        product_(dleft, dy, weight.narrow(1, 0, width));
        product_(dright, dy, weight.narrow(1, width, right.size(1)));
        product_(dweight.narrow(1, 0, width), dy.t(), left);
        product_(dweight.narrow(1, width, right.size(1)), dy.t(), right);
        std::vector<int64_t> wide = shape;
        wide.back() = right.size(1);
        return {dleft.view(shape), dright.view(wide), dweight};
    }
};

}  // namespace

at::Tensor linear_pair(Path path, const at::Tensor& a, const at::Tensor& b,
                       const at::Tensor& weight) {
    check_shape(a, {-1, -1, -1}, "a");
    check_beside(a, b, {a.size(0), a.size(1), -1}, "b");
    check_beside(a, weight, {-1, a.size(2) + b.size(2)}, "weight");
    return path == Path::kFused ? LinearPair::apply(a, b, weight) : twin::linear_pair(a, b, weight);
}

}  // namespace flux::kernels
