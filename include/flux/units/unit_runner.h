// Runs a list of units forward and backward, one autograd graph a unit.
//
// At every border the state is detached, so the schedule (when to gather, recompute, reduce) is
// this file and not hooks on one big graph. A unit either keeps its graph between forward and
// backward, or keeps only its input, and what it leaves in a Memo if the policy says so, and runs
// again in backward (activation checkpointing).
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <c10/util/Exception.h>

#include <array>
#include <iterator>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "flux/units/parameter_store.h"
#include "flux/units/recompute.h"
#include "flux/units/trace.h"
#include "flux/units/unit.h"

namespace flux::units {

/// Gradients of `outputs` with respect to `inputs` (undefined where there is none); frees the
/// graph.
std::vector<at::Tensor> differentiate(const std::vector<at::Tensor>& outputs,
                                      const std::vector<at::Tensor>& inputs,
                                      const std::vector<at::Tensor>& output_gradients);

template <class State>
class UnitRunner {
public:
    using UnitList = std::vector<std::unique_ptr<Unit<State>>>;
    static constexpr size_t kFlowCount = std::size(State::kFlow);
    /// Gradients of the members of State::kFlow, in that order; undefined = none.
    using Gradients = std::array<at::Tensor, kFlowCount>;

    UnitRunner(UnitList units, const StoreSettings& settings, RecomputePolicy policy)
        : units_(std::move(units)), policy_(policy), store_(parameter_lists(units_), settings) {}

    /// Inference: nothing is kept.
    State forward(State state) {
        const at::NoGradGuard no_grad;
        for (size_t i = 0; i < units_.size(); ++i) {
            gather(i, 1);
            state = units_[i]->forward(state, nullptr);
        }
        return state;
    }

    /// What a process does while the others run forward() and it has nothing to compute: it gives
    /// its part of the weights.
    void accompany_forward() {
        for (size_t i = 0; i < units_.size(); ++i) {
            gather(i, 1);
        }
    }

    /// Forward that backward() can follow. The result carries no graph.
    State forward_for_backward(State state) {
        tapes_.assign(units_.size(), {});
        for (size_t i = 0; i < units_.size(); ++i) {
            gather(i, 1);
            const TraceSpan span("forward", store_.unit_name(i));
            Tape& tape = tapes_[i];
            tape.generation = store_.generation();
            if (policy_.recomputes(i)) {
                const at::NoGradGuard no_grad;
                tape.input = state;
                state = units_[i]->forward(state, memo_of(tape));
                tape.memo.run_again();
            } else {
                record(i, state, nullptr);
                state = detached(*tape.output);
            }
        }
        return state;
    }

    /// Given the gradients of the last state, adds those of all parameters to the store. Each
    /// forward_for_backward() allows one backward().
    void backward(Gradients gradients) {
        TORCH_CHECK(!tapes_.empty(), "backward() needs forward_for_backward() first");
        for (size_t i = units_.size(); i-- > 0;) {
            gather(i, -1);
            const TraceSpan span("backward", store_.unit_name(i));
            Tape& tape = tapes_[i];
            TORCH_CHECK(tape.generation == store_.generation(),
                        "parameters changed between forward and backward");
            if (!tape.output) {
                record(i, tape.input, memo_of(tape));
                tape.memo.check_used_up();
            }
            gradients = backward_unit(i, gradients);
            tape = {};
        }
        tapes_.clear();
    }

    ParameterStore& store() { return store_; }
    const ParameterStore& store() const { return store_; }

private:
    struct Tape {
        State input;
        kernels::Memo memo;
        std::optional<State> output;  // with its graph; none while the unit waits to be run again
        uint64_t generation = 0;
    };

    /// Of a unit that runs again.
    kernels::Memo* memo_of(Tape& tape) const {
        return policy_.keeps_results ? &tape.memo : nullptr;
    }

    static std::vector<std::span<const Parameter>> parameter_lists(const UnitList& units) {
        std::vector<std::span<const Parameter>> lists;
        for (const auto& unit : units) {
            lists.emplace_back(unit->parameters());
        }
        return lists;
    }

    /// Weights of unit i, and those of the next ones in this direction under way.
    void gather(size_t i, int64_t direction) {
        for (int64_t ahead = 0; ahead <= store_.prefetch(); ++ahead) {
            const int64_t next = static_cast<int64_t>(i) + ahead * direction;
            if (next >= 0 && next < static_cast<int64_t>(units_.size())) {
                store_.start_gather(static_cast<size_t>(next));
            }
        }
        store_.acquire(i);
    }

    static State detached(State state) {
        for (const auto member : State::kFlow) {
            if ((state.*member).defined()) {
                state.*member = (state.*member).detach();
            }
        }
        return state;
    }

    /// Runs unit i with its graph. Everything a unit receives was computed by a unit before it,
    /// except for the first.
    void record(size_t i, const State& input, kernels::Memo* memo) {
        const at::AutoGradMode enable(true);
        Tape& tape = tapes_[i];
        tape.input = detached(input);
        for (const auto member : State::kFlow) {
            at::Tensor& tensor = tape.input.*member;
            if (i > 0 && tensor.defined()) {
                tensor.set_requires_grad(true);
            }
        }
        tape.output = units_[i]->forward(tape.input, memo);
    }

    Gradients backward_unit(size_t i, const Gradients& after) {
        const Tape& tape = tapes_[i];
        std::vector<at::Tensor> outputs, output_gradients;
        Gradients before;
        const auto parameters = store_.tensors(i);
        std::vector<at::Tensor> inputs(parameters.begin(), parameters.end());
        for (size_t m = 0; m < kFlowCount; ++m) {
            const at::Tensor& in = tape.input.*State::kFlow[m];
            const at::Tensor& out = (*tape.output).*State::kFlow[m];
            if (in.defined() && in.requires_grad()) {
                inputs.push_back(in);
            }
            if (!out.defined() || !after[m].defined()) {
                continue;
            }
            if (out.is_same(in)) {
                before[m] =
                    after[m].to(at::kFloat);  // handed on: the sum over all users is kept in fp32
            } else {
                outputs.push_back(out);
                output_gradients.push_back(after[m].to(out.scalar_type()));
            }
        }
        std::vector<at::Tensor> found = differentiate(outputs, inputs, output_gradients);
        auto next = found.begin() + std::ssize(parameters);
        store_.add_gradients(
            i, {std::make_move_iterator(found.begin()), std::make_move_iterator(next)});
        for (size_t m = 0; m < kFlowCount; ++m) {
            const at::Tensor& in = tape.input.*State::kFlow[m];
            if (!in.defined() || !in.requires_grad()) {
                continue;
            }
            const at::Tensor& gradient = *next++;
            if (before[m].defined() && gradient.defined()) {
                before[m] = before[m] + gradient;
            } else if (gradient.defined()) {
                before[m] = gradient;
            }
        }
        return before;
    }

    UnitList units_;
    RecomputePolicy policy_;
    ParameterStore store_;
    std::vector<Tape> tapes_;
};

}  // namespace flux::units
