// How a layer declares its parameters: once, with name, shape, first value and the member that
// holds the tensor.
//
// Layers allocate nothing. ParameterStore keeps the values in flat shards and points the members at
// views of a slab before a unit runs.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace flux::units {

/// First value of a parameter. Drawn numbers are keyed by the parameter's name (Purpose::kInit).
struct Init {
    enum class Kind {
        kConstant,  // every element is `value`
        kNormal,    // mean 0, standard deviation `value`
        kUniform,   // uniform in [-value, value)
    };
    Kind kind;
    double value;

    static Init constant(double value) { return {Kind::kConstant, value}; }
    static Init normal(double standard_deviation) { return {Kind::kNormal, standard_deviation}; }
    /// Glorot and Bengio's uniform rule: bound sqrt(6 / (fan_in + fan_out)).
    static Init xavier_uniform(int64_t fan_in, int64_t fan_out);
};

struct Parameter {
    std::string name;  // as in the published checkpoint, "double_blocks.0.img_attn.qkv.weight"
    std::vector<int64_t> shape;
    Init init;
    at::Tensor* slot;  // the layer's member; the layer must not move

    int64_t numel() const;
};

/// Where a layer adds its parameters: a unit's list and the prefix of the layer's names.
class ParameterScope {
public:
    ParameterScope(std::vector<Parameter>& list, std::string prefix)
        : list_(list), prefix_(std::move(prefix)) {}

    /// The scope of a layer inside this one.
    ParameterScope operator/(std::string_view name) const;

    const std::string& name() const { return prefix_; }

    void add(std::string_view name, at::Tensor& slot, std::vector<int64_t> shape, Init init) const;

private:
    std::string join(std::string_view name) const;

    std::vector<Parameter>& list_;
    std::string prefix_;
};

}  // namespace flux::units
