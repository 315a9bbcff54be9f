// Fused operations against their twins, forward and backward: the error of each against the twin in
// fp64 may be at most twice the twin's own in the same dtype.
#include "flux/kernels/fused.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <functional>
#include <limits>
#include <string_view>
#include <vector>

namespace flux::kernels {
namespace {

using Tensors = std::vector<at::Tensor>;

/// An operation on shapes that fill no vector and no chunk of rows evenly.
struct Case {
    const char* name;
    std::vector<std::vector<int64_t>> inputs;
    std::function<Tensors(Path, const Tensors&)> run;
};

constexpr int64_t kBatch = 3, kTokens = 37, kHeads = 3, kSize = 10, kHidden = kHeads * kSize;
constexpr int64_t kInner = 45, kOthers = 70;

at::Tensor angles(int64_t tokens) {
    return at::randn({1, 1, tokens, kSize / 2}, at::TensorOptions().dtype(at::kFloat));
}

Tensors outputs(const Heads& heads) {
    Tensors all{heads.q, heads.k, heads.v};
    if (heads.mlp.defined()) {
        all.push_back(heads.mlp);
    }
    return all;
}

/// Of [B, 1, C] vectors that lie in one tensor, as a modulation gives them.
at::Tensor vector_of(const at::Tensor& all, int64_t i) {
    return all.chunk(3, -1)[static_cast<size_t>(i)];
}

std::vector<Case> cases() {
    const std::vector<int64_t> x{kBatch, kTokens, kHidden}, vectors{kBatch, 1, 3 * kHidden};
    const at::Tensor one = angles(kTokens), two = angles(kTokens + kOthers);
    std::vector<Case> all;
    all.push_back({"norm_modulate", {x, vectors}, [](Path path, const Tensors& in) -> Tensors {
                       return {
                           norm_modulate(path, in[0], vector_of(in[1], 0), vector_of(in[1], 1))};
                   }});
    all.push_back(
        {"gated_residual", {x, vectors, x, {kHidden}}, [](Path path, const Tensors& in) -> Tensors {
             return {gated_residual(path, in[0], vector_of(in[1], 2), in[2], in[3])};
         }});
    all.push_back({"bias_gelu",
                   {{kBatch, kTokens, kInner}, {kInner}},
                   [](Path path, const Tensors& in) -> Tensors {
                       return {bias_gelu(path, 3 * in[0], in[1])};
                   }});
    all.push_back({"heads_of_two_parts",
                   {{kBatch, kOthers, 3 * kHidden},
                    {kSize},
                    {kSize},
                    {kBatch, kTokens, 3 * kHidden},
                    {3 * kHidden},
                    {kSize},
                    {kSize}},
                   [two](Path path, const Tensors& in) {
                       const std::array parts{PackedHeads{in[0], {}, in[1], in[2], kHeads},
                                              PackedHeads{in[3], in[4], in[5], in[6], kHeads}};
                       return outputs(split_heads(path, parts, two.cos(), two.sin(), 1e-6));
                   }});
    all.push_back(
        {"heads_and_mlp",
         {{kBatch, kTokens, 3 * kHidden + kInner}, {3 * kHidden + kInner}, {kSize}, {kSize}},
         [one](Path path, const Tensors& in) {
             const std::array parts{PackedHeads{in[0], in[1], in[2], in[3], kHeads}};
             return outputs(split_heads(path, parts, one.cos(), one.sin(), 1e-6));
         }});
    // Tiles of 128 queries and 256 keys, panels of 64: less than one of each, and several.
    for (const auto& heads : {std::vector<int64_t>{kBatch, kHeads, kTokens, kSize},
                              std::vector<int64_t>{1, 2, 331, 70}}) {
        all.push_back(
            {"attention", {heads, heads, heads}, [](Path path, const Tensors& in) -> Tensors {
                 return {attention(path, in[0], in[1], in[2])};
             }});
    }
    all.push_back({"linear_pair",
                   {x, {kBatch, kTokens, kInner}, {20, kHidden + kInner}},
                   [](Path path, const Tensors& in) -> Tensors {
                       return {linear_pair(path, in[0], in[1], in[2])};
                   }});
    all.push_back({"linear", {x, {20, kHidden}, {20}}, [](Path path, const Tensors& in) -> Tensors {
                       return {path == Path::kFused ? linear(in[0], in[1], in[2])
                                                    : (in[0].matmul(in[1].t()) + in[2])};
                   }});
    return all;
}

/// Results, then gradients of all inputs, in fp64.
Tensors results(const Case& test_case, Path path, const Tensors& inputs, at::ScalarType dtype) {
    const at::AutoGradMode enable(true);
    Tensors leaves;
    for (const at::Tensor& input : inputs) {
        leaves.push_back(input.to(dtype).detach().set_requires_grad(true));
    }
    Tensors all = test_case.run(path, leaves);
    at::Tensor sum;
    for (size_t i = 0; i < all.size(); ++i) {
        // A fixed direction in which gradients differ from element to element.
        const at::Tensor weights =
            at::ones(all[i].sizes(), at::kDouble).cumsum(-1).add(static_cast<double>(i)).sin();
        const at::Tensor part = (all[i].to(at::kDouble) * weights).sum();
        sum = sum.defined() ? sum + part : part;
    }
    sum.backward();
    for (const at::Tensor& leaf : leaves) {
        all.push_back(leaf.grad());
    }
    for (at::Tensor& tensor : all) {
        tensor = tensor.detach().to(at::kDouble);
    }
    return all;
}

double error(const at::Tensor& found, const at::Tensor& expected) {
    return ((found - expected).norm() / expected.norm()).item<double>();
}

class Fused : public testing::TestWithParam<at::ScalarType> {};

TEST_P(Fused, IsAsExactAsItsTwin) {
    for (const Case& test_case : cases()) {
        Tensors inputs;
        for (const auto& shape : test_case.inputs) {
            // What the dtype can hold, so that both start from the same numbers.
            inputs.push_back(at::randn(shape).to(GetParam()).to(at::kDouble));
        }
        const Tensors exact = results(test_case, Path::kTwin, inputs, at::kDouble);
        const Tensors twin = results(test_case, Path::kTwin, inputs, GetParam());
        const Tensors fused = results(test_case, Path::kFused, inputs, GetParam());
        ASSERT_EQ(fused.size(), exact.size());
        for (size_t i = 0; i < exact.size(); ++i) {
            ASSERT_EQ(fused[i].sizes(), exact[i].sizes());
            // A twin that only copies is exact, up to the rounding of its tables.
            EXPECT_LE(error(fused[i], exact[i]), 2 * error(twin[i], exact[i]) + 1e-7)
                << test_case.name << ", tensor " << i;
        }
    }
}

INSTANTIATE_TEST_SUITE_P(Dtypes, Fused, testing::Values(at::kFloat, at::kBFloat16));

TEST(FusedNumbers, DoNotDependOnTheThreads) {
    for (const Case& test_case : cases()) {
        if (std::string_view(test_case.name).starts_with("linear")) {
            continue;  // a product of the library's
        }
        Tensors inputs;
        for (const auto& shape : test_case.inputs) {
            inputs.push_back(at::randn(shape, at::kDouble));
        }
        for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
            at::set_num_threads(1);
            const Tensors one = results(test_case, Path::kFused, inputs, dtype);
            at::set_num_threads(2);
            const Tensors two = results(test_case, Path::kFused, inputs, dtype);
            at::set_num_threads(1);
            for (size_t i = 0; i < one.size(); ++i) {
                EXPECT_TRUE(one[i].equal(two[i])) << test_case.name << ", tensor " << i;
            }
        }
    }
}

TEST(FusedNumbers, WhatIsNotFiniteStaysSo) {
    constexpr float kInfinity = std::numeric_limits<float>::infinity();
    const at::Tensor u = at::zeros({1, 2, 3});
    u[0][0][0] = std::numeric_limits<float>::quiet_NaN();
    u[0][0][1] = kInfinity;
    u[0][1][0] = -100;
    for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
        const at::Tensor y =
            bias_gelu(Path::kFused, u.to(dtype), at::zeros({3}).to(dtype)).to(at::kFloat);
        EXPECT_TRUE(std::isnan(y[0][0][0].item<float>()));
        EXPECT_EQ(y[0][0][1].item<float>(), kInfinity);
        EXPECT_EQ(y[0][0][2].item<float>(), 0.0F);
        EXPECT_NEAR(y[0][1][0].item<float>(), 0.0F, 1e-30F);
    }
    const at::Tensor vectors = at::zeros({1, 1, 3});
    EXPECT_TRUE(norm_modulate(Path::kFused, u, vectors, vectors)[0][0].isnan().all().item<bool>());
}

}  // namespace
}  // namespace flux::kernels
