// What is left for a second run, and what is made again: only what the other side expects.
#include "flux/kernels/memo.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
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
