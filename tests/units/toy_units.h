// A chain of small units for tests of units/.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/tanh.h>

#include <memory>
#include <string>

#include "flux/units/unit_runner.h"

namespace flux::units {

struct ToyState {
    at::Tensor x;
    at::Tensor shared;
    static constexpr std::array kFlow{&ToyState::x, &ToyState::shared};
};

/// x <- x + tanh(weight x + bias) * shared; the first unit also makes `shared`.
class ToyUnit final : public Unit<ToyState> {
public:
    ToyUnit(const std::string& name, int64_t width, bool first) : first_(first) {
        const ParameterScope here = scope(name);
        here.add("weight", weight_, {width, width}, Init::xavier_uniform(width, width));
        here.add("bias", bias_, {width}, Init::normal(0.1));
    }

    ToyState forward(const ToyState& in, kernels::Memo* /*memo*/) const override {
        ToyState out = in;
        if (first_) {
            out.shared = at::linear(in.x, weight_);
        }
        out.x = in.x + at::tanh(at::linear(in.x, weight_, bias_)) * out.shared;
        return out;
    }

private:
    bool first_;
    at::Tensor weight_;
    at::Tensor bias_;
};

inline UnitRunner<ToyState>::UnitList toy_units(size_t count, int64_t width = 5) {
    UnitRunner<ToyState>::UnitList units;
    for (size_t i = 0; i < count; ++i) {
        units.push_back(std::make_unique<ToyUnit>("unit" + std::to_string(i), width, i == 0));
    }
    return units;
}

/// Copies, in the order of the parameters.
inline std::vector<at::Tensor> runner_gradients(UnitRunner<ToyState>& runner) {
    std::vector<at::Tensor> gradients;
    for (const FlatShard& shard : runner.store().shards()) {
        for (const Segment& segment : shard.segments) {
            gradients.push_back(runner.store().gradient(segment.name).clone());
        }
    }
    return gradients;
}

}  // namespace flux::units
