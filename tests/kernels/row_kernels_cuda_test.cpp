// The CUDA bodies of row_kernels.h, run on the host, against those for CPUs: widths that fill whole
// vectors, or not, or many groups of them, and tensors that begin between two vectors.
#include <ATen/TensorOperators.h>
#include <ATen/ops/full.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/stack.h>
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <string>
#include <vector>

#include "kernels/cuda_on_host.h"
// After what stands in for CUDA.
#include "kernels/cuda_row_table.h"
#include "kernels/launch_on_host.h"
#include "support/tensor_match.h"

namespace flux::kernels {
namespace {

using Tensors = std::vector<at::Tensor>;

enum class Side { kCuda, kCpu };
constexpr auto as_they_are = [](Side, const Tensors&) {};

constexpr int64_t kBatch = 2, kTokens = 7;
constexpr Rows kRows{.batch = kBatch, .tokens = kTokens, .chunk = 4};

/// What a job of one dtype works on.
class CudaRows : public testing::TestWithParam<at::ScalarType> {
protected:
    /// `skipped` elements behind the beginning of its memory.
    static at::Tensor place(const at::Tensor& x, int64_t skipped) {
        return at::full({x.numel() + skipped}, 7, x.options())
            .narrow(0, skipped, x.numel())
            .view(x.sizes())
            .copy_(x);
    }
    static at::Tensor numbers(at::IntArrayRef shape, int64_t skipped = 0) {
        return place(at::randn(shape).to(GetParam()), skipped);
    }
    static at::Tensor empty(at::IntArrayRef shape, int64_t skipped = 0) {
        return place(at::full(shape, 7, at::TensorOptions(GetParam())), skipped);
    }
    static at::Tensor empty_floats(at::IntArrayRef shape) { return at::full(shape, 7, at::kFloat); }

    template <class Job, class Select>
    static void run(Side side, const Job& job, const Select& select) {
        const bool wide = GetParam() == at::kFloat;
        if (side == Side::kCpu) {
            const auto& set = kCpuKernelsGeneric;
            select((wide ? set.fp32 : set.bf16).rows)(job, 0, job.rows.chunks());
            return;
        }
        const auto table = wide ? cuda_row_table<float>() : cuda_row_table<Bf16>();
        ASSERT_EQ(select(table)(job, nullptr), 0);
    }

    /// Runs bodies on both sides, one after the other, and compares what they write. fill(side,
    /// out): gives `out` its tensors and returns the job that writes them. finish(side, out) makes
    /// them comparable.
    template <class Fill, class Finish, class... Selects>
    static void expect_same_on_both(const Fill& fill, const Finish& finish,
                                    const Selects&... selects) {
        std::array<Tensors, 2> found;
        for (const Side side : {Side::kCuda, Side::kCpu}) {
            Tensors& out = found[static_cast<size_t>(side)];
            const auto job = fill(side, out);
            (run(side, job, selects), ...);
            finish(side, out);
        }
        expect_same(found[0], found[1]);
    }

    static void expect_same(const Tensors& found, const Tensors& expected) {
        ASSERT_EQ(found.size(), expected.size());
        for (size_t i = 0; i < expected.size(); ++i) {
            // Both round once, from numbers that differ in the last bits of fp32.
            EXPECT_TRUE(
                test::relative_l2_within("tensor " + std::to_string(i), found[i], expected[i],
                                         expected[i].scalar_type() == at::kFloat ? 2e-6 : 4e-4));
        }
    }
};

TEST_P(CudaRows, NormModulate) {
    for (const auto& [channels, skipped] : {std::pair<int64_t, int64_t>{30, 0},
                                            {64, 0},
                                            {64, 1},
                                            {300, 0},
                                            {1100, 0},
                                            {3072, 0},
                                            {5001, 0},
                                            {9216, 0}}) {
        SCOPED_TRACE(std::to_string(channels) + " from " + std::to_string(skipped));
        const at::Tensor x = numbers({kBatch, kTokens, channels}, skipped);
        const at::Tensor dy = numbers({kBatch, kTokens, channels}, skipped);
        const at::Tensor vectors = numbers({kBatch, 3 * channels});
        const auto fill = [&](Side, Tensors& out) {
            out = {empty(x.sizes(), skipped), empty(x.sizes(), skipped),
                   empty_floats({kBatch, kTokens}), empty_floats({kBatch, kTokens}),
                   empty_floats({kRows.chunks(), 2 * channels})};
            return NormModulateJob{.rows = kRows,
                                   .channels = channels,
                                   .x = x.data_ptr(),
                                   .shift = vectors.narrow(1, channels, channels).data_ptr(),
                                   .scale = vectors.data_ptr(),
                                   .modulation_stride = 3 * channels,
                                   .mean = out[2].data_ptr<float>(),
                                   .rstd = out[3].data_ptr<float>(),
                                   .y = out[0].data_ptr(),
                                   .dy = dy.data_ptr(),
                                   .dx = out[1].data_ptr(),
                                   .sums = out[4].data_ptr<float>(),
                                   .eps = 1e-6};
        };
        // A mean may be next to nothing.
        const auto finish = [](Side, Tensors& out) { out[2] += 1; };
        expect_same_on_both(
            fill, finish, [](const auto& of) { return of.norm_modulate; },
            [](const auto& of) { return of.norm_modulate_backward; });
    }
}

TEST_P(CudaRows, GatedResidual) {
    for (const auto& [channels, skipped] :
         {std::pair<int64_t, int64_t>{30, 0}, {64, 0}, {64, 1}, {300, 0}, {3072, 0}}) {
        SCOPED_TRACE(std::to_string(channels) + " from " + std::to_string(skipped));
        const at::Tensor x = numbers({kBatch, kTokens, channels}, skipped);
        const at::Tensor y = numbers({kBatch, kTokens, channels}, skipped);
        const at::Tensor dout = numbers({kBatch, kTokens, channels}, skipped);
        const at::Tensor gate = numbers({kBatch, 2 * channels}), bias = numbers({channels}, 3);
        const auto fill = [&](Side, Tensors& out) {
            out = {empty(x.sizes(), skipped), empty(x.sizes(), skipped),
                   empty_floats({kRows.chunks(), 2 * channels})};
            return GatedResidualJob{.rows = kRows,
                                    .channels = channels,
                                    .x = x.data_ptr(),
                                    .y = y.data_ptr(),
                                    .gate = gate.data_ptr(),
                                    .gate_stride = 2 * channels,
                                    .bias = bias.data_ptr(),
                                    .out = out[0].data_ptr(),
                                    .dout = dout.data_ptr(),
                                    .dy = out[1].data_ptr(),
                                    .sums = out[2].data_ptr<float>()};
        };
        expect_same_on_both(
            fill, as_they_are, [](const auto& of) { return of.gated_residual; },
            [](const auto& of) { return of.gated_residual_backward; });
    }
}

TEST_P(CudaRows, Gelu) {
    for (const auto& [channels, before] :
         {std::pair<int64_t, int64_t>{45, 0}, {45, 7}, {64, 96}, {64, 3}, {2056, 24}}) {
        SCOPED_TRACE(std::to_string(channels) + " behind " + std::to_string(before));
        const int64_t stride = before + channels;
        const at::Tensor u = 3 * numbers({kBatch, kTokens, stride}), bias = numbers({channels});
        const at::Tensor dy = numbers({kBatch, kTokens, channels});
        const auto behind = [&](const at::Tensor& row) { return row.narrow(2, before, channels); };
        const auto fill = [&](Side, Tensors& out) {
            out = {empty(dy.sizes()), empty(u.sizes()), empty_floats({kRows.chunks(), channels})};
            return GeluJob{.rows = kRows,
                           .channels = channels,
                           .u = behind(u).data_ptr(),
                           .stride = stride,
                           .bias = before == 7 ? nullptr : bias.data_ptr(),
                           .y = out[0].data_ptr(),
                           .dy = dy.data_ptr(),
                           .du = behind(out[1]).data_ptr(),
                           .sums = out[2].data_ptr<float>()};
        };
        expect_same_on_both(
            fill, as_they_are, [](const auto& of) { return of.gelu; },
            [](const auto& of) { return of.gelu_backward; });
    }
}

struct HeadsCase {
    int64_t heads, size, others, skipped;  // others: numbers behind queries, keys and values
};

TEST_P(CudaRows, Heads) {
    for (const HeadsCase& c :
         {HeadsCase{3, 10, 0, 0}, HeadsCase{9, 16, 8, 0}, HeadsCase{3, 16, 5, 0},
          HeadsCase{3, 32, 0, 1}, HeadsCase{11, 128, 24, 0}, HeadsCase{2, 130, 0, 0},
          HeadsCase{2, 256, 8, 0}}) {
        SCOPED_TRACE(std::to_string(c.heads) + " heads of " + std::to_string(c.size));
        constexpr int64_t kAll = kTokens + 5, kOffset = 3;
        const int64_t channels = c.heads * c.size, stride = 3 * channels + c.others;
        const at::Tensor qkv = numbers({kBatch, kTokens, stride}, c.skipped);
        const at::Tensor bias = numbers({3 * channels});
        const at::Tensor scales = numbers({2, c.size});
        const at::Tensor angles = at::randn({kBatch, kAll, c.size / 2});
        const at::Tensor cos = at::stack({angles.cos(), angles.cos()}, -1).flatten(-2);
        const at::Tensor sin = at::stack({-angles.sin(), angles.sin()}, -1).flatten(-2);
        const at::Tensor given = numbers({3, kBatch, c.heads, kAll, c.size});
        const auto fill = [&](Side side, Tensors& out) {
            const bool cuda = side == Side::kCuda;
            out = {
                empty(given.sizes()), empty(qkv.sizes(), c.skipped),
                empty_floats({kRows.chunks(), (cuda ? 2 * channels : 2 * c.size) + 3 * channels})};
            return HeadsJob{.rows = kRows,
                            .heads = c.heads,
                            .head_size = c.size,
                            .qkv = qkv.data_ptr(),
                            .stride = stride,
                            .bias = bias.data_ptr(),
                            .query_scale = scales[0].data_ptr(),
                            .key_scale = scales[1].data_ptr(),
                            .cos = cos.data_ptr<float>(),
                            .sin = sin.data_ptr<float>(),
                            .table_stride = cos.stride(0),
                            .all_tokens = kAll,
                            .offset = kOffset,
                            .eps = 1e-6,
                            .q = out[0][0].data_ptr(),
                            .k = out[0][1].data_ptr(),
                            .v = out[0][2].data_ptr(),
                            .dq = given[0].data_ptr(),
                            .dk = given[1].data_ptr(),
                            .dv = given[2].data_ptr(),
                            .dqkv = out[1].data_ptr(),
                            .sums = out[2].data_ptr<float>()};
        };
        const auto finish = [&](Side, Tensors& out) {
            const at::Tensor scale_sums = out[2].narrow(1, 0, out[2].size(1) - 3 * channels);
            out.push_back(scale_sums.reshape({kRows.chunks(), 2, -1, c.size}).sum(2));
            out[2] = out[2].narrow(1, out[2].size(1) - 3 * channels, 3 * channels);
        };
        expect_same_on_both(
            fill, finish, [](const auto& of) { return of.heads; },
            [](const auto& of) { return of.heads_backward; });
    }
}

TEST_P(CudaRows, Adam) {
    for (const auto& [elements, skipped] :
         {std::pair<int64_t, int64_t>{1, 0}, {64, 0}, {64, 1}, {515, 0}, {515, 3}, {1500, 4}}) {
        for (const int form : {0, 1, 2, 3}) {
            const bool decoupled = form % 2 == 0, copied = form / 2 == 0;
            SCOPED_TRACE(std::to_string(elements) + " from " + std::to_string(skipped));
            const at::Tensor first = at::randn({3, elements});
            const at::Tensor gradient = place(at::randn({elements}), skipped);
            for (const double steps : {1, 2000}) {
                const at::Tensor scalars = at::full({4}, 0.01);
                scalars[1].fill_(steps);
                scalars[2].fill_(2.5);  // the divisor
                scalars[3].fill_(0);    // skip
                const auto scalar = [&](int64_t i) { return scalars.data_ptr<float>() + i; };
                const auto job_of = [&](const Tensors& out) {
                    return AdamJob{.rows = {.batch = 1, .tokens = elements, .chunk = 1024},
                                   .value = out[0].data_ptr<float>(),
                                   .gradient = gradient.data_ptr<float>(),
                                   .mean = out[1].data_ptr<float>(),
                                   .square = out[2].data_ptr<float>(),
                                   .copy = copied ? out[3].data_ptr() : nullptr,
                                   .lr = scalar(0),
                                   .steps = scalar(1),
                                   .divisor = scalar(2),
                                   .skip = scalar(3),
                                   .mean_share = 0.1,
                                   .square_share = 0.001,
                                   .log_beta1 = std::log(0.9),
                                   .log_beta2 = std::log(0.999),
                                   .eps = 1e-8,
                                   .weight_decay = 0.1,
                                   .decoupled = decoupled};
                };
                const auto adam = [](const auto& of) { return of.adam; };
                const auto fill = [&](Side, Tensors& out) {
                    out = {place(first[0], skipped), place(first[1], skipped),
                           place(first[2].square(), skipped), empty({elements}, skipped)};
                    return job_of(out);
                };
                const auto finish = [&](Side side, const Tensors& out) {
                    const at::Tensor before = out[0].clone();
                    scalars[3].fill_(1);
                    run(side, job_of(out), adam);
                    scalars[3].fill_(0);
                    EXPECT_TRUE(out[0].equal(before));
                    EXPECT_EQ(out[3].equal(out[0].to(GetParam())), copied);
                };
                expect_same_on_both(fill, finish, adam);
            }
        }
    }
}

TEST_P(CudaRows, MixAndPack) {
    for (const auto& [channels, columns] : {std::pair<int64_t, int64_t>{16, 7}, {5, 1}, {3, 11}}) {
        const int64_t lines = 3, tokens = lines * columns;
        const at::Tensor a = at::randn({kBatch, channels, 2 * lines, 2 * columns});
        const at::Tensor b = at::randn(a.sizes()), t = at::randn({kBatch});
        const auto fill = [&](Side, Tensors& out) {
            out = {empty_floats({kBatch, tokens, 4 * channels}),
                   empty_floats({kBatch, tokens, 4 * channels})};
            return MixJob{.rows = {.batch = kBatch, .tokens = tokens, .chunk = 4},
                          .channels = channels,
                          .columns = columns,
                          .a = a.data_ptr<float>(),
                          .b = b.data_ptr<float>(),
                          .t = t.data_ptr<float>(),
                          .mixed = out[0].data_ptr<float>(),
                          .difference = out[1].data_ptr<float>()};
        };
        expect_same_on_both(fill, as_they_are, [](const auto& of) { return of.mix_and_pack; });
    }
}

TEST_P(CudaRows, SquaredError) {
    for (const auto& [channels, skipped] :
         {std::pair<int64_t, int64_t>{64, 0}, {64, 1}, {5, 0}, {1000, 0}}) {
        SCOPED_TRACE(std::to_string(channels) + " from " + std::to_string(skipped));
        const at::Tensor prediction = numbers({kBatch, kTokens, channels}, skipped);
        const at::Tensor target = place(at::randn(prediction.sizes()), skipped);
        for (const bool backward : {true, false}) {
            const auto fill = [&](Side, Tensors& out) {
                out = {empty(prediction.sizes(), skipped), empty_floats({kRows.chunks()})};
                return SquaredErrorJob{.rows = kRows,
                                       .channels = channels,
                                       .prediction = prediction.data_ptr(),
                                       .target = target.data_ptr<float>(),
                                       .gradient = backward ? out[0].data_ptr() : nullptr,
                                       .factor = 0.3,
                                       .sums = out[1].data_ptr<float>()};
            };
            expect_same_on_both(fill, as_they_are, [](const auto& of) { return of.squared_error; });
        }
    }
}

TEST_P(CudaRows, WidthsWithoutAKernelAreRefused) {
    NormModulateJob job{};
    job.rows = kRows;
    job.channels = kMaxCudaNormChannels + 1;
    EXPECT_EQ(norm_modulate<float>(job, nullptr), kNoKernel);
    EXPECT_EQ(norm_modulate_backward<Bf16>(job, nullptr), kNoKernel);
}

struct SharedJob {
    float* out;  // [2]
    bool writes;
};
void shared_kernel(SharedJob job) {
    FLUX_SHARED(float, number);
    if (job.writes) {
        number = 3;
    }
    job.out[blockIdx.x] = number;
}

TEST(CudaOnHost, SharedMemoryIsUnsetInEachBlock) {
    std::array<float, 2> out{};
    launch(shared_kernel, 2, kWarp, SharedJob{out.data(), true}, nullptr);
    EXPECT_EQ(out[1], 3.0F);
    launch(shared_kernel, 2, kWarp, SharedJob{out.data(), false}, nullptr);
    EXPECT_TRUE(std::isnan(out[0]) && std::isnan(out[1]));
}

INSTANTIATE_TEST_SUITE_P(Dtypes, CudaRows, testing::Values(at::kFloat, at::kBFloat16));

}  // namespace
}  // namespace flux::kernels
