#include "flux/units/store_layout.h"

#include <algorithm>
#include <numeric>

#include "flux/base/glob.h"

namespace flux::units {
namespace {

// 64 elements: 128 bytes in the narrowest compute dtype, a full cache line pair and what vector
// loads and NCCL want.
constexpr int64_t kAlignment = 64;

int64_t align(int64_t count, int64_t to = kAlignment) { return (count + to - 1) / to * to; }

/// The last gap included, and padded so that every process gets an aligned part.
int64_t flat_size(std::span<const Parameter> parameters, int64_t processes) {
    int64_t size = 0;
    for (const Parameter& parameter : parameters) {
        size += align(parameter.numel());
    }
    return align(size, kAlignment * processes);
}

}  // namespace

std::vector<Segment> make_segments(std::span<const Parameter> parameters,
                                   const std::vector<std::string>& no_weight_decay) {
    std::vector<Segment> segments;
    int64_t offset = 0;
    for (const Parameter& parameter : parameters) {
        segments.push_back({.name = parameter.name,
                            .shape = parameter.shape,
                            .offset = offset,
                            .numel = parameter.numel(),
                            .decays = !matches_any_glob(no_weight_decay, parameter.name)});
        offset += align(parameter.numel());
    }
    return segments;
}

int64_t StoreLayout::shard() const {
    return std::accumulate(unit_sizes.begin(), unit_sizes.end(), int64_t{0}) / processes;
}

int64_t StoreLayout::largest_unit() const {
    return unit_sizes.empty() ? 0 : *std::max_element(unit_sizes.begin(), unit_sizes.end());
}

StoreLayout make_layout(const std::vector<std::span<const Parameter>>& units,
                        const StoreSettings& settings, int64_t processes) {
    StoreLayout layout;
    layout.processes = processes;
    for (const auto parameters : units) {
        layout.unit_sizes.push_back(flat_size(parameters, processes));
    }
    const bool sharded = processes > 1;
    const bool ring = settings.slabs > 0 && settings.slabs < static_cast<int64_t>(units.size());
    const bool other_dtype = settings.trainable && settings.compute_dtype != at::kFloat;
    if (ring) {
        layout.slab_sizes.assign(static_cast<size_t>(settings.slabs), layout.largest_unit());
    } else if (sharded || settings.host_shards || other_dtype) {
        layout.slab_sizes = layout.unit_sizes;
    }
    if (sharded && settings.trainable) {
        layout.gradient_slab = layout.largest_unit();
    }
    return layout;
}

dist::Traffic step_traffic(const StoreLayout& layout, const StoreSettings& settings,
                           const dist::MeshShape& mesh, int64_t micro_batches) {
    const auto weight_bytes = static_cast<int64_t>(c10::elementSize(settings.compute_dtype));
    const auto reduce_bytes = static_cast<int64_t>(c10::elementSize(settings.reduce_dtype));
    const size_t count = layout.unit_sizes.size(), ring = layout.slab_sizes.size();
    dist::Traffic traffic;
    for (size_t unit = 0; unit < count; ++unit) {
        const int64_t part = layout.part(unit);
        const bool kept_by_forward = unit + ring >= count, kept_by_backward = unit < ring;
        const int64_t gathers =
            (kept_by_backward ? 1 : micro_batches) + (kept_by_forward ? 0 : micro_batches);
        for (int64_t i = 0; i < gathers && mesh.shard > 1; ++i) {
            traffic.add_all_gather(part * weight_bytes, mesh.shard);
        }
        for (int64_t i = 0; i < micro_batches && mesh.shard > 1; ++i) {
            traffic.add_reduce_scatter(part * reduce_bytes, mesh.shard);
        }
        if (mesh.replicate > 1) {
            traffic.add_all_reduce(part * reduce_bytes, mesh.replicate);
        }
    }
    return traffic;
}

}  // namespace flux::units
