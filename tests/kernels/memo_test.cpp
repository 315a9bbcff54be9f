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

#include "flux/kernels/cuda_device.h"
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

/// Attention and MLP side by side as in a block.
class SecondRun : public testing::TestWithParam<c10::DeviceType> {
protected:
    static constexpr int64_t kHeads = 2, kSize = 8, kTokens = 6, kInner = 20;
    static constexpr int64_t kHidden = kHeads * kSize;

    void SetUp() override {
        if (GetParam() == at::kCUDA && cuda_problem()) {
            GTEST_SKIP() << "needs a GPU: " << *cuda_problem();
        }
        const auto options = at::TensorOptions(GetParam());
        leaves_ = {at::randn({2, kTokens, 3 * kHidden + kInner}, options),
                   at::randn({kInner}, options), at::randn({kHidden, kHidden + kInner}, options)};
        for (at::Tensor& leaf : leaves_) {
            leaf.set_requires_grad(true);
        }
        scale_ = at::ones({kSize}, options);
        table_ = at::ones({1, 1, kTokens, kSize}, options);
    }

    at::Tensor run(Memo* memo) {
        const std::array packed{PackedHeads{leaves_[0], {}, scale_, scale_, kHeads}};
        heads_ = split_heads(Path::kFused, packed, table_, table_, 1e-6, memo);
        const at::Tensor attended =
            attention(Path::kFused, heads_.q, heads_.k, heads_.v, heads_.remake, memo);
        inner_ = bias_gelu(Path::kFused, leaves_[0].narrow(2, 0, kInner), leaves_[1], memo);
        const std::array pair{LinearInput{attended}, heads_.mlp};
        const std::array other{LinearInput{attended}, inner_};
        return linear(Path::kFused, pair, leaves_[2], memo) +
               linear(Path::kFused, other, leaves_[2], memo);
    }

    static bool is_left_out(const at::Tensor& x) { return x.isnan().all().item<bool>(); }

    Tensors leaves_;
    at::Tensor scale_, table_;
    Heads heads_;
    LinearInput inner_;
};

TEST_P(SecondRun, LeavesOutWhatNobodyReadsAndGivesTheSameGradients) {
    const at::AutoGradMode enable(true);
    run(nullptr).square().sum().backward();
    Tensors expected;
    for (at::Tensor& leaf : leaves_) {
        expected.push_back(leaf.grad().clone());
        leaf.mutable_grad().reset();
    }
    Memo memo;
    at::Tensor first;
    {
        const at::NoGradGuard no_grad;
        first = run(&memo);
    }
    EXPECT_FALSE(is_left_out(inner_.x));
    memo.run_again();
    const at::Tensor second = run(&memo);
    memo.check_used_up();
    EXPECT_TRUE(is_left_out(inner_.x));
    EXPECT_TRUE(is_left_out(heads_.mlp.x));
    EXPECT_EQ(is_left_out(heads_.q), GetParam() == at::kCPU && fuses_attention_on_cpu(at::kFloat));
    EXPECT_TRUE(second.equal(first));
    second.square().sum().backward();
    for (size_t i = 0; i < expected.size(); ++i) {
        EXPECT_TRUE(leaves_[i].grad().equal(expected[i])) << i;
    }
}

TEST_P(SecondRun, RefusesToReadWhatWasLeftOut) {
    const at::AutoGradMode enable(true);
    Memo memo;
    memo.run_again();
    const LinearInput inner =
        bias_gelu(Path::kFused, leaves_[0].narrow(2, 0, kInner), leaves_[1], &memo);
    const at::Tensor weight = leaves_[2].narrow(1, 0, kInner);
    EXPECT_ANY_THROW(linear(Path::kFused, std::array{inner}, weight));  // without the memo
    if (fuses_attention_on_cpu(at::kFloat) && GetParam() == at::kCPU) {
        const std::array packed{PackedHeads{leaves_[0], {}, scale_, scale_, kHeads}};
        const Heads heads = split_heads(Path::kFused, packed, table_, table_, 1e-6, &memo);
        for (const Path path : {Path::kFused, Path::kTwin}) {
            EXPECT_ANY_THROW(attention(path, heads.q, heads.k, heads.v));
        }
    }
}

INSTANTIATE_TEST_SUITE_P(Cpu, SecondRun, testing::Values(at::kCPU));
INSTANTIATE_TEST_SUITE_P(Gpu, SecondRun, testing::Values(at::kCUDA));

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
