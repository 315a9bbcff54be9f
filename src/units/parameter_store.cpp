#include "flux/units/parameter_store.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>
#include <c10/util/Exception.h>

#include <algorithm>

#include "flux/base/error.h"
#include "flux/base/hash.h"
#include "flux/kernels/keyed_draw.h"

namespace flux::units {
namespace {

// 64 elements: 128 bytes in the narrowest compute dtype, a full cache line pair and what vector
// loads and NCCL want.
constexpr int64_t kAlignment = 64;

int64_t align(int64_t count) { return (count + kAlignment - 1) / kAlignment * kAlignment; }

std::vector<Segment> make_segments(std::span<const Parameter> parameters) {
    std::vector<Segment> segments;
    int64_t offset = 0;
    for (const Parameter& parameter : parameters) {
        segments.push_back({parameter.name, parameter.shape, offset, parameter.numel()});
        offset += align(parameter.numel());
    }
    return segments;
}

int64_t flat_size(const std::vector<Segment>& segments) {
    return segments.empty() ? 0 : segments.back().offset + align(segments.back().numel);
}

at::Tensor segment_view(const at::Tensor& flat, const Segment& segment) {
    return flat.narrow(0, segment.offset, segment.numel).view(segment.shape);
}

void draw_init(at::Tensor values, const Init& init, uint64_t seed, std::string_view name) {
    using Distribution = kernels::Distribution;
    const kernels::DrawKey key{seed, Purpose::kInit};
    switch (init.kind) {
        case Init::Kind::kConstant:
            values.fill_(init.value);
            return;
        case Init::Kind::kNormal:
            kernels::keyed_fill_(values, Distribution::kNormal, key, fnv1a(name), 0);
            values.mul_(init.value);
            return;
        case Init::Kind::kUniform:
            kernels::keyed_fill_(values, Distribution::kUniform, key, fnv1a(name), 0);
            values.mul_(2 * init.value).sub_(init.value);
            return;
    }
}

}  // namespace

ParameterStore::ParameterStore(const std::vector<std::span<const Parameter>>& units,
                               const StoreSettings& settings) {
    const auto options = at::TensorOptions().device(settings.device);
    const bool host_shards = settings.host_shards && !settings.device.is_cpu();
    const auto shard_options =
        host_shards ? at::TensorOptions().device(at::kCPU).pinned_memory(settings.device.is_cuda())
                    : options;
    const at::ScalarType shard_dtype = settings.trainable ? at::kFloat : settings.compute_dtype;
    int64_t largest = 0;
    for (const auto parameters : units) {
        FlatShard shard{.segments = make_segments(parameters), .param = {}, .grad = {}};
        const int64_t size = flat_size(shard.segments);
        shard.param = at::zeros({size}, shard_options.dtype(shard_dtype));
        if (settings.trainable) {
            shard.grad = at::zeros({size}, shard_options.dtype(at::kFloat));
        }
        shards_.push_back(std::move(shard));
        std::vector<Init> inits;
        for (const Parameter& parameter : parameters) {
            inits.push_back(parameter.init);
        }
        inits_.push_back(std::move(inits));
        largest = std::max(largest, size);
    }
    const auto count = static_cast<int64_t>(units.size());
    const bool ring = settings.slabs > 0 && settings.slabs < count;
    if (ring || host_shards || shard_dtype != settings.compute_dtype) {
        slabs_.resize(static_cast<size_t>(ring ? settings.slabs : count));
        for (size_t i = 0; i < slabs_.size(); ++i) {
            slabs_[i].data = at::zeros({ring ? largest : shards_[i].param.numel()},
                                       options.dtype(settings.compute_dtype));
        }
    }
    bound_.resize(units.size());
    for (size_t i = 0; i < units.size(); ++i) {
        bind(i, units[i], settings.trainable);
    }
}

void ParameterStore::bind(size_t unit, std::span<const Parameter> parameters, bool trainable) {
    Bound& bound = bound_[unit];
    const at::Tensor& source =
        slabs_.empty() ? shards_[unit].param : slabs_[unit % slabs_.size()].data;
    bound.flat = source.narrow(0, 0, shards_[unit].param.numel());
    for (size_t i = 0; i < parameters.size(); ++i) {
        // variable_data(): shares memory but no version counter, so that filling the slab again
        // leaves the tensors that autograd saved usable. The generation check of the runner takes
        // the counter's place.
        at::Tensor tensor = segment_view(bound.flat, shards_[unit].segments[i]).variable_data();
        tensor.set_requires_grad(trainable);
        *parameters[i].slot = tensor;
        bound.tensors.push_back(std::move(tensor));
    }
}

void ParameterStore::initialize(uint64_t seed) {
    for (size_t unit = 0; unit < shards_.size(); ++unit) {
        for (size_t i = 0; i < shards_[unit].segments.size(); ++i) {
            const Segment& segment = shards_[unit].segments[i];
            draw_init(shards_[unit].param.narrow(0, segment.offset, segment.numel), inits_[unit][i],
                      seed, segment.name);
        }
    }
    parameters_changed();
}

void ParameterStore::acquire(size_t unit) {
    if (slabs_.empty()) {
        return;
    }
    Slab& slab = slabs_[unit % slabs_.size()];
    if (slab.unit == unit && slab.generation == generation_) {
        return;
    }
    // From pinned memory the copy takes its turn on the stream of the unit's computation.
    bound_[unit].flat.copy_(shards_[unit].param, /*non_blocking=*/true);
    slab.unit = unit;
    slab.generation = generation_;
}

void ParameterStore::begin_gradients() {
    for (Bound& bound : bound_) {
        bound.has_gradient = false;
    }
}

void ParameterStore::add_gradients(size_t unit, std::span<const at::Tensor> gradients) {
    FlatShard& shard = shards_[unit];
    TORCH_CHECK(gradients.size() == shard.segments.size(), "unit ", unit,
                ": one gradient a parameter");
    for (size_t i = 0; i < gradients.size(); ++i) {
        at::Tensor sum = segment_view(shard.grad, shard.segments[i]);
        if (bound_[unit].has_gradient) {
            if (gradients[i].defined()) {
                sum.add_(gradients[i]);
            }
        } else if (gradients[i].defined()) {
            sum.copy_(gradients[i]);
        } else {
            sum.zero_();
        }
    }
    bound_[unit].has_gradient = true;
}

int64_t ParameterStore::parameter_count() const {
    int64_t count = 0;
    for (const FlatShard& shard : shards_) {
        for (const Segment& segment : shard.segments) {
            count += segment.numel;
        }
    }
    return count;
}

at::Tensor ParameterStore::parameter(std::string_view name) const {
    return find(name, &FlatShard::param);
}

at::Tensor ParameterStore::gradient(std::string_view name) const {
    return find(name, &FlatShard::grad);
}

at::Tensor ParameterStore::find(std::string_view name, at::Tensor FlatShard::*buffer) const {
    for (const FlatShard& shard : shards_) {
        for (const Segment& segment : shard.segments) {
            if (segment.name == name) {
                return segment_view(shard.*buffer, segment);
            }
        }
    }
    fail("{}: the model has no such parameter", name);
}

at::Tensor global_grad_norm(std::span<const FlatShard> shards) {
    std::vector<at::Tensor> norms;
    for (const FlatShard& shard : shards) {
        norms.push_back(at::linalg_vector_norm(shard.grad));
    }
    return at::linalg_vector_norm(at::stack(norms));
}

}  // namespace flux::units
