// Comparisons of tensors for EXPECT_TRUE: a failure names the tensor, how far off it is, and its
// worst element. Everything is compared in fp64; a NaN on one side only is a failure, and so is
// another shape.
#pragma once

#include <ATen/core/Tensor.h>
#include <gtest/gtest.h>

#include <string_view>

namespace flux::test {

/// Every element within `tolerance` of the expected one.
testing::AssertionResult max_abs_within(std::string_view name, const at::Tensor& actual,
                                        const at::Tensor& expected, double tolerance);

/// |actual - expected|_2 / |expected|_2 of tensors of one shape. NaN, which no bound allows, where
/// values of one alone are not finite.
double relative_l2(const at::Tensor& actual, const at::Tensor& expected);

/// |actual - expected|_2 <= tolerance * |expected|_2.
testing::AssertionResult relative_l2_within(std::string_view name, const at::Tensor& actual,
                                            const at::Tensor& expected, double tolerance);

/// Same dtype, same shape, same bits.
testing::AssertionResult same_bits(std::string_view name, const at::Tensor& actual,
                                   const at::Tensor& expected);

}  // namespace flux::test
