// The parameters of all units: a flat shard of values for each unit and process, sums of gradients
// beside it, and a ring of slabs in the compute dtype from which the units read.
//
//   shard.param (fp32) --start_gather, acquire--> slab (compute dtype), its views are the weights
//   autograd's gradients --add_gradients, finish_gradients--> shard.gradients (fp32)
//   optimizer: shard.gradients -> shard.param and copies(), then parameters_changed(),
//   drop_gradients()
//
// A process holds an equal part of every unit's flat buffer (FSDP). Before a unit runs, its parts
// are gathered from the processes of this copy of the model; its gradients go back summed, each
// process taking its part, and are then summed over the copies (HSDP). One process is the same path
// with nothing to exchange.
//
// Unit i always reads slab i mod ring, at fixed addresses: a step allocates no weights, and tensors
// that autograd saved stay valid when a slab is filled again with the same values. A slab
// remembers its unit and the generation of the values it holds, so that only what changed is
// gathered. Where one process holds all, in the compute dtype, and no ring is asked for, units read
// the shards themselves and there is no second copy.
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "flux/dist/mesh.h"
#include "flux/units/parameter.h"
#include "flux/units/store_layout.h"

namespace flux::units {

/// The sum of the gradients of some of a shard's elements.
struct GradientSum {
    int64_t offset = 0;  // of the first one in the shard's tensors
    at::Tensor values;   // fp32 [elements]
};

/// One unit's parameters as this process holds them. Gaps between segments are zero and stay zero.
struct FlatShard {
    std::vector<Segment> segments;  // of the whole unit
    int64_t size = 0;               // of the unit's flat buffer, the same on all processes
    int64_t begin = 0;              // this process holds [begin, begin + param.numel()) of it
    at::Tensor param;               // fp32 if trainable
    /// One for all elements, or one a segment, in their order. None but from add_gradients() to
    /// drop_gradients(); shards in host memory keep theirs.
    std::vector<GradientSum> gradients;
};

/// The flat elements [begin, end) of a parameter that a shard holds, and where; empty if none.
struct LocalPart {
    int64_t begin = 0;
    int64_t end = 0;
    int64_t offset = 0;  // of element `begin` in the shard's tensors

    int64_t numel() const { return end - begin; }
    /// The part in `flat`, a tensor that is laid out like shard.param.
    at::Tensor of(const at::Tensor& flat) const { return flat.narrow(0, offset, numel()); }
};
LocalPart local_part(const FlatShard& shard, const Segment& segment);
/// Of these elements, which lie in one sum.
at::Tensor gradient_of(const FlatShard& shard, const LocalPart& part);

class ParameterStore {
public:
    /// Allocates shards and slabs and binds every parameter's slot to its view. The values are
    /// undefined until initialize() or writes to the shards. `units`: the parameters of each unit,
    /// in order.
    ParameterStore(const std::vector<std::span<const Parameter>>& units,
                   const StoreSettings& settings);

    /// Draws the first values: a function of (seed, name, element), each process its part.
    void initialize(uint64_t seed);

    /// Begins to fill the slab of `unit` with its current values, unless it holds them or is being
    /// filled. All processes must gather the same units in the same order.
    void start_gather(size_t unit);
    /// The same, and waits for it.
    void acquire(size_t unit);
    int64_t prefetch() const { return prefetch_; }

    /// Each shard's values in the compute dtype, brought up to date, where its unit keeps a slab of
    /// its own: who changes values may write them there too. Undefined for the other units.
    std::vector<at::Tensor> copies();

    /// Must follow every change of the shards' values. `copied`: copies() were written along.
    void parameters_changed(bool copied = false);

    /// Number of changes so far. A graph built at one generation must run backward at the same.
    uint64_t generation() const { return generation_; }

    /// The tensors of `unit` that autograd differentiates, in segment order: fixed views of its
    /// slab.
    std::span<const at::Tensor> tensors(size_t unit) const { return bound_[unit].tensors; }

    /// Starts a new sum of gradients over so many calls of add_gradients() for each unit.
    void begin_gradients(int64_t micro_batches = 1);

    /// Adds one micro-batch's gradients (in segment order, compute dtype; undefined = zero) to the
    /// shard's sums. They are there after finish_gradients(). A tensor that nobody else holds may
    /// become a sum itself.
    void add_gradients(size_t unit, std::vector<at::Tensor> gradients);

    /// Waits until the gradients of all processes are in the shards; the host waits too where these
    /// lie in its memory.
    void finish_gradients();

    /// Gives the memory of the gradients back, to the activations of the next pass. Shards in host
    /// memory keep theirs.
    void drop_gradients();

    std::vector<FlatShard>& shards() { return shards_; }
    const std::vector<FlatShard>& shards() const { return shards_; }
    /// Of the whole model.
    int64_t parameter_count() const;

    /// L2 norm over all gradients of all processes, fp32 scalar tensor on the shards' device.
    at::Tensor grad_norm() const;

    /// Views of one parameter's value and gradient, in its shape; only where this process holds
    /// all of it. Throws Error for an unknown name.
    at::Tensor parameter(std::string_view name) const;
    at::Tensor gradient(std::string_view name) const;

    /// Where a parameter lies: its shard, and its segment there. Throws Error for an unknown name.
    std::pair<const FlatShard&, const Segment&> find(std::string_view name) const;

    /// What the names of the unit's parameters begin with ("double_blocks.0"), for traces.
    const std::string& unit_name(size_t unit) const { return bound_[unit].name; }

    dist::Mesh& mesh() { return *mesh_; }

private:
    struct Bound {
        std::string name;
        at::Tensor flat;  // the unit's part of its slab
        std::vector<at::Tensor> tensors;
        int64_t micro_batches = 0;  // whose gradients are in the shard's sum
    };
    struct Slab {
        at::Tensor data;
        size_t unit = SIZE_MAX;
        uint64_t generation = 0;
        size_t part_unit = SIZE_MAX;  // the same of this process's part, which is filled first
        uint64_t part_generation = 0;
        dist::Pending gathering;
    };
    /// A unit's gradients on their way to the processes that hold their parts.
    struct GradientSlab {
        at::Tensor data;  // the whole unit, reduce_dtype
        at::Tensor part;  // this process's part of the sum, reduce_dtype
        size_t unit = 0;
        dist::Pending scattering;
    };
    void make_shards(const std::vector<std::span<const Parameter>>& units,
                     const StoreSettings& settings, const StoreLayout& layout);
    void make_slabs(const StoreSettings& settings, const StoreLayout& layout);
    void bind(size_t unit, std::span<const Parameter> parameters, bool trainable);
    at::Tensor current_part(size_t unit);
    bool keeps_copies() const;
    bool sums_by_segment() const;
    void add_by_segment(size_t unit, std::vector<at::Tensor> gradients);
    at::Tensor whole_sum(size_t unit);
    void scatter_gradients(size_t unit, std::span<const at::Tensor> gradients);
    void finish(GradientSlab& slab);
    void micro_batch_added(size_t unit);
    LocalPart whole_part(const FlatShard& shard, const Segment& segment) const;

    std::unique_ptr<dist::Mesh> own_mesh_;  // where none was given
    dist::Mesh* mesh_;
    int64_t prefetch_;
    at::ScalarType reduce_dtype_;
    bool overlap_reduction_;
    bool host_shards_;
    std::vector<std::vector<Init>> inits_;
    std::vector<FlatShard> shards_;
    std::vector<Slab> slabs_;  // empty: units read their shards
    std::vector<Bound> bound_;
    std::array<GradientSlab, kGradientSlabs> gradient_slabs_;  // unused without sharding
    size_t next_gradient_slab_ = 0;
    std::vector<dist::Pending> replica_sums_;
    int64_t micro_batches_ = 1;
    uint64_t generation_ = 1;
};

/// L2 norm over all gradients of the processes of `group`, fp32 scalar tensor. Groups that hold
/// copies of the same gradients get the same bits.
at::Tensor global_grad_norm(std::span<const FlatShard> shards, dist::Communicator& group);

}  // namespace flux::units
