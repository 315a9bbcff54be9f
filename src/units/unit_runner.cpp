#include "flux/units/unit_runner.h"

#include <torch/csrc/autograd/autograd.h>

namespace flux::units {

std::vector<at::Tensor> differentiate(const std::vector<at::Tensor>& outputs,
                                      const std::vector<at::Tensor>& inputs,
                                      const std::vector<at::Tensor>& output_gradients) {
    if (outputs.empty()) {
        return std::vector<at::Tensor>(inputs.size());
    }
    return torch::autograd::grad(outputs, inputs, output_gradients, /*retain_graph=*/false,
                                 /*create_graph=*/false, /*allow_unused=*/true);
}

}  // namespace flux::units
