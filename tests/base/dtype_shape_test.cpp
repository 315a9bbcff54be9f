#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "flux/base/dtype.h"
#include "flux/base/shape.h"

namespace flux {
namespace {

TEST(Dtype, NamesGoBothWays) {
    for (const char* name : {"F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2", "I64", "I32", "I16",
                             "I8", "U8", "BOOL"}) {
        const auto dtype = dtype_from_short_name(name);
        ASSERT_TRUE(dtype) << name;
        EXPECT_EQ(short_name(*dtype), name);
        EXPECT_EQ(dtype_from_long_name(long_name(*dtype)), dtype);
    }
    EXPECT_EQ(dtype_from_long_name("bfloat16"), at::kBFloat16);
    EXPECT_FALSE(dtype_from_short_name("f32"));
    EXPECT_FALSE(dtype_from_long_name("float"));
    EXPECT_THROW(short_name(at::kComplexFloat), c10::Error);
}

TEST(Shape, CheckAcceptsAnySizeForMinusOne) {
    check_shape(at::zeros({2, 5, 3}), {2, -1, 3}, "img");
    check_shape(at::zeros({}), {}, "scalar");
}

TEST(Shape, CheckNamesTensorAndBothShapes) {
    try {
        check_shape(at::zeros({2, 5, 4}), {2, -1, 3}, "img");
        FAIL();
    } catch (const c10::Error& problem) {
        EXPECT_THAT(problem.what(),
                    testing::HasSubstr("img has shape [2, 5, 4], expected [2, *, 3]"));
    }
    EXPECT_THROW(check_shape(at::zeros({2}), {2, 1}, "img"), c10::Error);
    EXPECT_THROW(check_shape(at::Tensor(), {2}, "img"), c10::Error);
}

TEST(Shape, CheckedNumelSeesOverflowAndNegativeSizes) {
    const int64_t large = int64_t{1} << 32;
    EXPECT_EQ(checked_numel({}), 1);
    EXPECT_EQ(checked_numel({3, 0, 5}), 0);
    EXPECT_EQ(checked_numel({large, large / 2 - 1}), large * (large / 2 - 1));
    EXPECT_FALSE(checked_numel({large, large}));
    EXPECT_FALSE(checked_numel({0, large, large}));  // its strides would pass the limit
    EXPECT_FALSE(checked_numel({3, -1}));
}

}  // namespace
}  // namespace flux
