#include "support/tensor_match.h"

#include <fmt/format.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "flux/base/dtype.h"
#include "flux/base/shape.h"

namespace flux::test {
namespace {

struct Difference {
    double squares = 0;           // sum of squared differences
    double expected_squares = 0;  // sum of squared expected values
    double worst = 0;             // largest absolute difference; infinite for a NaN or infinity
    int64_t worst_index = 0;
};

/// 0 where both are all zeros.
double relative_l2(const Difference& difference) {
    const double error = std::sqrt(difference.squares);
    return error == 0 ? 0 : error / std::sqrt(difference.expected_squares);
}

at::Tensor flat_double(const at::Tensor& tensor) {
    return tensor.detach().cpu().to(at::kDouble).contiguous().view({-1});
}

Difference compare(const at::Tensor& actual, const at::Tensor& expected) {
    const at::Tensor a = flat_double(actual);
    const at::Tensor e = flat_double(expected);
    const double* from_a = a.const_data_ptr<double>();
    const double* from_e = e.const_data_ptr<double>();
    Difference result;
    for (int64_t i = 0; i < a.numel(); ++i) {
        const bool equal =
            from_a[i] == from_e[i] || (std::isnan(from_a[i]) && std::isnan(from_e[i]));
        double difference = equal ? 0.0 : std::fabs(from_a[i] - from_e[i]);
        if (std::isnan(difference)) {
            difference = std::numeric_limits<double>::infinity();
        }
        result.squares += difference * difference;
        if (std::isfinite(from_e[i])) {
            result.expected_squares += from_e[i] * from_e[i];
        }
        if (difference > result.worst) {
            result.worst = difference;
            result.worst_index = i;
        }
    }
    return result;
}

/// "[1, 0, 7]" for the flat position in a contiguous tensor of this shape.
std::string position_text(int64_t flat, at::IntArrayRef shape) {
    std::vector<int64_t> position(shape.size());
    for (size_t i = shape.size(); i-- > 0;) {
        position[i] = flat % shape[i];
        flat /= shape[i];
    }
    return shape_text(position);
}

testing::AssertionResult other_shape(std::string_view name, const at::Tensor& actual,
                                     const at::Tensor& expected) {
    const auto shape = [](const at::Tensor& tensor) {
        return tensor.defined() ? shape_text(tensor.sizes()) : std::string("undefined");
    };
    return testing::AssertionFailure()
           << name << ": shape " << shape(actual) << ", expected " << shape(expected);
}

bool same_shape(const at::Tensor& actual, const at::Tensor& expected) {
    return actual.defined() && expected.defined() && actual.sizes() == expected.sizes();
}

std::string worst_text(const Difference& difference, const at::Tensor& actual,
                       const at::Tensor& expected) {
    const int64_t i = difference.worst_index;
    return fmt::format("worst element {} is {:.9g}, expected {:.9g} (off by {:.3g})",
                       position_text(i, expected.sizes()),
                       flat_double(actual).const_data_ptr<double>()[i],
                       flat_double(expected).const_data_ptr<double>()[i], difference.worst);
}

}  // namespace

testing::AssertionResult max_abs_within(std::string_view name, const at::Tensor& actual,
                                        const at::Tensor& expected, double tolerance) {
    if (!same_shape(actual, expected)) {
        return other_shape(name, actual, expected);
    }
    const Difference difference = compare(actual, expected);
    if (difference.worst <= tolerance) {
        return testing::AssertionSuccess()
               << fmt::format("{}: max abs difference {:.3g}", name, difference.worst);
    }
    return testing::AssertionFailure()
           << fmt::format("{}: max abs difference {:.3g} > {:.3g}: {}", name, difference.worst,
                          tolerance, worst_text(difference, actual, expected));
}

double relative_l2(const at::Tensor& actual, const at::Tensor& expected) {
    TORCH_CHECK(same_shape(actual, expected),
                other_shape("relative_l2", actual, expected).message());
    const double relative = relative_l2(compare(actual, expected));
    return std::isfinite(relative) ? relative : std::numeric_limits<double>::quiet_NaN();
}

testing::AssertionResult relative_l2_within(std::string_view name, const at::Tensor& actual,
                                            const at::Tensor& expected, double tolerance) {
    if (!same_shape(actual, expected)) {
        return other_shape(name, actual, expected);
    }
    const Difference difference = compare(actual, expected);
    const double relative = relative_l2(difference);
    if (relative <= tolerance) {
        return testing::AssertionSuccess()
               << fmt::format("{}: relative L2 difference {:.3g}", name, relative);
    }
    return testing::AssertionFailure() << fmt::format(
               "{}: relative L2 difference {:.3g} > {:.3g} (norm of expected {:.3g}): "
               "{}",
               name, relative, tolerance, std::sqrt(difference.expected_squares),
               worst_text(difference, actual, expected));
}

testing::AssertionResult same_bits(std::string_view name, const at::Tensor& actual,
                                   const at::Tensor& expected) {
    if (!same_shape(actual, expected)) {
        return other_shape(name, actual, expected);
    }
    if (actual.scalar_type() != expected.scalar_type()) {
        return testing::AssertionFailure() << name << ": dtype " << short_name(actual.scalar_type())
                                           << ", expected " << short_name(expected.scalar_type());
    }
    const at::Tensor a = actual.detach().cpu().contiguous();
    const at::Tensor e = expected.detach().cpu().contiguous();
    if (a.nbytes() == 0 || std::memcmp(a.const_data_ptr(), e.const_data_ptr(), a.nbytes()) == 0) {
        return testing::AssertionSuccess() << name << ": same bits";
    }
    return testing::AssertionFailure()
           << name << ": bits differ: " << worst_text(compare(a, e), a, e);
}

}  // namespace flux::test
