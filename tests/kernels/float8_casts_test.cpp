// Casts to FP8: the kernels for GPUs, run on the host (and on a GPU where there is one), against
// the twin, bit by bit.
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/full.h>
#include <ATen/ops/isnan.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/where.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "flux/kernels/cuda_device.h"
#include "kernels/cuda_on_host.h"
// After what stands in for CUDA.
#include "kernels/cuda_float8_columns.h"
#include "kernels/float8_casts.h"
#include "kernels/launch_on_host.h"

namespace flux::kernels {
namespace {

using Kind = Products::Kind;
using Tensors = std::vector<at::Tensor>;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

void run_on_host(const at::Tensor& x, const Float8Job& job,
                 CudaRowKernel<Float8Job> Float8Kernels::*kernel) {
    const auto table =
        x.scalar_type() == at::kFloat ? cuda_float8_table<float>() : cuda_float8_table<Bf16>();
    TORCH_CHECK((table.*kernel)(job, nullptr) == 0, "no kernel");
}

/// Bytes, the signs of NaN apart: processors differ in them.
at::Tensor bits(const at::Tensor& float8) {
    const at::Tensor nan = at::isnan(float8.to(at::kFloat));
    return at::where(nan, at::full({}, 0x7f, nan.options().dtype(at::kByte)),
                     float8.view(at::kByte));
}
/// Whether both are the same numbers, or NaN.
bool same_floats(const at::Tensor& a, const at::Tensor& b) {
    return a.sizes() == b.sizes() && ((a == b) | (at::isnan(a) & at::isnan(b))).all().item<bool>();
}

void expect_same(const Float8Matrix& found, const Float8Matrix& expected) {
    EXPECT_EQ(found.data.scalar_type(), expected.data.scalar_type());
    EXPECT_TRUE(bits(found.data).equal(bits(expected.data)));
    EXPECT_TRUE(same_floats(found.inverse, expected.inverse));
}

/// Their bits as numbers.
uint8_t as_c10(float x, bool e5m2) {
    return e5m2 ? c10::Float8_e5m2(x).x : c10::Float8_e4m3fn(x).x;
}

TEST(Float8Numbers, AreRoundedAsLibTorchDoes) {
    for (const bool e5m2 : {false, true}) {
        const Float8Format format(e5m2);
        const auto expect_same_bits = [&](uint32_t pattern) {
            const float x = float_of_bits(pattern);
            ASSERT_EQ(format(x), as_c10(x, e5m2)) << std::hex << pattern << " e5m2 " << e5m2;
        };
        for (uint32_t high = 0; high < 1u << 16; ++high) {
            expect_same_bits(high << 16);  // all of bf16
            // Between these, where fp32 meets the middle of two.
            for (const uint32_t low : {1u, 0x7fffu, 0x8000u, 0x8001u, 0xffffu}) {
                expect_same_bits(high << 16 | low);
            }
        }
        for (uint64_t pattern = 0; pattern < uint64_t{1} << 32; pattern += 977) {
            expect_same_bits(static_cast<uint32_t>(pattern));
        }
    }
}

/// Of rows that hold one number each: what becomes of it, and the scale.
TEST(Float8Numbers, ScalesAreTheTwins) {
    std::vector<float> largest{0, 1e-45f, 1e-38f, 9e-31f, 1e-30f, 1.1e-30f, 448, 57344};
    largest.insert(largest.end(), {3.4e38f, kInfinity, std::nanf("")});
    for (int exponent = -99; exponent <= 120; ++exponent) {
        for (const float base : {7.0f / 4, 1.0f}) {  // e4m3 and e5m2 end at 7/4 of a power of two
            float below = std::ldexp(base, exponent), above = below;
            for (int i = 0; i < 20; ++i) {
                largest.insert(largest.end(), {below, above});
                below = std::nextafter(below, 0.0f);
                above = std::nextafter(above, kInfinity);
            }
        }
    }
    const at::Tensor column =
        at::from_blob(largest.data(), {static_cast<int64_t>(largest.size()), 1}).clone();
    for (const at::ScalarType to : {at::kFloat8_e4m3fn, at::kFloat8_e5m2}) {
        const Float8Matrix expected = twin::float8_rows({column}, {to, Kind::kRowwise});
        Float8Job job{};
        job.e5m2 = to == at::kFloat8_e5m2;
        job.powers = true;
        for (size_t i = 0; i < largest.size(); ++i) {
            const float inverse = float8_scale<float>(job, bits_of(largest[i])).inverse;
            const float wanted = expected.inverse[static_cast<int64_t>(i)].item<float>();
            ASSERT_TRUE(inverse == wanted || (std::isnan(inverse) && std::isnan(wanted)))
                << largest[i] << ": " << inverse << " for " << wanted;
        }
    }
}

struct Case {
    at::ScalarType dtype;
    at::ScalarType to;
    Kind kind;
    bool gpu = false;
};

class Float8Casts : public testing::TestWithParam<Case> {
protected:
    void SetUp() override {
        if (GetParam().gpu) {
            if (const auto problem = cuda_problem()) {
                GTEST_SKIP() << "needs a GPU: " << *problem;
            }
        }
    }

    static Float8Cast cast() { return {GetParam().to, GetParam().kind}; }
    /// Numbers of all sizes, zeros among them, behind `skipped` others in memory.
    static at::Tensor numbers(int64_t rows, int64_t columns, int64_t skipped = 0) {
        const at::Tensor x = at::randn({rows * columns + skipped}) *
                             (at::randn({rows * columns + skipped}) * 4).exp();
        return (x * (at::randn(x.sizes()) > -1))
            .to(GetParam().dtype)
            .to(GetParam().gpu ? at::kCUDA : at::kCPU)
            .narrow(0, skipped, rows * columns)
            .view({rows, columns});
    }

    static void expect_as_twin(const Tensors& parts) {
        const Float8Matrix rows = GetParam().gpu ? float8_rows(Path::kFused, parts, cast())
                                                 : fused::float8_rows(run_on_host, parts, cast());
        expect_same(rows, twin::float8_rows(parts, cast()));
        if (parts.size() == 1 || GetParam().kind == Kind::kRowwise) {
            expect_same(GetParam().gpu ? float8_columns(Path::kFused, parts, cast())
                                       : fused::float8_columns(run_on_host, parts, cast()),
                        twin::float8_columns(parts, cast()));
        }
        if (rows.data.size(1) % kFloat8Alignment == 0) {
            const at::Tensor transposed = GetParam().gpu
                                              ? float8_transposed(Path::kFused, rows.data)
                                              : fused::float8_transposed(run_on_host, rows.data);
            EXPECT_TRUE(bits(transposed).equal(bits(twin::float8_transposed(rows.data))));
        }
    }
};

TEST_P(Float8Casts, AreTheTwinsBitByBit) {
    struct Size {
        int64_t rows, columns, skipped;
    };
    for (const Size& size : {Size{1, 16, 0}, Size{37, 64, 0}, Size{16, 48, 0}, Size{67, 144, 0},
                             Size{130, 80, 1}, Size{9, 21, 0}, Size{3, 2064, 0}, Size{2, 9216, 0},
                             Size{1, 17408, 0}, Size{1, 33024, 0}}) {
        SCOPED_TRACE(std::to_string(size.rows) + " x " + std::to_string(size.columns));
        expect_as_twin({numbers(size.rows, size.columns, size.skipped)});
    }
}

TEST_P(Float8Casts, OfTwoSideBySideAreTheTwins) {
    for (const auto& [left, right] :
         {std::pair<int64_t, int64_t>{32, 48}, {24, 40}, {21, 11}, {16, 0}, {2048, 2064}}) {
        SCOPED_TRACE(std::to_string(left) + " and " + std::to_string(right));
        expect_as_twin({numbers(19, left), 100 * numbers(19, right + 16)});
        expect_as_twin({numbers(19, left), numbers(19, right + 16, 1)});
    }
}

TEST_P(Float8Casts, OfRowsThatAreNotDenseAreTheTwins) {
    expect_as_twin({numbers(20, 96).narrow(1, 16, 64), numbers(20, 32).narrow(1, 0, 16)});
}

TEST_P(Float8Casts, OfWhatIsSmallOrNotFiniteAreTheTwins) {
    const float least = std::numeric_limits<float>::denorm_min();
    for (const float odd : {0.0f, -0.0f, least, 1e-40f, 1e-38f, 1e-31f, 3e38f, kInfinity,
                            -kInfinity, std::nanf("")}) {
        SCOPED_TRACE(odd);
        at::Tensor some = numbers(35, 32), all = numbers(35, 32);
        some[3][5].fill_(odd);
        some[34][31].fill_(odd);
        all.fill_(odd);
        expect_as_twin({some});
        expect_as_twin({all});
        expect_as_twin({numbers(35, 16), some});
        expect_as_twin({all, some});
    }
}

TEST_P(Float8Casts, OfEachNumberThatBf16HasAreTheTwins) {
    // Each row has the numbers of one exponent, of both signs.
    const at::Tensor every =
        at::arange(1 << 16).to(at::kShort).view(at::kBFloat16).view({2, 256, 128});
    const at::Tensor x = at::cat({every[0], every[1]}, 1)
                             .to(GetParam().dtype)
                             .to(GetParam().gpu ? at::kCUDA : at::kCPU);
    expect_as_twin({x});
    expect_as_twin({x.narrow(0, 0, 255)});  // the finite ones
}

constexpr auto kE4m3 = at::kFloat8_e4m3fn, kE5m2 = at::kFloat8_e5m2;
INSTANTIATE_TEST_SUITE_P(OnHost, Float8Casts,
                         testing::Values(Case{at::kFloat, kE4m3, Kind::kTensorwise},
                                         Case{at::kFloat, kE5m2, Kind::kTensorwise},
                                         Case{at::kFloat, kE4m3, Kind::kRowwise},
                                         Case{at::kBFloat16, kE4m3, Kind::kTensorwise},
                                         Case{at::kBFloat16, kE5m2, Kind::kTensorwise},
                                         Case{at::kBFloat16, kE4m3, Kind::kRowwise}));
INSTANTIATE_TEST_SUITE_P(Gpu, Float8Casts,
                         testing::Values(Case{at::kFloat, kE4m3, Kind::kTensorwise, true},
                                         Case{at::kFloat, kE5m2, Kind::kTensorwise, true},
                                         Case{at::kFloat, kE4m3, Kind::kRowwise, true},
                                         Case{at::kBFloat16, kE4m3, Kind::kTensorwise, true},
                                         Case{at::kBFloat16, kE5m2, Kind::kTensorwise, true},
                                         Case{at::kBFloat16, kE4m3, Kind::kRowwise, true}));

}  // namespace
}  // namespace flux::kernels
