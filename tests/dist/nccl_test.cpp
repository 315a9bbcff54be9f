// NCCL on one GPU: the operations, their order on streams, and what is counted.
#include <ATen/ops/arange.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include "dist/nccl_communicator.h"
#include "flux/kernels/cuda_device.h"
#include "support/group.h"

namespace flux::dist {
namespace {

using namespace std::chrono_literals;

TEST(GpuNcclCommunicator, AGroupOfOneRank) {
    if (const auto problem = kernels::cuda_problem()) {
        GTEST_SKIP() << *problem;
    }
    ProcessPlace place;
    place.master_port = test::free_port();
    Store store(place, 30s);
    const c10::Device gpu(at::kCUDA, 0);
    const auto group = make_nccl_communicator(
        store, {.name = "one", .rank = 0, .size = 1, .device = gpu, .timeout = 30s});
    for (const auto dtype : {at::kFloat, at::kBFloat16}) {
        const at::Tensor input = at::arange(1000, at::TensorOptions(gpu).dtype(dtype));
        at::Tensor gathered = at::zeros({1000}, input.options());
        at::Tensor part = at::zeros({1000}, input.options());
        Pending gather = group->all_gather(gathered, input);
        Pending scatter = group->reduce_scatter(part, input);
        gather.wait();
        scatter.wait();
        EXPECT_TRUE(gathered.equal(input));
        EXPECT_TRUE(part.equal(input));
        group->all_reduce(part).wait();
        EXPECT_TRUE(part.equal(input));
    }
    EXPECT_EQ(group->traffic().total(), 0);  // nobody to send to
    EXPECT_EQ(group->traffic().operations, 6);
}

}  // namespace
}  // namespace flux::dist
