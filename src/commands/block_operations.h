// The operations that the transformer's blocks are made of, each apart, to be measured.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/randn.h>

#include <functional>
#include <string>
#include <vector>

#include "flux/model/execution.h"
#include "flux/model/flux_config.h"
#include "flux/model/rope.h"

namespace flux::commands {

using Tensors = std::vector<at::Tensor>;

/// What is measured, and where.
struct Shape {
    model::FluxConfig model;
    model::Execution execution;
    kernels::Path path = execution.path;
    at::TensorOptions options;
    int64_t batch = 1;
    int64_t image = 0;  // tokens
    int64_t text = 0;

    int64_t all() const { return image + text; }
    int64_t hidden() const { return model.hidden_size; }
    int64_t inner() const { return model.mlp_hidden(); }
    int64_t element() const { return static_cast<int64_t>(options.dtype().itemsize()); }
    at::Tensor random(at::IntArrayRef shape) const {
        return at::randn(shape, options).set_requires_grad(true);
    }
    at::Tensor tokens(int64_t count, int64_t width) const { return random({batch, count, width}); }
};

/// Forward and backward of some tensors; what both must do at the least.
struct Operation {
    std::string name;
    int64_t times = 1;  // in the block
    bool in_floor = false;
    double flops = 0;
    double bytes = 0;
    Tensors inputs;
    std::function<Tensors(const Tensors&)> forward;
    double seconds = 0;  // median
};

std::vector<Operation> double_block_operations(const Shape& shape,
                                               const model::RotaryTable& positions);
std::vector<Operation> single_block_operations(const Shape& shape,
                                               const model::RotaryTable& positions);

}  // namespace flux::commands
