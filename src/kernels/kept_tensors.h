// What an autograd function keeps for its backward: tensors, or how to make them again.
#pragma once

#include <torch/csrc/autograd/custom_function.h>

#include <utility>
#include <vector>

#include "flux/kernels/fused.h"

namespace flux::kernels {

/// Kept as `again` says if it makes anything.
struct Keep {
    Remake::Tensors tensors;
    Remake again{};
};

class KeptTensors {
public:
    /// In forward, once.
    static void save(torch::autograd::AutogradContext* context, const std::vector<Keep>& groups) {
        auto makers = c10::make_intrusive<Makers>();
        torch::autograd::variable_list all;
        for (const Keep& group : groups) {
            const Remake::Tensors& kept = group.again.make ? group.again.from : group.tensors;
            for (const at::Tensor& tensor : kept) {
                // What is made again has no graph of its own.
                all.push_back(group.again.make ? tensor.detach() : tensor);
            }
            makers->groups.push_back({all.size(), group.again.make});
        }
        context->save_for_backward(std::move(all));
        context->saved_data[kMakers] = at::IValue::make_capsule(std::move(makers));
    }

    /// In backward.
    explicit KeptTensors(torch::autograd::AutogradContext* context)
        : makers_(
              c10::static_intrusive_pointer_cast<Makers>(context->saved_data[kMakers].toCapsule())),
          all_(context->get_saved_variables()) {}

    size_t size() const { return makers_->groups.size(); }
    /// Group i, made again if it was not kept.
    Remake::Tensors operator[](size_t i) const {
        const size_t begin = i == 0 ? 0 : makers_->groups[i - 1].end;
        const auto& [end, make] = makers_->groups[i];
        Remake::Tensors kept(all_.begin() + static_cast<int64_t>(begin),
                             all_.begin() + static_cast<int64_t>(end));
        return make ? make(kept) : kept;
    }

private:
    static constexpr const char* kMakers = "makers";
    struct Group {
        size_t end;  // in all tensors
        decltype(Remake::make) make;
    };
    struct Makers : torch::CustomClassHolder {
        std::vector<Group> groups;
    };

    c10::intrusive_ptr<Makers> makers_;
    torch::autograd::variable_list all_;
};

}  // namespace flux::kernels
