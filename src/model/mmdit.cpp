#include "flux/model/mmdit.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <c10/util/Exception.h>

#include "flux/base/shape.h"
#include "flux/model/layers.h"

namespace flux::model {
namespace {

/// [1, ...] or [B, ...] -> [B, ...]
at::Tensor to_batch(const at::Tensor& x, int64_t batch) {
    std::vector<int64_t> shape(x.sizes().begin(), x.sizes().end());
    shape[0] = batch;
    return x.expand(shape);
}

}  // namespace

units::UnitRunner<FluxState>::UnitList make_units(const FluxConfig& config,
                                                  const Execution& execution) {
    check(config);
    units::UnitRunner<FluxState>::UnitList units;
    units.push_back(make_embedders(config));
    for (int64_t i = 0; i < config.depth; ++i) {
        units.push_back(make_double_block(config, execution, i));
    }
    for (int64_t i = 0; i < config.depth_single_blocks; ++i) {
        units.push_back(make_single_block(config, execution, i));
    }
    units.push_back(make_final_layer(config, execution.path));
    return units;
}

Mmdit::Mmdit(const FluxConfig& config, const units::StoreSettings& settings,
             units::RecomputePolicy policy, const Execution& execution)
    : config_(config),
      compute_dtype_(settings.compute_dtype),
      path_(execution.path),
      runner_(make_units(config, execution), settings, policy) {}

at::Tensor Mmdit::predict(const MmditInput& input) {
    return runner_.forward(first_state(input)).img.to(at::kFloat);
}

at::Tensor Mmdit::forward(const MmditInput& input) {
    return runner_.forward_for_backward(first_state(input)).img.to(at::kFloat);
}

void Mmdit::backward(const at::Tensor& prediction_gradient) {
    runner_.backward({prediction_gradient, {}, {}, {}});
}

FluxState Mmdit::first_state(const MmditInput& input) const {
    const int64_t batch = input.img.size(0);
    check_shape(input.img, {batch, -1, config_.in_channels}, "img");
    check_shape(input.txt, {batch, -1, config_.context_in_dim}, "txt");
    check_shape(input.pooled, {batch, config_.vec_in_dim}, "pooled");
    check_shape(input.img_ids, {-1, input.img.size(1), -1}, "img_ids");
    check_shape(input.txt_ids, {-1, input.txt.size(1), -1}, "txt_ids");
    TORCH_CHECK(input.guidance.defined() || !config_.guidance_embed,
                "this model needs a guidance value");
    FluxState state;
    state.img = input.img.to(compute_dtype_);
    state.txt = input.txt.to(compute_dtype_);
    state.pooled = input.pooled.to(compute_dtype_);
    state.time_embedding = to_batch(timestep_embedding(input.timesteps), batch).to(compute_dtype_);
    if (config_.guidance_embed) {
        state.guidance_embedding =
            to_batch(timestep_embedding(input.guidance), batch).to(compute_dtype_);
    }
    state.text_tokens = input.txt.size(1);
    const int64_t rows = std::max(input.img_ids.size(0), input.txt_ids.size(0));
    state.positions = rotary_table(
        at::cat({to_batch(input.txt_ids, rows), to_batch(input.img_ids, rows)}, 1), config_);
    return state;
}

}  // namespace flux::model
