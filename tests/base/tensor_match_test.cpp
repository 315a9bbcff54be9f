// The comparisons that all parity tests rest on: they must be able to fail, and say where.
#include "support/tensor_match.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace flux::test {
namespace {

using testing::AllOf;
using testing::HasSubstr;

at::Tensor ramp() { return at::arange(6, at::kFloat).view({2, 3}); }

TEST(TensorMatch, NamesTheTensorAndItsWorstElement) {
    at::Tensor actual = ramp();
    actual[0][1] += 0.01;
    actual[1][2] += 0.5;
    EXPECT_TRUE(max_abs_within("x", actual, ramp(), 0.5));
    const auto result = max_abs_within("grad.img_in", actual, ramp(), 0.4);
    EXPECT_FALSE(result);
    EXPECT_THAT(result.message(), AllOf(HasSubstr("grad.img_in: max abs difference 0.5 > 0.4"),
                                        HasSubstr("[1, 2] is 5.5, expected 5")));
}

TEST(TensorMatch, RelativeL2IsRelativeToTheExpectedNorm) {
    const at::Tensor actual = ramp().mul(1.25);  // exact in fp32
    EXPECT_EQ(relative_l2(actual, ramp()), 0.25);
    EXPECT_TRUE(relative_l2_within("x", actual, ramp(), 0.25));
    EXPECT_FALSE(relative_l2_within("x", actual, ramp(), 0.2499));
    EXPECT_TRUE(relative_l2_within("x", at::zeros({3}), at::zeros({3}), 0));
    EXPECT_FALSE(relative_l2_within("x", ramp(), at::zeros({2, 3}), 1));
}

TEST(TensorMatch, NonFiniteValuesMustMeetTheirLike) {
    for (const float value :
         {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
        at::Tensor special = ramp();
        special[1][0] = value;
        EXPECT_TRUE(max_abs_within("x", special, special.clone(), 0));
        EXPECT_FALSE(max_abs_within("x", special, ramp(), 1e30));
        EXPECT_FALSE(max_abs_within("x", ramp(), special, 1e30));
        EXPECT_FALSE(relative_l2_within("x", special, ramp(), 1e30));
        EXPECT_FALSE(relative_l2_within("x", ramp(), special, 1e30));
        EXPECT_TRUE(std::isnan(relative_l2(special, ramp())));
    }
}

TEST(TensorMatch, OtherShapesNeverMatch) {
    const auto result = max_abs_within("x", ramp(), ramp().view({3, 2}), 1e30);
    EXPECT_FALSE(result);
    EXPECT_THAT(result.message(), HasSubstr("x: shape [2, 3], expected [3, 2]"));
    EXPECT_FALSE(relative_l2_within("x", ramp(), at::Tensor(), 1));
    EXPECT_THROW(relative_l2(ramp(), ramp().view({3, 2})), c10::Error);
}

TEST(TensorMatch, SameBitsSeesSignOfZeroAndDtype) {
    EXPECT_TRUE(same_bits("x", ramp().t(), ramp().t().contiguous()));
    at::Tensor negative = ramp();
    negative[0][0] = -0.0f;
    EXPECT_FALSE(same_bits("x", negative, ramp()));
    EXPECT_FALSE(same_bits("x", ramp().to(at::kDouble), ramp()));
}

}  // namespace
}  // namespace flux::test
