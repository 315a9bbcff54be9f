// Linear layers in FP8 against fp64: no element may be further off than the rounding of its factors
// explains, and what cannot be scaled (nothing but zeros, what is not finite) must come through.
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <limits>
#include <vector>

#include "flux/kernels/cuda_device.h"
#include "flux/kernels/float8.h"
#include "support/tensor_match.h"

namespace flux::kernels {
namespace {

using Kind = Products::Kind;

constexpr int64_t kTokens = 37, kIn = 64, kOut = 48;

struct Results {
    at::Tensor y, dx, dw;
};

Results run(const Products& products, const at::Tensor& x, const at::Tensor& weight,
            const at::Tensor& dy) {
    const at::AutoGradMode enable(true);
    const at::Tensor in = x.detach().set_requires_grad(true);
    const at::Tensor w = weight.detach().set_requires_grad(true);
    const at::Tensor y = float8_linear(Path::kFused, products, std::array{LinearInput{in}}, w);
    y.backward(dy);
    return {y.detach(), in.grad(), w.grad()};
}

/// How far rounding moves a number: in proportion to it, and at the least in proportion to the
/// largest one, where the format's steps are even (its subnormal numbers).
struct Rounding {
    double relative;
    double of_largest;
};

/// Half a step. e4m3 has 3 bits after the point and steps of 2^-9 at least, e5m2 2 bits and 2^-16.
/// A factor rounded down to a power of two uses half the range at worst; one rounded to bf16, and
/// its product with a bf16 number, are off by 2^-9 each.
Rounding rounding(bool e5m2, Kind kind, at::ScalarType dtype) {
    const double range = (e5m2 ? 57344.0 : 448.0) / (kind == Kind::kRowwise ? 2 : 1);
    const double inexact = dtype == at::kBFloat16 ? std::ldexp(1, -8) : std::ldexp(1, -22);
    return {(e5m2 ? 1.0 / 8 : 1.0 / 16) * (1 + inexact) + inexact,
            std::ldexp(1, e5m2 ? -17 : -10) / range * (1 + inexact)};
}

/// The most that a b^T can be off. a: [R, K]; b: [R', K], fp64.
at::Tensor bound(const at::Tensor& a, const Rounding& of_a, const at::Tensor& b,
                 const Rounding& of_b) {
    const auto error = [](const at::Tensor& x, const Rounding& r) {
        return x.abs() * r.relative + x.abs().max() * r.of_largest;
    };
    const at::Tensor ea = error(a, of_a), eb = error(b, of_b);
    return ea.mm(b.abs().t()) + a.abs().mm(eb.t()) + ea.mm(eb.t());
}

void expect_within(const char* what, const at::Tensor& found, const at::Tensor& exact,
                   const at::Tensor& bound, double typical) {
    const at::Tensor flat = found.to(at::kDouble).view(exact.sizes());
    const double last = found.scalar_type() == at::kFloat ? 1e-6 : std::ldexp(1, -8);
    EXPECT_TRUE(((flat - exact).abs() <= bound + exact.abs() * last + 1e-6).all().item<bool>())
        << what;
    // Independent errors add up to less than their bound, and to no less than rounding makes.
    const double error = test::relative_l2(flat, exact);
    std::printf("measured: %s off by %.4f, expected about %.4f\n", what, error, typical);
    EXPECT_NEAR(error, typical, 0.25 * typical) << what;
}

struct Case {
    Kind kind;
    at::ScalarType dtype;
    bool emulated;
    at::DeviceType device = at::kCPU;
};

void PrintTo(const Case& value, std::ostream* out) {
    *out << (value.kind == Kind::kRowwise ? "rowwise " : "tensorwise ") << value.dtype
         << (value.emulated ? " emulated" : "") << " on " << value.device;
}

class Float8Linear : public testing::TestWithParam<Case> {
protected:
    void SetUp() override {
        if (GetParam().device == at::kCUDA) {
            if (const auto problem = cuda_problem()) {
                GTEST_SKIP() << "needs a GPU: " << *problem;
            }
            if (const int capability = cuda_capability(0); capability < kFloat8Capability) {
                GTEST_SKIP() << "needs a GPU of compute capability 8.9, this has " << capability;
            }
        }
    }

    static Products products() { return {GetParam().kind, GetParam().emulated}; }
    static at::Tensor random(at::IntArrayRef shape) {
        return at::randn(shape).to(GetParam().dtype).to(at::Device(GetParam().device));
    }
};

TEST_P(Float8Linear, IsOffByTheRoundingOfItsFactorsOnly) {
    const auto [kind, dtype, emulated, device] = GetParam();
    const at::Tensor x = random({1, kTokens, kIn}), w = random({kOut, kIn});
    const at::Tensor dy = random({1, kTokens, kOut});
    const Results found = run(products(), x, w, dy);
    EXPECT_EQ(found.y.scalar_type(), dtype);
    EXPECT_EQ(found.dx.sizes(), x.sizes());
    const at::Tensor ex = x[0].to(at::kDouble), ew = w.to(at::kDouble), ey = dy[0].to(at::kDouble);
    const Rounding e4m3 = rounding(false, kind, dtype);
    const Rounding up = kind == Kind::kRowwise ? e4m3 : rounding(true, kind, dtype);
    // Even distribution over a step d of numbers between 1 and 2: d / sqrt(12) / 1.5 or so.
    const double fine = 0.125 / std::sqrt(12.0) / 1.4, coarse = 2 * fine;
    const double both = std::hypot(fine, kind == Kind::kRowwise ? fine : coarse);
    expect_within("y ", found.y, ex.mm(ew.t()), bound(ex, e4m3, ew, e4m3), std::hypot(fine, fine));
    expect_within("dx", found.dx, ey.mm(ew), bound(ey, up, ew.t(), e4m3), both);
    expect_within("dW", found.dw, ey.t().mm(ex), bound(ey.t(), up, ex.t(), e4m3), both);
}

TEST_P(Float8Linear, OfTwoInputsIsThatOfBothSideBySide) {
    const auto tokens = [](int64_t width) { return random({2, kTokens, width}); };
    // 24 and 40 cannot be multiplied alone.
    for (const auto& [left, right] : {std::pair{32, 48}, std::pair{24, 40}}) {
        const at::AutoGradMode enable(true);
        const at::Tensor a = tokens(left).set_requires_grad(true);
        const at::Tensor b = (3 * tokens(right)).detach().set_requires_grad(true);
        const at::Tensor w = random({kOut, left + right}).set_requires_grad(true);
        const at::Tensor dy = tokens(kOut);
        const std::array parts{LinearInput{a}, LinearInput{b}};
        const at::Tensor y = float8_linear(Path::kFused, products(), parts, w);
        y.backward(dy);
        const Results whole = run(products(), at::cat({a, b}, -1), w, dy);
        EXPECT_TRUE(y.equal(whole.y));
        EXPECT_TRUE(w.grad().equal(whole.dw));
        EXPECT_TRUE(a.grad().equal(whole.dx.narrow(-1, 0, left)));
        EXPECT_TRUE(b.grad().equal(whole.dx.narrow(-1, left, right)));
        const at::NoGradGuard nothing_kept;
        EXPECT_TRUE(float8_linear(Path::kFused, products(), parts, w).equal(y));
    }
}

TEST_P(Float8Linear, AnInputThatIsMadeAgainChangesNoBit) {
    const at::AutoGradMode enable(true);
    const at::Tensor u = random({2, kTokens, kIn}), bias = random({kIn}), w = random({kOut, kIn});
    const at::Tensor dy = random({2, kTokens, kOut});
    const auto gradients = [&](bool again) {
        const at::Tensor in = u.detach().set_requires_grad(true);
        const at::Tensor matrix = w.detach().set_requires_grad(true);
        LinearInput x = bias_gelu(Path::kFused, in, bias);
        if (!again) {
            x.remake = {};
        }
        float8_linear(Path::kFused, products(), std::array{x}, matrix).backward(dy);
        return at::cat({in.grad().flatten(), matrix.grad().flatten()});
    };
    EXPECT_TRUE(gradients(true).equal(gradients(false)));
}

TEST_P(Float8Linear, FollowsTheScaleOfItsInputs) {
    const at::Tensor x = random({1, kTokens, kIn}), w = random({kOut, kIn});
    const at::Tensor dy = random({1, kTokens, kOut});
    const Results one = run(products(), x, w, dy);
    for (const int power : {-60, -20, 20, 60}) {
        const double by = std::ldexp(1, power);
        const Results other = run(products(), x * by, w, dy * by);
        EXPECT_TRUE((one.y * by).equal(other.y)) << power;
        EXPECT_TRUE((one.dx * by).equal(other.dx)) << power;
        if (power > -60) {  // else below what bf16 and fp32 hold in full
            EXPECT_TRUE((one.dw * by * by).equal(other.dw)) << power;
        }
    }
}

TEST_P(Float8Linear, KeepsTheLargestNumber) {
    // Had one of them gone beyond the format's end, it would be NaN.
    for (int draw = 0; draw < 20; ++draw) {
        const at::Tensor x = random({1, 16, 16});
        const at::Tensor one = at::zeros({16, 16}, x.options());
        one.fill_diagonal_(1);
        const Results found = run(products(), x, one, x);
        for (const at::Tensor& result : {found.y, found.dx}) {
            const double most = x.abs().max().item<double>();
            EXPECT_NEAR(result.abs().max().item<double>(), most, most / 15);
        }
    }
}

TEST_P(Float8Linear, ZerosStayZeros) {
    const at::Tensor x = random({1, kTokens, kIn}), w = random({kOut, kIn});
    const at::Tensor dy = random({1, kTokens, kOut});
    x[0][3].zero_();
    dy[0][5].zero_();
    const Results some = run(products(), x, w, dy);
    EXPECT_EQ(some.y[0][3].abs().max().item<float>(), 0.0F);
    EXPECT_EQ(some.dx[0][5].abs().max().item<float>(), 0.0F);
    for (const at::Tensor& result : {some.y, some.dx, some.dw}) {
        EXPECT_TRUE(at::isfinite(result).all().item<bool>());
    }
    const Results none = run(products(), at::zeros_like(x), at::zeros_like(w), at::zeros_like(dy));
    for (const at::Tensor& result : {none.y, none.dx, none.dw}) {
        EXPECT_EQ(result.abs().max().item<float>(), 0.0F);
    }
}

TEST_P(Float8Linear, WhatIsNotFiniteIsNotClipped) {
    for (const double bad :
         {std::numeric_limits<double>::infinity(), -std::numeric_limits<double>::infinity(),
          std::numeric_limits<double>::quiet_NaN()}) {
        const at::Tensor x = random({1, kTokens, kIn}), w = random({kOut, kIn});
        const at::Tensor dy = random({1, kTokens, kOut});
        const auto spoilt = [&](const at::Tensor& from) {
            const at::Tensor copy = from.clone();
            copy.view({-1})[7].fill_(bad);
            return copy;
        };
        const auto finite = [](const at::Tensor& t) {
            return std::isfinite(t.norm().item<float>());
        };
        const Results of_x = run(products(), spoilt(x), w, dy);
        EXPECT_FALSE(finite(of_x.y) || finite(of_x.dw));
        const Results of_w = run(products(), x, spoilt(w), dy);
        EXPECT_FALSE(finite(of_w.y) || finite(of_w.dx));
        const Results of_dy = run(products(), x, w, spoilt(dy));
        EXPECT_FALSE(finite(of_dy.dx) || finite(of_dy.dw));
    }
}

INSTANTIATE_TEST_SUITE_P(Emulated, Float8Linear,
                         testing::Values(Case{Kind::kTensorwise, at::kFloat, true},
                                         Case{Kind::kTensorwise, at::kBFloat16, true},
                                         Case{Kind::kRowwise, at::kFloat, true},
                                         Case{Kind::kRowwise, at::kBFloat16, true}));
// On CPUs LibTorch multiplies with one scale a tensor alone.
INSTANTIATE_TEST_SUITE_P(Cpu, Float8Linear,
                         testing::Values(Case{Kind::kTensorwise, at::kFloat, false},
                                         Case{Kind::kTensorwise, at::kBFloat16, false}));
INSTANTIATE_TEST_SUITE_P(Gpu, Float8Linear,
                         testing::Values(Case{Kind::kTensorwise, at::kFloat, false, at::kCUDA},
                                         Case{Kind::kTensorwise, at::kBFloat16, false, at::kCUDA},
                                         Case{Kind::kRowwise, at::kFloat, false, at::kCUDA},
                                         Case{Kind::kRowwise, at::kBFloat16, false, at::kCUDA},
                                         Case{Kind::kRowwise, at::kBFloat16, true, at::kCUDA}));

/// The products of LibTorch against those in fp32.
void expect_emulated(at::DeviceType device, Kind kind) {
    const auto random = [&](at::IntArrayRef shape) {
        return at::randn(shape).to(at::kBFloat16).to(at::Device(device));
    };
    const at::Tensor x = random({1, kTokens, kIn}), w = random({kOut, kIn});
    const at::Tensor dy = random({1, kTokens, kOut});
    const Results real = run({kind, false}, x, w, dy), emulated = run({kind, true}, x, w, dy);
    // bf16's rounding, and of fast sums on a GPU, which have 14 bits.
    constexpr double kTolerance = 5e-3;
    EXPECT_TRUE(test::relative_l2_within("y", real.y, emulated.y, kTolerance));
    EXPECT_TRUE(test::relative_l2_within("dx", real.dx, emulated.dx, kTolerance));
    EXPECT_TRUE(test::relative_l2_within("dw", real.dw, emulated.dw, kTolerance));
}

TEST(Float8Products, OfLibTorchAreThoseEmulated) { expect_emulated(at::kCPU, Kind::kTensorwise); }

TEST(GpuFloat8Products, OfLibTorchAreThoseEmulated) {
    if (const auto problem = cuda_problem()) {
        GTEST_SKIP() << "needs a GPU: " << *problem;
    }
    if (const int capability = cuda_capability(0); capability < kFloat8Capability) {
        GTEST_SKIP() << "needs a GPU of compute capability 8.9, this has " << capability;
    }
    expect_emulated(at::kCUDA, Kind::kTensorwise);
    expect_emulated(at::kCUDA, Kind::kRowwise);
}

}  // namespace
}  // namespace flux::kernels
