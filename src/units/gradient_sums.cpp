// How the store sums gradients: over micro-batches, processes and copies of the model.
#include <ATen/ops/empty.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>
#include <c10/core/Event.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <c10/util/Exception.h>

#include "flux/units/parameter_store.h"
#include "flux/units/trace.h"
#include "units/segment_view.h"

namespace flux::units {
namespace {

/// Sets what lies between the segments and behind the last.
void zero_gaps(const at::Tensor& flat, const std::vector<Segment>& segments) {
    int64_t end = 0;
    for (const Segment& segment : segments) {
        flat.slice(0, end, segment.offset).zero_();
        end = segment.offset + segment.numel;
    }
    flat.slice(0, end).zero_();
}

/// Gradients come into host memory beside the host's own work, which reads them next.
void wait_for_stream(at::Device device) {
    c10::Event copied(device.type());
    copied.record(c10::impl::VirtualGuardImpl(device.type()).getStream(device));
    copied.synchronize();
}

/// Whether `gradient` is what a sum is, and nothing else reaches its memory.
bool can_be_sum(const at::Tensor& gradient) {
    // at::linear's comes as a view, whose base has a count of its own.
    const bool keeps_base = gradient.is_view() && gradient._base().use_count() == 1;
    return gradient.scalar_type() == at::kFloat && gradient.is_contiguous() &&
           gradient.use_count() == 1 && gradient.storage().use_count() == (keeps_base ? 2 : 1) &&
           gradient.storage().nbytes() == gradient.nbytes();
}

/// The first gradient of a sum of so many elements; undefined = zero.
at::Tensor first_of_sum(const at::Tensor& gradient, int64_t numel) {
    if (!gradient.defined()) {
        return at::zeros({numel}, at::kFloat);
    }
    const at::Tensor sum =
        can_be_sum(gradient)
            ? gradient
            : gradient.to(at::kFloat, /*non_blocking=*/false, /*copy=*/true).contiguous();
    return sum.view({numel});
}

}  // namespace

void ParameterStore::begin_gradients(int64_t micro_batches) {
    micro_batches_ = micro_batches;
    for (Bound& bound : bound_) {
        bound.micro_batches = 0;
    }
}

/// Where one CPU holds the model, what backward makes is the sum, in fp32 without a copy, and no
/// unit needs room in one piece. Elsewhere a unit's sum travels or is read as one.
bool ParameterStore::sums_by_segment() const {
    return mesh_->size() == 1 && !host_shards_ && shards_.front().param.is_cpu();
}

/// Where the unit's gradients are summed.
at::Tensor ParameterStore::whole_sum(size_t unit) {
    FlatShard& shard = shards_[unit];
    if (shard.gradients.empty()) {
        const at::Tensor sum = at::empty(
            shard.param.sizes(),
            shard.param.options().dtype(at::kFloat).pinned_memory(shard.param.is_pinned()));
        if (mesh_->scatter().size() == 1) {  // else the whole sum is written at once
            zero_gaps(sum, shard.segments);
        }
        shard.gradients = {{.offset = 0, .values = sum}};
    }
    return shard.gradients.front().values;
}

void ParameterStore::drop_gradients() {
    for (FlatShard& shard : shards_) {
        if (!host_shards_) {
            shard.gradients.clear();
        }
    }
}

void ParameterStore::add_gradients(size_t unit, std::vector<at::Tensor> gradients) {
    const std::vector<Segment>& segments = shards_[unit].segments;
    TORCH_CHECK(gradients.size() == segments.size(), "unit ", unit, ": one gradient a parameter");
    if (mesh_->scatter().size() > 1) {
        scatter_gradients(unit, gradients);
        return;
    }
    if (sums_by_segment()) {
        add_by_segment(unit, std::move(gradients));
        return;
    }
    const bool first = bound_[unit].micro_batches == 0;
    const at::Tensor flat = whole_sum(unit);
    for (size_t i = 0; i < gradients.size(); ++i) {
        at::Tensor sum = segment_view(flat, segments[i]);
        if (!first) {
            if (gradients[i].defined()) {
                sum.add_(gradients[i].to(sum.device()));
            }
        } else if (gradients[i].defined()) {
            sum.copy_(gradients[i]);
        } else {
            sum.zero_();
        }
    }
    micro_batch_added(unit);
}

void ParameterStore::add_by_segment(size_t unit, std::vector<at::Tensor> gradients) {
    FlatShard& shard = shards_[unit];
    const bool first = bound_[unit].micro_batches == 0;
    if (first) {
        shard.gradients.clear();
    }
    for (size_t i = 0; i < gradients.size(); ++i) {
        const Segment& segment = shard.segments[i];
        if (first) {
            shard.gradients.push_back(
                {.offset = segment.offset, .values = first_of_sum(gradients[i], segment.numel)});
        } else if (gradients[i].defined()) {
            shard.gradients[i].values.view(segment.shape).add_(gradients[i]);
        }
    }
    micro_batch_added(unit);
}

void ParameterStore::scatter_gradients(size_t unit, std::span<const at::Tensor> gradients) {
    GradientSlab& slab = gradient_slabs_[next_gradient_slab_++ % gradient_slabs_.size()];
    finish(slab);
    const TraceSpan span("scatter gradients of", unit_name(unit));
    const FlatShard& shard = shards_[unit];
    const at::Tensor flat = slab.data.narrow(0, 0, shard.size);
    zero_gaps(flat, shard.segments);
    for (size_t i = 0; i < gradients.size(); ++i) {
        at::Tensor part = segment_view(flat, shard.segments[i]);
        if (gradients[i].defined()) {
            part.copy_(gradients[i]);
        } else {
            part.zero_();
        }
    }
    slab.unit = unit;
    slab.scattering =
        mesh_->scatter().reduce_scatter(slab.part.narrow(0, 0, shard.param.numel()), flat);
    if (!overlap_reduction_) {
        finish(slab);
    }
}

void ParameterStore::finish(GradientSlab& slab) {
    if (!slab.scattering.is_open()) {
        return;
    }
    const TraceSpan span("sum gradients of", unit_name(slab.unit));
    slab.scattering.wait();
    const at::Tensor sum = whole_sum(slab.unit);
    const at::Tensor part = slab.part.narrow(0, 0, sum.numel());
    if (bound_[slab.unit].micro_batches == 0) {
        sum.copy_(part, /*non_blocking=*/true);
    } else {
        sum.add_(part.to(sum.device()));
    }
    micro_batch_added(slab.unit);
}

/// After the last micro-batch the copies of the model add up what they have.
void ParameterStore::micro_batch_added(size_t unit) {
    if (++bound_[unit].micro_batches < micro_batches_ || mesh_->replicas().size() == 1) {
        return;
    }
    const at::Tensor grad = whole_sum(unit);
    // Converted on the device: a shard in host memory may still be on its way there, and the copy
    // back takes its turn after that.
    const at::Tensor sum = grad.to(bound_[unit].flat.options().dtype(at::kFloat),
                                   /*non_blocking=*/true)
                               .to(reduce_dtype_);
    auto summing = std::make_shared<dist::Pending>(mesh_->replicas().all_reduce(sum));
    replica_sums_.emplace_back([summing, sum, grad] {
        summing->wait();
        if (!sum.is_same(grad)) {
            grad.copy_(sum);
        }
    });
    if (!overlap_reduction_) {
        replica_sums_.back().wait();
    }
}

void ParameterStore::finish_gradients() {
    for (size_t i = 0; i < gradient_slabs_.size(); ++i) {
        finish(gradient_slabs_[next_gradient_slab_++ % gradient_slabs_.size()]);
    }
    for (dist::Pending& sum : replica_sums_) {
        sum.wait();
    }
    replica_sums_.clear();
    if (!shards_.empty() && shards_.front().param.is_cpu() && bound_.front().flat.is_cuda()) {
        wait_for_stream(bound_.front().flat.device());
    }
}

at::Tensor ParameterStore::grad_norm() const { return global_grad_norm(shards_, mesh_->scatter()); }

at::Tensor global_grad_norm(std::span<const FlatShard> shards, dist::Communicator& group) {
    std::vector<at::Tensor> norms;
    for (const FlatShard& shard : shards) {
        TORCH_CHECK(!shard.gradients.empty(), "no gradients were added");
        for (const GradientSum& sum : shard.gradients) {
            norms.push_back(at::linalg_vector_norm(sum.values));
        }
    }
    const at::Tensor norm = at::linalg_vector_norm(at::stack(norms));
    if (group.size() == 1) {
        return norm;
    }
    // Every process adds all squares itself: what an all-reduce adds up in another order in each
    // copy of the model would have the copies clip differently and drift apart.
    const at::Tensor own = norm.square().to(group.device()).view({1});
    const at::Tensor squares = at::empty({group.size()}, own.options());
    group.all_gather(squares, own).wait();
    return squares.sum().sqrt().to(norm.device());
}

}  // namespace flux::units
