// A unit: a stretch of the model whose parameters are gathered, used and freed together (an
// embedder, one block).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "flux/kernels/memo.h"
#include "flux/units/parameter.h"

namespace flux::units {

/// `State` is the model's struct of tensors that flows from unit to unit. It names the members that
/// carry gradients:
///     static constexpr std::array kFlow{&State::img, &State::txt};
/// A unit copies its input, replaces what it computes and leaves the rest: members it leaves are
/// handed on untouched, and their gradients are added up in fp32.
template <class State>
class Unit {
public:
    virtual ~Unit() = default;
    Unit(const Unit&) = delete;
    Unit& operator=(const Unit&) = delete;

    /// A unit that runs again in backward may take from `memo` what its first run left there. Null:
    /// nothing is left, and everything is computed in each run.
    virtual State forward(const State& in, kernels::Memo* memo) const = 0;

    const std::vector<Parameter>& parameters() const { return parameters_; }

protected:
    Unit() = default;

    /// For member initialisers of derived units.
    ParameterScope scope(std::string_view name) {
        return ParameterScope(parameters_, std::string(name));
    }

private:
    std::vector<Parameter> parameters_;
};

}  // namespace flux::units
