// Fused operations against their twins, forward and backward: the error of each against the twin in
// fp64 may be at most twice the twin's own in the same dtype.
#include "flux/kernels/fused.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "flux/kernels/cuda_device.h"
#include "support/tensor_match.h"

namespace flux::kernels {
namespace {

using test::relative_l2;
using Tensors = std::vector<at::Tensor>;

/// An operation.
struct Case {
    const char* name;
    std::vector<std::vector<int64_t>> inputs;
    std::function<Tensors(Path, const Tensors&)> run;
};

/// Sizes of the cases; no number of tokens fills chunks of rows evenly.
struct Sizes {
    int64_t heads, size, inner;  // of a head, of the MLP

    int64_t hidden() const { return heads * size; }
};
constexpr int64_t kBatch = 3, kTokens = 37, kOthers = 70;
constexpr int64_t kHidden = 30;

/// Cosines and sines of both channels of each pair.
std::pair<at::Tensor, at::Tensor> turns(int64_t tokens, int64_t size) {
    const at::Tensor angles = at::randn({1, 1, tokens, size / 2, 1});
    const at::Tensor signs = at::ones({2}).cumsum(0).mul(2).sub(3);  // -1, 1
    return {angles.cos().expand({1, 1, tokens, size / 2, 2}).flatten(-2),
            (angles.sin() * signs).flatten(-2)};
}

Tensors outputs(const Heads& heads) {
    Tensors all{heads.q, heads.k, heads.v};
    if (heads.mlp.x.defined()) {
        all.push_back(heads.mlp.x);
    }
    return all;
}

/// Of [B, 1, C] vectors that lie in one tensor, as a modulation gives them.
at::Tensor vector_of(const at::Tensor& all, int64_t i) {
    return all.chunk(3, -1)[static_cast<size_t>(i)];
}

std::vector<Case> cases(const Sizes& sizes) {
    const int64_t hidden = sizes.hidden(), size = sizes.size, inner = sizes.inner;
    const int64_t heads = sizes.heads;
    const std::vector<int64_t> x{kBatch, kTokens, hidden}, vectors{kBatch, 1, 3 * hidden};
    const auto one = turns(kTokens, size), two = turns(kTokens + kOthers, size);
    std::vector<Case> all;
    all.push_back({"norm_modulate", {x, vectors}, [](Path path, const Tensors& in) -> Tensors {
                       return {
                           norm_modulate(path, in[0], vector_of(in[1], 0), vector_of(in[1], 1)).x};
                   }});
    all.push_back(
        {"gated_residual", {x, vectors, x, {hidden}}, [](Path path, const Tensors& in) -> Tensors {
             return {gated_residual(path, in[0], vector_of(in[1], 2), in[2], in[3])};
         }});
    all.push_back({"bias_gelu",
                   {{kBatch, kTokens, inner}, {inner}},
                   [](Path path, const Tensors& in) -> Tensors {
                       return {bias_gelu(path, 3 * in[0], in[1]).x};
                   }});
    const std::vector<std::vector<int64_t>> two_parts{{kBatch, kOthers, 3 * hidden},
                                                      {size},
                                                      {size},
                                                      {kBatch, kTokens, 3 * hidden},
                                                      {3 * hidden},
                                                      {size},
                                                      {size}};
    const auto heads_of_parts = [two, heads](Path path, const Tensors& in) {
        const std::array packed{PackedHeads{in[0], {}, in[1], in[2], heads},
                                PackedHeads{in[3], in[4], in[5], in[6], heads}};
        return split_heads(path, packed, two.first.to(in[0].device()),
                           two.second.to(in[0].device()), 1e-6);
    };
    all.push_back({"heads_of_two_parts", two_parts, [=](Path path, const Tensors& in) {
                       return outputs(heads_of_parts(path, in));
                   }});
    all.push_back({"heads_and_mlp",
                   {{kBatch, kTokens, 3 * hidden + inner}, {3 * hidden + inner}, {size}, {size}},
                   [one, heads](Path path, const Tensors& in) {
                       const std::array parts{PackedHeads{in[0], in[1], in[2], in[3], heads}};
                       return outputs(split_heads(path, parts, one.first.to(in[0].device()),
                                                  one.second.to(in[0].device()), 1e-6));
                   }});
    all.push_back({"heads_of_two_parts_and_mlp",
                   {{kBatch, kTokens, 3 * hidden + inner},
                    {3 * hidden + inner},
                    {kBatch, kOthers, 3 * hidden},
                    {size},
                    {size}},
                   [two, heads](Path path, const Tensors& in) {
                       const std::array parts{PackedHeads{in[0], in[1], in[3], in[4], heads},
                                              PackedHeads{in[2], {}, in[3], in[4], heads}};
                       return outputs(split_heads(path, parts, two.first.to(in[0].device()),
                                                  two.second.to(in[0].device()), 1e-6));
                   }});
    // Not dense: every second picture, channel or number of a vector.
    all.push_back({"strided",
                   {{2 * kBatch, kTokens, 2 * hidden}, {kBatch, 1, 2 * hidden}, {2 * hidden}},
                   [](Path path, const Tensors& in) -> Tensors {
                       const at::Tensor part = in[0].slice(0, 0, {}, 2).slice(2, 0, {}, 2);
                       const at::Tensor vector = in[1].slice(2, 1, {}, 2);
                       const at::Tensor bias = in[2].slice(0, 1, {}, 2);
                       return {norm_modulate(path, part, vector, in[1].slice(2, 0, {}, 2)).x,
                               gated_residual(path, part, vector, part, bias),
                               bias_gelu(path, part, bias).x};
                   }});
    all.push_back({"linear", {x, {20, hidden}}, [](Path path, const Tensors& in) -> Tensors {
                       return {linear(path, std::array{LinearInput{in[0]}}, in[1])};
                   }});
    all.push_back({"linear_pair",
                   {x, {kBatch, kTokens, inner}, {20, hidden + inner}},
                   [](Path path, const Tensors& in) -> Tensors {
                       const std::array parts{LinearInput{in[0]}, LinearInput{in[1]}};
                       return {linear(path, parts, in[2])};
                   }});
    all.push_back(
        {"linear_of_norm", {x, vectors, {20, hidden}}, [](Path path, const Tensors& in) -> Tensors {
             const std::array parts{
                 norm_modulate(path, in[0], vector_of(in[1], 0), vector_of(in[1], 1))};
             return {linear(path, parts, in[2])};
         }});
    all.push_back({"linear_of_the_last_tokens_of_a_norm",
                   {x, vectors, {20, hidden}},
                   [](Path path, const Tensors& in) -> Tensors {
                       const LinearInput norm =
                           norm_modulate(path, in[0], vector_of(in[1], 0), vector_of(in[1], 1));
                       return {linear(path, std::array{tokens_from(5, norm)}, in[2])};
                   }});
    auto parts_and_weight = two_parts;
    parts_and_weight.push_back({20, hidden});
    all.push_back({"linear_of_attention_of_heads",  // fused on a CPU alone
                   parts_and_weight, [=](Path path, const Tensors& in) -> Tensors {
                       const Heads found = heads_of_parts(path, in);
                       const at::Tensor y =
                           attention(path, found.q, found.k, found.v, found.remake);
                       return {linear(path, std::array{LinearInput{y}}, in[7])};
                   }});
    all.push_back({"linear_of_gelu",
                   {{kBatch, kTokens, inner}, {inner}, {20, inner}},
                   [](Path path, const Tensors& in) -> Tensors {
                       return {linear(path, std::array{bias_gelu(path, 3 * in[0], in[1])}, in[2])};
                   }});
    all.push_back(
        {"linear_of_heads_and_gelu",
         {{kBatch, kTokens, 3 * hidden + inner},
          {3 * hidden + inner},
          {size},
          {size},
          {20, hidden + inner}},
         [one, heads](Path path, const Tensors& in) -> Tensors {
             const std::array packed{PackedHeads{in[0], in[1], in[2], in[3], heads}};
             const Heads found = split_heads(path, packed, one.first.to(in[0].device()),
                                             one.second.to(in[0].device()), 1e-6);
             const std::array parts{LinearInput{found.q.transpose(1, 2).flatten(2)}, found.mlp};
             return {found.k, found.v, linear(path, parts, in[4])};
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
        const at::Tensor weights = at::ones(all[i].sizes(), all[i].options().dtype(at::kDouble))
                                       .cumsum(-1)
                                       .add(static_cast<double>(i))
                                       .sin();
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

class Fused : public testing::TestWithParam<std::pair<at::DeviceType, at::ScalarType>> {
protected:
    static void expect_exact(const Case& test_case) {
        const auto [device, dtype] = GetParam();
        Tensors exact, twin, fused;
        for (int draw = 0; draw < kDraws; ++draw) {
            Tensors inputs;
            for (const auto& shape : test_case.inputs) {
                // What the dtype can hold, so that both start from the same numbers.
                inputs.push_back(at::randn(shape).to(dtype).to(device, at::kDouble));
            }
            append(exact, results(test_case, Path::kTwin, inputs, at::kDouble));
            append(twin, results(test_case, Path::kTwin, inputs, dtype));
            append(fused, results(test_case, Path::kFused, inputs, dtype));
        }
        ASSERT_EQ(fused.size(), exact.size());
        for (size_t i = 0; i < exact.size(); ++i) {
            ASSERT_EQ(fused[i].sizes(), exact[i].sizes());
            // A twin that only copies is exact, up to the rounding of its tables.
            EXPECT_LE(relative_l2(fused[i], exact[i]),
                      std::max(2 * relative_l2(twin[i], exact[i]), 1e-7))
                << test_case.name << ", tensor " << i;
        }
    }

private:
    /// The gradient of a scale has so few numbers that some draws may be exact by luck.
    static constexpr int kDraws = 16;

    /// Each draw's tensor behind those before it.
    static void append(Tensors& all, const Tensors& more) {
        all.resize(more.size());
        for (size_t i = 0; i < more.size(); ++i) {
            const at::Tensor one = more[i].unsqueeze(0);
            all[i] = all[i].defined() ? at::cat({all[i], one}) : one;
        }
    }
};

TEST_P(Fused, IsAsExactAsItsTwin) {
    if (GetParam().first == at::kCUDA) {
        if (const auto problem = cuda_problem()) {
            GTEST_SKIP() << "needs a GPU: " << *problem;
        }
    }
    // Nothing fills a vector evenly, or everything does.
    for (const Sizes& sizes : {Sizes{3, 10, 45}, Sizes{4, 16, 72}, Sizes{2, 128, 256}}) {
        for (const Case& test_case : cases(sizes)) {
            SCOPED_TRACE("heads of " + std::to_string(sizes.size));
            expect_exact(test_case);
        }
    }
}

INSTANTIATE_TEST_SUITE_P(Dtypes, Fused,
                         testing::Values(std::pair(at::kCPU, at::kFloat),
                                         std::pair(at::kCPU, at::kBFloat16)));
INSTANTIATE_TEST_SUITE_P(Gpu, Fused,
                         testing::Values(std::pair(at::kCUDA, at::kFloat),
                                         std::pair(at::kCUDA, at::kBFloat16)));

TEST(FusedNumbers, DoNotDependOnTheThreads) {
    const int threads = at::get_num_threads();
    for (const Case& test_case : cases(Sizes{3, 10, 45})) {
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
            at::set_num_threads(threads);
            for (size_t i = 0; i < one.size(); ++i) {
                EXPECT_TRUE(one[i].equal(two[i])) << test_case.name << ", tensor " << i;
            }
        }
    }
}

TEST(GpuFusedNumbers, AreTheSameInEveryRun) {
    if (const auto problem = cuda_problem()) {
        GTEST_SKIP() << "needs a GPU: " << *problem;
    }
    const at::Tensor x = at::randn({8, 500, 384}).to(at::kCUDA).set_requires_grad(true);
    const at::Tensor gate = at::randn({8, 1, 384}).to(at::kCUDA).set_requires_grad(true);
    const at::Tensor bias = at::randn({384}).to(at::kCUDA).set_requires_grad(true);
    Tensors found;
    for (int run = 0; run < 2; ++run) {
        for (at::Tensor leaf : {x, gate, bias}) {
            leaf.mutable_grad().reset();
        }
        const at::Tensor y = norm_modulate(Path::kFused, x, gate, gate).x;
        gated_residual(Path::kFused, x, gate, y, bias).square().sum().backward();
        for (const at::Tensor& leaf : {x, gate, bias}) {
            found.push_back(leaf.grad());
        }
    }
    for (size_t i = 0; i < 3; ++i) {
        EXPECT_TRUE(found[i].equal(found[i + 3])) << i;
    }
}

TEST(FusedChecks, RefuseWhatDoesNotFitOnBothPaths) {
    const at::Tensor x = at::zeros({2, 5, 8}), vector = at::zeros({2, 1, 8});
    const at::Tensor bias = at::zeros({8}), size = at::zeros({4});
    const at::Tensor qkv = at::zeros({2, 5, 24}), wide = at::zeros({2, 5, 30});
    const auto [cos, sin] = turns(5, 4);
    const at::Tensor q = at::zeros({2, 2, 5, 4});
    const auto heads = [&](Path path, std::vector<PackedHeads> parts, const at::Tensor& table) {
        split_heads(path, parts, table, table, 1e-6);
    };
    for (const Path path : {Path::kTwin, Path::kFused}) {
        EXPECT_ANY_THROW(norm_modulate(path, x, vector.narrow(0, 0, 1), vector));
        EXPECT_ANY_THROW(norm_modulate(path, x, x, vector));
        EXPECT_ANY_THROW(norm_modulate(path, x, vector.to(at::kBFloat16), vector));
        EXPECT_ANY_THROW(gated_residual(path, x, vector, x.narrow(1, 0, 4), bias));
        EXPECT_ANY_THROW(gated_residual(path, x, vector, x, bias.narrow(0, 0, 4)));
        EXPECT_ANY_THROW(bias_gelu(path, x, bias.to(at::kDouble)));
        EXPECT_ANY_THROW(heads(path, {}, cos));
        EXPECT_ANY_THROW(heads(path, {{qkv, {}, size, size, 2}}, turns(6, 4).first));
        EXPECT_ANY_THROW(heads(path, {{qkv, {}, size, size, 2}}, turns(4, 4).first));
        EXPECT_ANY_THROW(heads(path, {{qkv, {}, size, size, 2}}, cos.to(at::kBFloat16)));
        EXPECT_ANY_THROW(heads(path, {{qkv, bias, size, size, 2}}, cos));
        EXPECT_ANY_THROW(heads(path, {{qkv, {}, size, size.to(at::kBFloat16), 2}}, cos));
        const at::Tensor ten = turns(10, 4).first;
        EXPECT_ANY_THROW(heads(path, {{qkv, {}, size, size, 2}, {wide, {}, size, size, 2}}, ten))
            << "the MLP's input stands in the first part alone";
        EXPECT_ANY_THROW(attention(path, q, q.narrow(2, 0, 4), q));
        const LinearInput one{x}, fewer{x.narrow(1, 0, 4)};
        EXPECT_ANY_THROW(linear(path, {}, at::zeros({3, 8})));
        EXPECT_ANY_THROW(linear(path, std::array{one}, at::zeros({3, 15})));
        EXPECT_ANY_THROW(linear(path, std::array{one, one}, at::zeros({3, 15})));
        EXPECT_ANY_THROW(linear(path, std::array{one, fewer}, at::zeros({3, 16})));
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
            bias_gelu(Path::kFused, u.to(dtype), at::zeros({3}).to(dtype)).x.to(at::kFloat);
        EXPECT_TRUE(std::isnan(y[0][0][0].item<float>()));
        EXPECT_EQ(y[0][0][1].item<float>(), kInfinity);
        EXPECT_EQ(y[0][0][2].item<float>(), 0.0F);
        EXPECT_NEAR(y[0][1][0].item<float>(), 0.0F, 1e-30F);
    }
    const at::Tensor vectors = at::zeros({1, 1, 3});
    EXPECT_TRUE(
        norm_modulate(Path::kFused, u, vectors, vectors).x[0][0].isnan().all().item<bool>());
}

}  // namespace
}  // namespace flux::kernels
