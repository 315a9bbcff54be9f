// The parameters of all units: values and gradients in one flat shard a unit, and a ring of slabs
// in the compute dtype from which the units read.
//
//   shard.param (fp32) --acquire--> slab (compute dtype), views of it are the layers' weights
//   autograd's gradients --add_gradients--> shard.grad (fp32)
//   optimizer: shard.grad -> shard.param, then parameters_changed()
//
// Unit i always reads slab i mod ring, at fixed addresses: nothing is allocated in a step, and
// tensors that autograd saved stay valid when a slab is filled again with the same values. A slab
// remembers its unit and the generation of the values it holds, so that acquire() copies only what
// changed. Where shards have the compute dtype and no ring is asked for, units read the shards
// themselves and there is no second copy.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "flux/units/parameter.h"

namespace flux::units {

/// Where one parameter lies in its unit's flat buffer, in elements.
struct Segment {
    std::string name;
    std::vector<int64_t> shape;
    int64_t offset;
    int64_t numel;
};

/// One unit's parameters as this process holds them. Gaps between segments are zero and stay zero.
struct FlatShard {
    std::vector<Segment> segments;
    at::Tensor param;  // [size], fp32 if trainable
    at::Tensor grad;   // fp32 [size], undefined if not trainable
};

struct StoreSettings {
    at::ScalarType compute_dtype = at::kFloat;
    at::Device device = at::kCPU;
    /// Slabs in the ring; 0: every unit keeps its weights at hand.
    int64_t slabs = 0;
    /// Without training, shards hold the compute dtype and there are no gradients.
    bool trainable = true;
    /// Shards lie in host memory (pinned if the device is a GPU); with a ring of slabs the device
    /// holds only the units at work.
    bool host_shards = false;
};

class ParameterStore {
public:
    /// Allocates shards and slabs and binds every parameter's slot to its view. The values are
    /// undefined until initialize() or writes to parameter(). `units`: the parameters of each unit,
    /// in order.
    ParameterStore(const std::vector<std::span<const Parameter>>& units,
                   const StoreSettings& settings);

    /// Draws the first values: a function of (seed, name, element).
    void initialize(uint64_t seed);

    /// Makes the slab of `unit` hold the unit's current values.
    void acquire(size_t unit);

    /// Must follow every change of the shards' values.
    void parameters_changed() { ++generation_; }

    /// Number of changes so far. A graph built at one generation must run backward at the same.
    uint64_t generation() const { return generation_; }

    /// The tensors of `unit` that autograd differentiates, in segment order: fixed views of its
    /// slab.
    std::span<const at::Tensor> tensors(size_t unit) const { return bound_[unit].tensors; }

    /// Starts a new sum of gradients: the next add_gradients() of each unit overwrites.
    void begin_gradients();

    /// Adds one micro-batch's gradients (in segment order, compute dtype; undefined = zero) to the
    /// shard.
    void add_gradients(size_t unit, std::span<const at::Tensor> gradients);

    std::vector<FlatShard>& shards() { return shards_; }
    const std::vector<FlatShard>& shards() const { return shards_; }
    int64_t parameter_count() const;

    /// Views of one parameter's value and gradient, in its shape. Throws Error for an unknown name.
    at::Tensor parameter(std::string_view name) const;
    at::Tensor gradient(std::string_view name) const;

private:
    struct Bound {
        at::Tensor flat;  // the unit's part of its slab
        std::vector<at::Tensor> tensors;
        bool has_gradient = false;
    };
    struct Slab {
        at::Tensor data;
        size_t unit = SIZE_MAX;
        uint64_t generation = 0;
    };
    void bind(size_t unit, std::span<const Parameter> parameters, bool trainable);
    at::Tensor find(std::string_view name, at::Tensor FlatShard::*buffer) const;

    std::vector<std::vector<Init>> inits_;
    std::vector<FlatShard> shards_;
    std::vector<Slab> slabs_;  // empty: units read their shards
    std::vector<Bound> bound_;
    uint64_t generation_ = 1;
};

/// L2 norm over all gradients, fp32 scalar tensor on the shards' device.
at::Tensor global_grad_norm(std::span<const FlatShard> shards);

}  // namespace flux::units
