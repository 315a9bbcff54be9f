#include "flux/kernels/device_copy.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include "flux/kernels/cuda_device.h"

namespace flux::kernels {
namespace {

TEST(DeviceCopies, OnACpuThereIsNothingToCopy) {
    const at::Tensor host = at::arange(6);
    EXPECT_TRUE(DeviceCopies(at::kCPU)(host).is_alias_of(host));
    EXPECT_TRUE(to_device(host, at::kCPU).is_alias_of(host));
}

TEST(GpuDeviceCopies, ArriveInOrder) {
    if (const auto problem = cuda_problem()) {
        GTEST_SKIP() << "needs a GPU: " << *problem;
    }
    const c10::Device gpu(at::kCUDA, 0);
    const DeviceCopies copies(gpu);
    at::Tensor sum = at::zeros({1 << 20}, at::TensorOptions(gpu).dtype(at::kLong));
    for (int64_t i = 0; i < 20; ++i) {
        const at::Tensor host = at::arange(i, i + (1 << 20));
        sum.add_(copies(i % 2 == 0 ? host.pin_memory() : host));
        sum.add_(to_device(host, gpu));
    }
    const at::Tensor expected = at::arange(1 << 20) * 40 + 380;
    EXPECT_TRUE(at::equal(sum.cpu(), expected));
}

}  // namespace
}  // namespace flux::kernels
