#include "flux/units/parameter.h"

#include <cmath>
#include <functional>
#include <numeric>

namespace flux::units {

Init Init::xavier_uniform(int64_t fan_in, int64_t fan_out) {
    return {Kind::kUniform, std::sqrt(6.0 / static_cast<double>(fan_in + fan_out))};
}

int64_t Parameter::numel() const {
    return std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>());
}

ParameterScope ParameterScope::operator/(std::string_view name) const {
    return {list_, join(name)};
}

void ParameterScope::add(std::string_view name, at::Tensor& slot, std::vector<int64_t> shape,
                         Init init) const {
    list_.push_back({join(name), std::move(shape), init, &slot});
}

std::string ParameterScope::join(std::string_view name) const {
    return prefix_.empty() ? std::string(name) : prefix_ + "." + std::string(name);
}

}  // namespace flux::units
