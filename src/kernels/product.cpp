#include "kernels/product.h"

#include <ATen/ops/addmm.h>
#include <ATen/ops/mm.h>

#include "kernels/row_kernel_choice.h"

namespace at::native {
// Of LibTorch, exported and without a header: result = alpha mat1 mat2 + beta result, by oneDNN.
void mkldnn_matmul(const Tensor& mat1, const Tensor& mat2, const Tensor& result, float beta,
                   float alpha);
}  // namespace at::native

namespace flux::kernels {
namespace {

bool mkl_knows_processor() {
#if defined(__x86_64__)
    __builtin_cpu_init();
    return __builtin_cpu_is("intel") != 0;
#else
    return true;  // there is no MKL: ATen has what fits
#endif
}

}  // namespace

bool prefers_onednn(const at::Tensor& x) {
    // mkldnn_matmul() refuses processors without AVX-512, in fp32 too.
    static const bool prefers =
        !mkl_knows_processor() && instruction_set() == InstructionSet::kAvx512;
    return prefers && x.is_cpu() && x.scalar_type() == at::kFloat && x.numel() > 0;
}

void product_(at::Tensor out, const at::Tensor& a, const at::Tensor& b, bool add) {
    if (prefers_onednn(a)) {
        at::native::mkldnn_matmul(a, b, out, add ? 1.0F : 0.0F, 1.0F);
    } else if (add) {
        at::addmm_out(out, out, a, b);
    } else {
        at::mm_out(out, a, b);
    }
}

}  // namespace flux::kernels
