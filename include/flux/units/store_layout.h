// What a ParameterStore holds and exchanges, from the units' declared parameters alone: the store
// allocates by it, and a plan counts with it where nothing is allocated.
#pragma once

#include <c10/core/Device.h>
#include <c10/core/ScalarType.h>

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "flux/dist/mesh.h"
#include "flux/units/parameter.h"

namespace flux::units {

/// Where one parameter lies in its unit's flat buffer, in elements.
struct Segment {
    std::string name;
    std::vector<int64_t> shape;
    int64_t offset;
    int64_t numel;
    bool decays = true;  // weight decay applies to it
};

/// One unit's parameters one after the other, aligned. Those whose names match a pattern of
/// `no_weight_decay` (base/glob.h) do not decay.
std::vector<Segment> make_segments(std::span<const Parameter> parameters,
                                   const std::vector<std::string>& no_weight_decay = {});

struct StoreSettings {
    at::ScalarType compute_dtype = at::kFloat;
    at::Device device = at::kCPU;
    /// Slabs in the ring; 0: every unit keeps its weights at hand.
    int64_t slabs = 0;
    /// Units gathered ahead of the one at work, in its direction.
    int64_t prefetch = 0;
    /// Without training, shards hold the compute dtype and there are no gradients.
    bool trainable = true;
    /// Shards lie in host memory (pinned if the device is a GPU) beside the slabs; with a ring of
    /// these the device holds only the units at work. On a CPU too: the same path without a GPU.
    bool host_shards = false;
    /// The type in which gradients travel.
    at::ScalarType reduce_dtype = at::kFloat;
    /// Gradients travel while the next units run backward.
    bool overlap_reduction = true;
    /// Patterns of the names of parameters that do not decay.
    std::vector<std::string> no_weight_decay{};
    /// The processes that share the model, or null for this one alone. Must outlive the store.
    dist::Mesh* mesh = nullptr;
};

/// Slabs in which gradients travel: one is filled while the other is on its way.
inline constexpr size_t kGradientSlabs = 2;

/// Sizes in elements.
struct StoreLayout {
    int64_t processes = 1;            // that share one copy of the model
    std::vector<int64_t> unit_sizes;  // of a unit's flat buffer: its segments, padded
    std::vector<int64_t> slab_sizes;  // of weights, compute dtype; empty: units read their shards
    int64_t gradient_slab = 0;        // of one, reduce dtype; 0: nothing is scattered

    /// Of a unit, held by each process.
    int64_t part(size_t unit) const { return unit_sizes[unit] / processes; }
    /// Of all units, held by each process.
    int64_t shard() const;
    int64_t largest_unit() const;
};

/// `units`: the parameters of each unit. The mesh of `settings` is not looked at.
StoreLayout make_layout(const std::vector<std::span<const Parameter>>& units,
                        const StoreSettings& settings, int64_t processes);

/// What a process sends for weights and gradients in one step of so many micro-batches. For a unit
/// whose flat buffer has F elements, with s processes to a copy and r copies:
///   weights    gathers * F / s * (s - 1)   a gather for every forward and every backward, unless
///                                          the ring still holds the unit: the last ones when
///                                          backward begins, the first ones when the next
///                                          micro-batch does
///   gradients  micro_batches * F / s * (s - 1)
///   copies     2 * F / s * (r - 1) / r     once a step
dist::Traffic step_traffic(const StoreLayout& layout, const StoreSettings& settings,
                           const dist::MeshShape& mesh, int64_t micro_batches);

}  // namespace flux::units
