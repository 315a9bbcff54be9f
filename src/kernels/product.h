// Matrix products on the backend that is fastest where they run.
#pragma once

#include <ATen/core/Tensor.h>

namespace flux::kernels {

/// Whether fp32 products of host tensors go to oneDNN. ATen takes MKL, which on processors of other
/// makers than its own is 10 to 20 % slower here.
bool prefers_onednn(const at::Tensor& x);

/// out = a b, or out + a b. a: [m, k]; b: [k, n]; out: [m, n], rows dense.
void product_(at::Tensor out, const at::Tensor& a, const at::Tensor& b, bool add = false);

}  // namespace flux::kernels
