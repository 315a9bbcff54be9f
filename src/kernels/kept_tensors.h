// What an autograd function keeps for its backward: tensors, or how to make them again.
#pragma once

#include <c10/util/Exception.h>
#include <torch/csrc/autograd/custom_function.h>

#include <span>
#include <utility>
#include <vector>

#include "flux/kernels/fused.h"

namespace flux::kernels {

/// These tensors, or, if `remake` makes them, what it makes them from.
struct KeptGroup {
    Remake::Tensors tensors;
    Remake remake{};
};

class KeptTensors {
public:
    /// In forward, once.
    static void save(torch::autograd::AutogradContext* context,
                     const std::vector<KeptGroup>& groups) {
        auto recipes = c10::make_intrusive<Recipes>();
        torch::autograd::variable_list all;
        for (const KeptGroup& group : groups) {
            if (group.remake.make) {
                for (const at::Tensor& tensor : group.remake.from) {
                    all.push_back(tensor.detach());  // what is made again has no graph
                }
            } else {
                all.insert(all.end(), group.tensors.begin(), group.tensors.end());
            }
            Recipe recipe{.end = all.size(), .make = group.remake.make, .shapes = {}};
            for (const at::Tensor& tensor : group.tensors) {
                recipe.shapes.push_back(tensor.sizes().vec());
            }
            recipes->of_groups.push_back(std::move(recipe));
        }
        context->save_for_backward(std::move(all));
        context->saved_data[kRecipes] = at::IValue::make_capsule(std::move(recipes));
    }

    /// In backward.
    explicit KeptTensors(torch::autograd::AutogradContext* context)
        : recipes_(c10::static_intrusive_pointer_cast<Recipes>(
              context->saved_data[kRecipes].toCapsule())),
          all_(context->get_saved_variables()) {}

    size_t size() const { return recipes_->of_groups.size(); }
    /// Of the one tensor of group i.
    at::IntArrayRef shape(size_t i) const { return recipes_->of_groups[i].shapes.front(); }
    /// Group i, made again if it was not kept. Throws c10::Error if that has other shapes.
    Remake::Tensors operator[](size_t i) const {
        const size_t begin = i == 0 ? 0 : recipes_->of_groups[i - 1].end;
        const Recipe& recipe = recipes_->of_groups[i];
        Remake::Tensors tensors(all_.begin() + static_cast<int64_t>(begin),
                                all_.begin() + static_cast<int64_t>(recipe.end));
        if (recipe.make) {
            tensors = recipe.make(tensors);
        }
        TORCH_CHECK(tensors.size() == recipe.shapes.size(), "made ", tensors.size(),
                    " tensors again for ", recipe.shapes.size());
        for (size_t n = 0; n < tensors.size(); ++n) {
            TORCH_CHECK(tensors[n].sizes() == recipe.shapes[n], "made ", tensors[n].sizes(),
                        " again for ", at::IntArrayRef(recipe.shapes[n]));
        }
        return tensors;
    }

private:
    static constexpr const char* kRecipes = "recipes";
    struct Recipe {
        size_t end;  // of what is kept, among all tensors
        decltype(Remake::make) make;
        std::vector<std::vector<int64_t>> shapes;
    };
    struct Recipes : torch::CustomClassHolder {
        std::vector<Recipe> of_groups;
    };

    c10::intrusive_ptr<Recipes> recipes_;
    torch::autograd::variable_list all_;
};

/// The weight, then each part as it lies: some tokens of more are not copied, but for products.
inline std::vector<KeptGroup> kept_by_linear(at::TensorList inputs,
                                             std::span<const LinearInput> parts,
                                             const at::Tensor& weight) {
    std::vector<KeptGroup> kept{{.tensors = {weight}}};
    for (size_t i = 0; i < parts.size(); ++i) {
        kept.push_back({.tensors = {inputs[i]}, .remake = parts[i].remake});
    }
    return kept;
}

}  // namespace flux::kernels
