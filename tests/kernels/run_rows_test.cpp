#include "kernels/run_rows.h"

#include <ATen/ops/empty.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "flux/kernels/chunk_count.h"

namespace flux::kernels {
namespace {

TEST(RunRows, ChunksAreCountedAsTheyAreDealtOut) {
    EXPECT_EQ(chunk_count(2, 70, at::kCPU), 2 * 3);  // of 32 rows
    EXPECT_EQ(chunk_count(2, 70, at::kCPU), rows_of(at::empty({2, 70, 5})).chunks());
    EXPECT_EQ(chunk_count(2, 70, at::kCUDA), 2 * 9);          // of 8
    EXPECT_EQ(chunk_count(16, 512, at::kCUDA), 16 * 16);      // of 32: enough
    EXPECT_EQ(chunk_count(15, 512, at::kCUDA), 15 * 2 * 16);  // of 16
}

TEST(RunRows, LaunchProblemsNameOperationAndShape) {
    const at::Tensor x = at::empty({2, 3, 4}, at::kBFloat16);
    EXPECT_THAT(launch_problem(9, "bias_gelu", x),
                testing::StartsWith("bias_gelu on BFloat16 [2, 3, 4]: CUDA error at launch: "));
    EXPECT_EQ(launch_problem(kNoKernel, "norm_modulate", x),
              "norm_modulate on BFloat16 [2, 3, 4]: no CUDA kernel is for such widths");
}

}  // namespace
}  // namespace flux::kernels
