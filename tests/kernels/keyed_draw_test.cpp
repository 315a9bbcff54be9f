#include "flux/kernels/keyed_draw.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <gtest/gtest.h>

#include "flux/kernels/cuda_device.h"

namespace flux::kernels {
namespace {

constexpr DrawKey kKey{.seed = 11, .purpose = Purpose::kNoise};

at::Tensor indices(int64_t begin, int64_t end) { return at::arange(begin, end, at::kLong); }

TEST(KeyedDraw, RowsDependOnTheirIndexOnly) {
    const at::Tensor all = keyed_normal(kKey, indices(0, 8), {3, 5});
    const at::Tensor some = keyed_normal(kKey, indices(6, 8), {3, 5});
    EXPECT_TRUE(all.narrow(0, 6, 2).equal(some));
    EXPECT_FALSE(all[0].equal(all[1]));
}

TEST(KeyedDraw, SeedPurposeAndSubChangeEverything) {
    const at::Tensor base = keyed_uniform(kKey, indices(0, 2), {64});
    for (const DrawKey& other : {DrawKey{12, Purpose::kNoise}, DrawKey{11, Purpose::kTimestep},
                                 DrawKey{11, Purpose::kNoise, 1}}) {
        EXPECT_EQ((base == keyed_uniform(other, indices(0, 2), {64})).sum().item<int64_t>(), 0);
    }
}

TEST(KeyedDraw, UniformMatchesTheHostDraw) {
    const at::Tensor drawn = keyed_uniform(kKey, indices(5, 6), {7});
    for (uint32_t i = 0; i < 7; ++i) {
        EXPECT_EQ(drawn[0][i].item<float>(), (Draw{11, Purpose::kNoise, 5}.uniform(i)));
    }
}

TEST(KeyedDraw, MomentsOfAMillion) {
    const at::Tensor normal = keyed_normal(kKey, indices(0, 1000), {1000});
    EXPECT_NEAR(normal.mean().item<double>(), 0, 5e-3);
    EXPECT_NEAR(normal.std().item<double>(), 1, 5e-3);
    EXPECT_NEAR(normal.pow(4).mean().item<double>(), 3, 5e-2);
    const at::Tensor uniform = keyed_uniform(kKey, indices(0, 1000), {1000});
    EXPECT_NEAR(uniform.mean().item<double>(), 0.5, 2e-3);
    EXPECT_GE(uniform.min().item<double>(), 0);
    EXPECT_LT(uniform.max().item<double>(), 1);
}

TEST(KeyedFill, PiecesEqualTheWhole) {
    at::Tensor whole = at::empty({37}, at::kFloat);
    keyed_fill_(whole, Distribution::kNormal, kKey, 9, 0);
    for (const int64_t cut : {1, 2, 3, 4, 18, 36}) {
        at::Tensor head = at::empty({cut}, at::kFloat);
        at::Tensor tail = at::empty({37 - cut}, at::kFloat);
        keyed_fill_(head, Distribution::kNormal, kKey, 9, 0);
        keyed_fill_(tail, Distribution::kNormal, kKey, 9, cut);
        EXPECT_TRUE(whole.narrow(0, 0, cut).equal(head)) << cut;
        EXPECT_TRUE(whole.narrow(0, cut, 37 - cut).equal(tail)) << cut;
    }
}

TEST(GpuKeyedDraw, MatchesTheCpu) {
    if (const auto problem = cuda_problem()) {
        GTEST_SKIP() << "needs a GPU: " << *problem;
    }
    const at::Tensor index = indices(3, 70);
    const at::Tensor on_gpu = index.to(at::kCUDA);
    EXPECT_TRUE(
        keyed_uniform(kKey, on_gpu, {5, 7}).cpu().equal(keyed_uniform(kKey, index, {5, 7})));
    EXPECT_TRUE(keyed_normal(kKey, on_gpu, {5, 7})
                    .cpu()
                    .allclose(keyed_normal(kKey, index, {5, 7}), 1e-5, 1e-6));
    at::Tensor tail = at::empty({1001}, at::TensorOptions(at::kCUDA).dtype(at::kFloat));
    at::Tensor same = at::empty({1001}, at::kFloat);
    keyed_fill_(tail, Distribution::kUniform, kKey, 9, 13);
    keyed_fill_(same, Distribution::kUniform, kKey, 9, 13);
    EXPECT_TRUE(tail.cpu().equal(same));
}

}  // namespace
}  // namespace flux::kernels
