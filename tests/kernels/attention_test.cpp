// Attention in tiles on CPUs, where this processor runs it: its error, numbers that are not finite,
// and that threads change none. Elsewhere it is ATen's, and all but the last is skipped.
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/Version.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/randn.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "flux/kernels/fused.h"
#include "support/tensor_match.h"

namespace flux::kernels {
namespace {

using test::relative_l2;
using Tensors = std::vector<at::Tensor>;

/// Result, then gradients of q, k and v, for the gradient `dout` of the result.
Tensors results(Path path, const Tensors& inputs, const at::Tensor& dout, at::ScalarType dtype) {
    const at::AutoGradMode enable(true);
    Tensors leaves;
    for (const at::Tensor& input : inputs) {
        leaves.push_back(input.to(dtype).detach().set_requires_grad(true));
    }
    Tensors all{attention(path, leaves[0], leaves[1], leaves[2])};
    all[0].backward(dout.to(dtype));
    for (const at::Tensor& leaf : leaves) {
        all.push_back(leaf.grad());
    }
    for (at::Tensor& tensor : all) {
        tensor = tensor.detach().to(at::kDouble);
    }
    return all;
}

class FusedAttention : public testing::TestWithParam<at::ScalarType> {
protected:
    void SetUp() override {
        if (!fuses_attention_on_cpu(GetParam())) {
            GTEST_SKIP() << "attention in " << c10::toString(GetParam())
                         << " is ATen's on this processor (" << at::get_cpu_capability() << ")";
        }
    }
};

TEST_P(FusedAttention, IsAsExactAsItsTwin) {
    // Tiles of 128 queries and 256 keys, panels of 64: less than one of each, whole ones, several.
    for (const std::vector<int64_t>& shape : {std::vector<int64_t>{3, 3, 37, 10},
                                              {3, 4, 37, 16},
                                              {3, 2, 37, 128},
                                              {2, 2, 256, 64},
                                              {1, 2, 331, 70}}) {
        SCOPED_TRACE(std::to_string(shape[2]) + " tokens, heads of " + std::to_string(shape[3]));
        Tensors inputs;
        for (int i = 0; i < 3; ++i) {
            inputs.push_back(at::randn(shape).to(GetParam()).to(at::kDouble));
        }
        const at::Tensor dout =
            at::randn({shape[0], shape[2], shape[1] * shape[3]}).to(GetParam()).to(at::kDouble);
        const Tensors exact = results(Path::kTwin, inputs, dout, at::kDouble);
        const Tensors twin = results(Path::kTwin, inputs, dout, GetParam());
        const Tensors fused = results(Path::kFused, inputs, dout, GetParam());
        for (size_t i = 0; i < exact.size(); ++i) {
            ASSERT_EQ(fused[i].sizes(), exact[i].sizes());
            EXPECT_LE(relative_l2(fused[i], exact[i]),
                      std::max(2 * relative_l2(twin[i], exact[i]), 1e-7))
                << "tensor " << i;
        }
    }
}

// Of a NaN's bits the arithmetic on exponents and the rounding to bf16 may make a number.
TEST_P(FusedAttention, WhatIsNotFiniteStaysSo) {
    const std::array values{
        std::bit_cast<float>(uint32_t{0x7fffffff}), std::bit_cast<float>(uint32_t{0xffffffff}),
        std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()};
    const at::Tensor dout = at::randn({1, 300, 2 * 16});
    for (size_t place = 0; place < 3; ++place) {
        for (const float value : values) {
            for (const int64_t token : {int64_t{5}, int64_t{299}}) {  // of either tile of keys
                SCOPED_TRACE("qkv"[place] + (" of token " + std::to_string(token)));
                Tensors inputs;
                for (int i = 0; i < 3; ++i) {
                    inputs.push_back(at::randn({1, 2, 300, 16}).to(GetParam()));
                }
                inputs[place][0][1][token][3].fill_(value);
                const Tensors exact = results(Path::kTwin, inputs, dout, at::kDouble);
                const Tensors fused = results(Path::kFused, inputs, dout, GetParam());
                for (size_t i = 0; i < exact.size(); ++i) {
                    EXPECT_TRUE(fused[i].isfinite().equal(exact[i].isfinite())) << "tensor " << i;
                }
                EXPECT_FALSE(fused[0].isfinite().all().item<bool>());
            }
        }
    }
}

TEST_P(FusedAttention, DoesNotDependOnTheThreads) {
    const int threads = at::get_num_threads();
    for (const std::vector<int64_t>& shape :
         {std::vector<int64_t>{3, 3, 37, 10}, {1, 2, 331, 70}}) {
        Tensors inputs;
        for (int i = 0; i < 3; ++i) {
            inputs.push_back(at::randn(shape));
        }
        const at::Tensor dout = at::randn({shape[0], shape[2], shape[1] * shape[3]});
        at::set_num_threads(1);
        const Tensors one = results(Path::kFused, inputs, dout, GetParam());
        at::set_num_threads(2);
        const Tensors two = results(Path::kFused, inputs, dout, GetParam());
        at::set_num_threads(threads);
        for (size_t i = 0; i < one.size(); ++i) {
            EXPECT_TRUE(one[i].equal(two[i])) << shape[2] << " tokens, tensor " << i;
        }
    }
}

INSTANTIATE_TEST_SUITE_P(Dtypes, FusedAttention, testing::Values(at::kFloat, at::kBFloat16));

}  // namespace
}  // namespace flux::kernels
