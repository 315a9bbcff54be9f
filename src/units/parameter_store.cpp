#include "flux/units/parameter_store.h"

#include <ATen/ops/zeros.h>
#include <c10/util/Exception.h>

#include <algorithm>

#include "flux/base/error.h"
#include "flux/base/hash.h"
#include "flux/kernels/keyed_draw.h"
#include "flux/units/trace.h"
#include "units/segment_view.h"

namespace flux::units {
namespace {

/// "double_blocks.0.img_mlp.0.weight", "double_blocks.0.txt_mod.lin.bias" -> "double_blocks.0";
/// the first one's first word where they have nothing in common.
std::string common_name(const std::vector<Segment>& segments) {
    if (segments.empty()) {
        return "no parameters";
    }
    std::string common = segments.front().name;
    for (const Segment& segment : segments) {
        while (!segment.name.starts_with(common)) {
            common.resize(common.find_last_of('.') == std::string::npos ? 0
                                                                        : common.find_last_of('.'));
        }
    }
    const std::string& first = segments.front().name;
    return common.empty() ? first.substr(0, first.find('.')) : common;
}

/// `values`: the elements of the parameter from `first` on.
void draw_init(at::Tensor values, const Init& init, uint64_t seed, std::string_view name,
               int64_t first) {
    using Distribution = kernels::Distribution;
    const kernels::DrawKey key{seed, Purpose::kInit};
    switch (init.kind) {
        case Init::Kind::kConstant:
            values.fill_(init.value);
            return;
        case Init::Kind::kNormal:
            kernels::keyed_fill_(values, Distribution::kNormal, key, fnv1a(name), first);
            values.mul_(init.value);
            return;
        case Init::Kind::kUniform:
            kernels::keyed_fill_(values, Distribution::kUniform, key, fnv1a(name), first);
            values.mul_(2 * init.value).sub_(init.value);
            return;
    }
}

}  // namespace

LocalPart local_part(const FlatShard& shard, const Segment& segment) {
    const int64_t shard_end = shard.begin + shard.param.numel();
    const int64_t first = std::max(segment.offset, shard.begin);
    const int64_t last = std::min(segment.offset + segment.numel, shard_end);
    if (first >= last) {
        return {};
    }
    return {.begin = first - segment.offset,
            .end = last - segment.offset,
            .offset = first - shard.begin};
}

at::Tensor gradient_of(const FlatShard& shard, const LocalPart& part) {
    for (const GradientSum& sum : shard.gradients) {
        if (part.offset >= sum.offset &&
            part.offset + part.numel() <= sum.offset + sum.values.numel()) {
            return sum.values.narrow(0, part.offset - sum.offset, part.numel());
        }
    }
    TORCH_CHECK(false, "no gradients were added for elements ", part.offset, " to ",
                part.offset + part.numel(), " of a shard");
}

ParameterStore::ParameterStore(const std::vector<std::span<const Parameter>>& units,
                               const StoreSettings& settings)
    : own_mesh_(settings.mesh == nullptr ? std::make_unique<dist::Mesh>() : nullptr),
      mesh_(own_mesh_ ? own_mesh_.get() : settings.mesh),
      prefetch_(settings.prefetch),
      reduce_dtype_(settings.reduce_dtype),
      overlap_reduction_(settings.overlap_reduction),
      host_shards_(settings.host_shards) {
    const StoreLayout layout = make_layout(units, settings, mesh_->gather().size());
    make_shards(units, settings, layout);
    make_slabs(settings, layout);
    bound_.resize(units.size());
    for (size_t i = 0; i < units.size(); ++i) {
        bind(i, units[i], settings.trainable);
    }
}

void ParameterStore::make_shards(const std::vector<std::span<const Parameter>>& units,
                                 const StoreSettings& settings, const StoreLayout& layout) {
    auto options = at::TensorOptions().device(settings.device);
    if (settings.host_shards) {
        options = at::TensorOptions().device(at::kCPU).pinned_memory(settings.device.is_cuda());
    }
    for (size_t unit = 0; unit < units.size(); ++unit) {
        FlatShard shard;
        shard.segments = make_segments(units[unit], settings.no_weight_decay);
        shard.size = layout.unit_sizes[unit];
        const int64_t part = layout.part(unit);
        shard.begin = part * mesh_->gather().rank();
        shard.param = at::zeros(
            {part}, options.dtype(settings.trainable ? at::kFloat : settings.compute_dtype));
        shards_.push_back(std::move(shard));
        std::vector<Init> inits;
        for (const Parameter& parameter : units[unit]) {
            inits.push_back(parameter.init);
        }
        inits_.push_back(std::move(inits));
    }
}

void ParameterStore::make_slabs(const StoreSettings& settings, const StoreLayout& layout) {
    const auto options = at::TensorOptions().device(settings.device);
    slabs_.resize(layout.slab_sizes.size());
    for (size_t i = 0; i < slabs_.size(); ++i) {
        slabs_[i].data = at::zeros({layout.slab_sizes[i]}, options.dtype(settings.compute_dtype));
    }
    if (layout.gradient_slab > 0) {
        const int64_t part = layout.gradient_slab / layout.processes;
        for (GradientSlab& slab : gradient_slabs_) {
            slab.data = at::zeros({layout.gradient_slab}, options.dtype(reduce_dtype_));
            slab.part = at::zeros({part}, options.dtype(reduce_dtype_));
        }
    }
}

void ParameterStore::bind(size_t unit, std::span<const Parameter> parameters, bool trainable) {
    Bound& bound = bound_[unit];
    const at::Tensor& source =
        slabs_.empty() ? shards_[unit].param : slabs_[unit % slabs_.size()].data;
    bound.name = common_name(shards_[unit].segments);
    bound.flat = source.narrow(0, 0, shards_[unit].size);
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
        const FlatShard& shard = shards_[unit];
        for (size_t i = 0; i < shard.segments.size(); ++i) {
            const LocalPart part = local_part(shard, shard.segments[i]);
            if (part.numel() > 0) {
                draw_init(part.of(shard.param), inits_[unit][i], seed, shard.segments[i].name,
                          part.begin);
            }
        }
    }
    parameters_changed();
}

void ParameterStore::start_gather(size_t unit) {
    if (slabs_.empty()) {
        return;
    }
    Slab& slab = slabs_[unit % slabs_.size()];
    if (slab.unit == unit && slab.generation == generation_) {
        return;
    }
    const TraceSpan span("gather", unit_name(unit));
    slab.gathering = mesh_->gather().all_gather(bound_[unit].flat, current_part(unit));
    slab.unit = unit;
    slab.generation = generation_;
}

/// This process's part of the unit's slab, with its shard's values.
at::Tensor ParameterStore::current_part(size_t unit) {
    Slab& slab = slabs_[unit % slabs_.size()];
    slab.gathering.wait();  // gathered ahead and not used: a pass was given up
    const FlatShard& shard = shards_[unit];
    at::Tensor part = bound_[unit].flat.narrow(0, shard.begin, shard.param.numel());
    if (slab.part_unit != unit || slab.part_generation != generation_) {
        // From pinned memory the copy takes its turn on the stream of the unit's computation.
        part.copy_(shard.param, /*non_blocking=*/true);
        slab.part_unit = unit;
        slab.part_generation = generation_;
    }
    return part;
}

/// A ring's slabs hold other units' values by turns, and what lies in other memory than its shard
/// is copied there.
bool ParameterStore::keeps_copies() const {
    return !slabs_.empty() && slabs_.size() == shards_.size() &&
           slabs_.front().data.device() == shards_.front().param.device();
}

std::vector<at::Tensor> ParameterStore::copies() {
    std::vector<at::Tensor> found(shards_.size());
    for (size_t unit = 0; unit < found.size() && keeps_copies(); ++unit) {
        found[unit] = current_part(unit);
    }
    return found;
}

void ParameterStore::parameters_changed(bool copied) {
    for (Slab& slab : slabs_) {
        if (copied && keeps_copies() && slab.part_generation == generation_) {
            slab.part_generation = generation_ + 1;
        }
    }
    ++generation_;
}

void ParameterStore::acquire(size_t unit) {
    start_gather(unit);
    if (!slabs_.empty()) {
        const TraceSpan span("wait for", unit_name(unit));
        slabs_[unit % slabs_.size()].gathering.wait();
    }
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
    const auto [shard, segment] = find(name);
    return whole_part(shard, segment).of(shard.param).view(segment.shape);
}

at::Tensor ParameterStore::gradient(std::string_view name) const {
    const auto [shard, segment] = find(name);
    return gradient_of(shard, whole_part(shard, segment)).view(segment.shape);
}

LocalPart ParameterStore::whole_part(const FlatShard& shard, const Segment& segment) const {
    const LocalPart part = local_part(shard, segment);
    TORCH_CHECK(part.numel() == segment.numel, segment.name, ": is sharded over ",
                mesh_->gather().size(), " processes");
    return part;
}

std::pair<const FlatShard&, const Segment&> ParameterStore::find(std::string_view name) const {
    for (const FlatShard& shard : shards_) {
        for (const Segment& segment : shard.segments) {
            if (segment.name == name) {
                return {shard, segment};
            }
        }
    }
    fail("{}: the model has no such parameter", name);
}

}  // namespace flux::units
