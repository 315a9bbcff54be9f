// What is left for a second run, and what is made again: only what the other side expects.
#include "flux/kernels/memo.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/isnan.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <array>

#include "flux/kernels/fused.h"

namespace flux::kernels {
namespace {

using Tensors = std::vector<at::Tensor>;

Tensors numbered(int first, size_t count) {
    Tensors all;
    for (size_t i = 0; i < count; ++i) {
        all.push_back(at::zeros({1}) + first + static_cast<int>(i));
    }
    return all;
}

TEST(Memo, GivesTheFirstRunsResultsInTheirOrder) {
    Memo memo;
    int made = 0;
    const auto run = [&] {
        Tensors all;
        for (const size_t count : {1, 2}) {
            for (at::Tensor& tensor : recall(&memo, count, [&] {
                     made += static_cast<int>(count);
                     return numbered(10 * made, count);
                 })) {
                all.push_back(tensor);
            }
        }
        return all;
    };
    const Tensors first = run();
    memo.run_again();
    EXPECT_ANY_THROW(memo.check_used_up());
    const Tensors second = run();
    EXPECT_EQ(made, 3);
    for (size_t i = 0; i < first.size(); ++i) {
        EXPECT_TRUE(second[i].is_same(first[i])) << i;
    }
    EXPECT_NO_THROW(memo.check_used_up());
    EXPECT_ANY_THROW(recall(&memo, 1, [] { return numbered(0, 1); }));
}

TEST(Memo, RefusesAnotherCount) {
    Memo memo;
    EXPECT_ANY_THROW(recall(&memo, 2, [] { return numbered(0, 1); }));
    EXPECT_ANY_THROW(recall(nullptr, 2, [] { return numbered(0, 3); }));
}

/// Attention and MLP side by side as in a block, of inputs that change from run to run: `memo` is
/// asked for the results of the first.
struct TwoRuns {
    static constexpr int64_t kHeads = 2, kSize = 8, kTokens = 6, kInner = 20;
    static constexpr int64_t kHidden = kHeads * kSize;

    Tensors leaves{at::randn({2, kTokens, 3 * kHidden + kInner}), at::randn({kInner}),
                   at::randn({kHidden, kHidden + kInner})};
    at::Tensor scale = at::ones({kSize}), table = at::ones({1, 1, kTokens, kSize});
    Heads heads;
    LinearInput inner;

    TwoRuns() {
        for (at::Tensor& leaf : leaves) {
            leaf.set_requires_grad(true);
        }
    }

    at::Tensor run(Memo* memo) {
        const std::array packed{PackedHeads{leaves[0], {}, scale, scale, kHeads}};
        heads = split_heads(Path::kFused, packed, table, table, 1e-6, memo);
        const at::Tensor attended =
            attention(Path::kFused, heads.q, heads.k, heads.v, heads.remake, memo);
        inner = bias_gelu(Path::kFused, leaves[0].narrow(2, 0, kInner), leaves[1], memo);
        const std::array pair{LinearInput{attended}, heads.mlp},
            other{LinearInput{attended}, inner};
        return linear(Path::kFused, pair, leaves[2], memo) +
               linear(Path::kFused, other, leaves[2], memo);
    }
};

TEST(Memo, WhatOnlyItsReadersReadIsLeftOutOfASecondRun) {
    const at::AutoGradMode enable(true);
    TwoRuns runs;
    runs.run(nullptr).square().sum().backward();
    Tensors expected;
    for (at::Tensor& leaf : runs.leaves) {
        expected.push_back(leaf.grad().clone());
        leaf.mutable_grad().reset();
    }

    Memo memo;
    at::Tensor first;
    {
        const at::NoGradGuard no_grad;
        first = runs.run(&memo);
    }
    EXPECT_TRUE(runs.inner.x.isfinite().all().item<bool>());
    memo.run_again();
    const at::Tensor second = runs.run(&memo);
    memo.check_used_up();
    EXPECT_TRUE(runs.inner.x.isnan().all().item<bool>());
    EXPECT_TRUE(runs.heads.mlp.x.isnan().all().item<bool>());
    EXPECT_EQ(runs.heads.q.isnan().any().item<bool>(), fuses_attention_on_cpu(at::kFloat));
    EXPECT_TRUE(second.equal(first));
    second.square().sum().backward();
    for (size_t i = 0; i < expected.size(); ++i) {
        EXPECT_TRUE(runs.leaves[i].grad().equal(expected[i])) << i;
    }
}

TEST(Memo, TwinsMakeWhatTheyReadInASecondRunToo) {
    const at::AutoGradMode enable(true);
    const at::Tensor u = at::randn({1, 3, 4}), bias = at::randn({4});
    Memo memo;
    memo.run_again();
    EXPECT_TRUE(bias_gelu(Path::kTwin, u, bias, &memo).x.isfinite().all().item<bool>());
}

TEST(Memo, NothingIsLeftOutWhereNoGraphIsRecorded) {
    const at::NoGradGuard no_grad;  // and so nothing could make it again
    const at::Tensor u = at::randn({1, 3, 4}), bias = at::randn({4});
    Memo memo;
    memo.run_again();
    EXPECT_TRUE(bias_gelu(Path::kFused, u, bias, &memo).x.isfinite().all().item<bool>());
}

TEST(Remake, OfAnotherShapeOrCountIsRefusedInBackward) {
    const at::AutoGradMode enable(true);
    const at::Tensor x = at::randn({2, 3, 4}).set_requires_grad(true), weight = at::randn({5, 4});
    const auto backward = [&](decltype(Remake::make) make) {
        const std::array parts{LinearInput{x, {.from = {x}, .make = std::move(make)}}};
        linear(Path::kFused, parts, weight).sum().backward();
    };
    EXPECT_NO_THROW(backward([](const Tensors& from) { return from; }));
    EXPECT_ANY_THROW(
        backward([](const Tensors& from) { return Tensors{from[0].narrow(1, 0, 2)}; }));
    EXPECT_ANY_THROW(backward([](const Tensors& from) { return Tensors{from[0], from[0]}; }));
}

TEST(Remake, IsNotHeldWhereNoGraphIsRecorded) {
    const at::Tensor u = at::randn({1, 3, 4}), bias = at::randn({4});
    const at::NoGradGuard no_grad;
    EXPECT_TRUE(bias_gelu(Path::kFused, u, bias).remake.from.empty());
}

}  // namespace
}  // namespace flux::kernels
