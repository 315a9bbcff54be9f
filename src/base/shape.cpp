#include "flux/base/shape.h"

#include <c10/util/Exception.h>
#include <fmt/format.h>

#include <algorithm>

namespace flux {

std::string shape_text(at::IntArrayRef shape) {
    std::string text = "[";
    for (size_t i = 0; i < shape.size(); ++i) {
        text += i == 0 ? "" : ", ";
        text += shape[i] == -1 ? "*" : fmt::format("{}", shape[i]);
    }
    return text + "]";
}

std::optional<int64_t> checked_numel(at::IntArrayRef shape) {
    int64_t count = 1;
    bool empty = false;
    for (const int64_t size : shape) {  // a tensor's strides must fit, too: they count a 0 as 1
        empty = empty || size == 0;
        if (size < 0 || __builtin_mul_overflow(count, std::max<int64_t>(size, 1), &count)) {
            return std::nullopt;
        }
    }
    return empty ? 0 : count;
}

void check_shape(const at::Tensor& tensor, at::IntArrayRef expected, std::string_view name) {
    TORCH_CHECK(tensor.defined(), name, " is not set; expected shape ", shape_text(expected));
    const at::IntArrayRef actual = tensor.sizes();
    const bool fits =
        actual.size() == expected.size() &&
        std::equal(actual.begin(), actual.end(), expected.begin(),
                   [](int64_t size, int64_t wanted) { return wanted == -1 || size == wanted; });
    TORCH_CHECK(fits, name, " has shape ", shape_text(actual), ", expected ", shape_text(expected));
}

}  // namespace flux
