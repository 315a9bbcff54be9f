#include "flux/train/plan.h"

#include <algorithm>
#include <bit>
#include <numeric>

#include "flux/base/error.h"
#include "flux/encoders/encoder.h"
#include "flux/model/activations.h"
#include "flux/model/flops.h"
#include "flux/model/mmdit.h"
#include "flux/train/execution.h"
#include "flux/train/job.h"
#include "flux/units/precision.h"

namespace flux::train {
namespace {

constexpr int64_t kFloatBytes = 4;

int64_t bytes_of(at::ScalarType dtype) { return static_cast<int64_t>(c10::elementSize(dtype)); }

std::vector<model::UnitActivations> activations_of(const PlanSettings& settings) {
    return model::activations(settings.model, {.batch = settings.batch_size,
                                               .image_tokens = settings.image_tokens,
                                               .text_tokens = settings.text_tokens,
                                               .dtype = settings.store.compute_dtype,
                                               .on_gpu = !settings.store.device.is_cpu(),
                                               .execution = settings.execution});
}

/// What train_step() holds beside the transformer: picture, target, prediction and its gradient in
/// fp32, text. Where the transformer computes in their dtype, its own input is the same memory.
int64_t input_bytes(const PlanSettings& settings) {
    const model::FluxConfig& c = settings.model;
    const int64_t picture = settings.batch_size * settings.image_tokens * c.in_channels;
    const int64_t text =
        settings.batch_size * (settings.text_tokens * c.context_in_dim + c.vec_in_dim);
    const at::ScalarType compute = settings.store.compute_dtype;
    return (compute == at::kFloat ? 3 : 4) * picture * kFloatBytes +
           (compute == settings.text_dtype ? 0 : text * bytes_of(settings.text_dtype));
}

/// Room that gradients of later units take while unit i runs backward. Between copies of the model
/// they travel as they are only in fp32 and on the device. Gloo exchanges whole gradients in room
/// of its own; NCCL needs none.
void add_exchange_room(std::vector<model::UnitActivations>& units, const PlanSettings& settings,
                       const units::StoreLayout& layout) {
    const units::StoreSettings& store = settings.store;
    const bool on_cpu = store.device.is_cpu();
    const bool copied = settings.mesh.replicate > 1 &&
                        (store.reduce_dtype != at::kFloat || (store.host_shards && !on_cpu));
    // From host memory they come as fp32, whatever they travel in.
    const bool converted = copied && store.host_shards && store.reduce_dtype != at::kFloat;
    const bool exchanged = on_cpu && layout.gradient_slab > 0 && store.overlap_reduction;
    int64_t to_copies = 0;
    for (size_t i = units.size(); i-- > 0;) {
        int64_t room = to_copies + (converted && !on_cpu ? layout.part(i) * kFloatBytes : 0);
        to_copies += copied ? layout.part(i) * bytes_of(store.reduce_dtype) : 0;
        for (size_t before = 1; before <= units::kGradientSlabs && exchanged; ++before) {
            // After a micro-batch its first units' are still on their way.
            const size_t later = i + before;
            if (later < units.size() || settings.micro_batches > 1) {
                room += layout.unit_sizes[later % units.size()] * bytes_of(store.reduce_dtype);
            }
        }
        units[i].backward += room;
        units[i].handing_over += room;
    }
}

/// Bytes of each unit's shard.
std::vector<int64_t> shard_bytes(const units::StoreLayout& layout) {
    std::vector<int64_t> bytes;
    for (size_t unit = 0; unit < layout.unit_sizes.size(); ++unit) {
        bytes.push_back(layout.part(unit) * kFloatBytes);
    }
    return bytes;
}

/// LibTorch takes every block of pinned memory in a power of two.
int64_t pinned_bytes(int64_t bytes) {
    return bytes == 0 ? 0 : static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(bytes)));
}

/// Both moments and, where it is kept, the average: what the optimizer holds beside the parameters.
int64_t optimizer_tensors(const PlanSettings& settings) { return settings.averages ? 3 : 2; }

/// Values and gradients are a block a unit each, pinned for a GPU; what the optimizer holds is not.
int64_t host_shard_bytes(const PlanSettings& settings, const units::StoreLayout& layout) {
    int64_t bytes = optimizer_tensors(settings) * layout.shard() * kFloatBytes;
    for (const int64_t part : shard_bytes(layout)) {
        bytes += 2 * (settings.store.device.is_cuda() ? pinned_bytes(part) : part);
    }
    return bytes;
}

/// Pinned copies of what one process of a copy of the model writes, a block a tensor's part.
int64_t pinned_staging_bytes(const PlanSettings& settings, const units::StoreLayout& layout,
                             int64_t process) {
    int64_t bytes = 0;
    const auto units = model::make_units(settings.model);
    for (size_t unit = 0; unit < units.size(); ++unit) {
        const int64_t begin = layout.part(unit) * process, end = begin + layout.part(unit);
        for (const units::Segment& segment : units::make_segments(units[unit]->parameters())) {
            const int64_t first = std::max(segment.offset, begin);
            const int64_t last = std::min(segment.offset + segment.numel, end);
            const int64_t share = std::max<int64_t>(0, last - first) / settings.mesh.replicate;
            bytes += (1 + optimizer_tensors(settings)) * pinned_bytes(share * kFloatBytes);
        }
    }
    return bytes;
}

/// Copies of the parameters, moments and average that a process writes: its share of what the
/// copies of the model hold alike. What lies in host memory is copied to pageable memory.
int64_t staging_bytes(const PlanSettings& settings, const units::StoreLayout& layout) {
    const units::StoreSettings& store = settings.store;
    switch (settings.saves) {
        case config::AsyncMode::kDisabled:
            return 0;
        case config::AsyncMode::kAsyncPinned:
            if (store.device.is_cuda() && !store.host_shards) {
                int64_t most = 0;
                for (int64_t process = 0; process < settings.mesh.shard; ++process) {
                    most = std::max(most, pinned_staging_bytes(settings, layout, process));
                }
                return most;
            }
            break;
        case config::AsyncMode::kAsync:
            break;
    }
    return (1 + optimizer_tensors(settings)) * layout.shard() * kFloatBytes /
           settings.mesh.replicate;
}

void add_encoders(MemoryPlan& plan, const PlanSettings& settings) {
    for (const encoders::EncoderCost& encoder : settings.encoders) {
        plan.encoders += encoder.weights.device;
        plan.host_encoders += encoder.weights.host;
        plan.encoding = std::max(plan.encoding, settings.batch_size * encoder.working_bytes);
    }
}

/// Operations done again in backward, for one sample.
double recomputed_flops(const PlanSettings& settings) {
    double flops = 0;
    for (int64_t i = 0; i < settings.model.depth + settings.model.depth_single_blocks; ++i) {
        if (settings.recompute.recomputes(static_cast<size_t>(i) + 1)) {
            const model::BlockFlops block =
                model::block_flops(settings.model, i, settings.image_tokens, settings.text_tokens);
            flops += block.all - (settings.recompute.keeps_results ? block.last_product : 0);
        }
    }
    return flops;
}

/// What each rank of a group can send: `together` of its ranks share a machine, and all adapters of
/// a machine serve the groups on it.
double group_gbs(const Links& links, int64_t size, int64_t together) {
    if (together >= size) {
        return links.intra_node_gbs;
    }
    return std::min(links.intra_node_gbs, static_cast<double>(together) * links.inter_node_gbs);
}

}  // namespace

int64_t MemoryPlan::device() const {
    return parameters + optimizer + average + slabs + gradient_slabs + encoders +
           std::max(
               {inputs + activations + gradients, earlier_gradients + encoding, all_gradients});
}

units::StoreLayout plan_layout(const PlanSettings& settings) {
    const auto units = model::make_units(settings.model);
    std::vector<std::span<const units::Parameter>> lists;
    for (const auto& unit : units) {
        lists.emplace_back(unit->parameters());
    }
    return units::make_layout(lists, settings.store, settings.mesh.shard);
}

MemoryPlan plan_memory(const PlanSettings& settings) {
    const units::StoreLayout layout = plan_layout(settings);
    const units::StoreSettings& store = settings.store;
    const int64_t shard = layout.shard() * kFloatBytes;
    MemoryPlan plan;
    if (store.host_shards) {
        plan.host_shards = host_shard_bytes(settings, layout);
    } else {
        plan.parameters = plan.all_gradients = shard;
        plan.optimizer = 2 * shard;
        plan.average = settings.averages ? shard : 0;
    }
    plan.slabs = std::accumulate(layout.slab_sizes.begin(), layout.slab_sizes.end(), int64_t{0}) *
                 bytes_of(store.compute_dtype);
    plan.gradient_slabs = static_cast<int64_t>(units::kGradientSlabs) *
                          (layout.gradient_slab + layout.gradient_slab / layout.processes) *
                          bytes_of(store.reduce_dtype);
    auto units = activations_of(settings);
    plan.kept = model::kept_by_forward(units, settings.recompute);
    add_exchange_room(units, settings, layout);
    plan.activations = model::activation_peak(units, settings.recompute);
    if (settings.micro_batches > 1) {
        plan.gradients = plan.earlier_gradients = plan.all_gradients;
    } else if (!store.host_shards) {
        plan.gradients = model::activation_peak(units, settings.recompute, shard_bytes(layout)) -
                         plan.activations;
    }
    plan.inputs = input_bytes(settings);
    add_encoders(plan, settings);
    plan.host_staging = staging_bytes(settings, layout);
    return plan;
}

PlanSettings plan_settings(const ResolvedJob& job) {
    const config::JobConfig& config = job.config;
    return {.model = job.model,
            .store = job.store(nullptr),
            .recompute = recompute_policy(config),
            .execution = execution(config),
            .mesh = job.mesh,
            .batch_size = config.training.batch_size,
            .micro_batches = job.micro_batches(),
            .image_tokens = job.image_tokens(),
            .text_tokens = config.encoder.max_t5_encoding_len,
            .text_dtype = units::compute_dtype(config.encoder.dtype, job.device),
            .saves = config.checkpoint.enable_checkpoint ? config.checkpoint.async_mode
                                                         : config::AsyncMode::kDisabled,
            .averages = config.training.ema_decay > 0};
}

void check_memory(const PlanSettings& settings, const Machine& machine) {
    const MemoryPlan plan = plan_memory(settings);
    const bool on_cpu = settings.store.device.is_cpu();
    const auto check = [&](int64_t needed, int64_t available, const std::string& what,
                           const std::string& where, const char* remedy) {
        constexpr double kGiB = 1 << 30;
        if (needed > available) {
            fail(
                "the model has {:.4g} billion parameters; training them takes {:.1f} GiB for {}, "
                "{} has {:.1f} GiB: choose a smaller model.flavor or smaller sizes (model.depth, "
                "model.hidden_size, ...), {}",
                1e-9 * static_cast<double>(model::parameter_count(settings.model)),
                static_cast<double>(needed) / kGiB, what, where,
                static_cast<double>(available) / kGiB, remedy);
        }
    };
    const int64_t kept = plan.parameters + plan.all_gradients + plan.optimizer + plan.average +
                         plan.slabs + plan.gradient_slabs;
    check(on_cpu ? machine.processes * kept : kept, machine.device_bytes,
          plan.host_shards > 0 ? "gathered weights and gradients alone"
                               : "weights, gradients and optimizer state alone",
          machine.device,
          on_cpu ? "or a larger machine"
          : plan.host_shards > 0
              ? "a smaller parallelism.fsdp_prefetch_params, or a GPU with more memory"
              : "more GPUs that share the model, training.enable_cpu_offload, or a GPU with more "
                "memory");
    check(machine.processes * plan.host_shards, machine.host_bytes,
          "weights, gradients and optimizer state in the machine's memory "
          "(training.enable_cpu_offload)",
          "it", "more GPUs that share the model, or a machine with more memory");
}

dist::Traffic plan_traffic(const PlanSettings& settings) {
    const dist::MeshShape& mesh = settings.mesh;
    dist::Traffic traffic =
        units::step_traffic(plan_layout(settings), settings.store, mesh, settings.micro_batches);
    if (mesh.size() > 1) {
        traffic.add_all_reduce(3 * kFloatBytes, mesh.size());  // loss, stop request, bad samples
    }
    if (mesh.shard > 1) {
        traffic.add_all_gather(kFloatBytes, mesh.shard);  // squares of the gradients' norm
    }
    return traffic;
}

int64_t largest_batch(PlanSettings settings, int64_t bytes) {
    const auto fits = [&](int64_t batch) {
        settings.batch_size = batch;
        return plan_memory(settings).device() <= bytes;
    };
    if (!fits(1)) {
        return 0;
    }
    int64_t low = 1, high = 2;  // low fits
    while (fits(high)) {
        low = high;
        high *= 2;
    }
    while (high - low > 1) {
        const int64_t middle = low + (high - low) / 2;
        (fits(middle) ? low : high) = middle;
    }
    return low;
}

double TimePlan::best() const {
    return std::max({compute, all_gather + reduce_scatter, all_reduce});
}

TimePlan plan_time(const PlanSettings& settings, const Links& links, double flops_per_s) {
    const auto samples = static_cast<double>(settings.batch_size * settings.micro_batches);
    double encoding = 0;
    for (const encoders::EncoderCost& encoder : settings.encoders) {
        encoding += encoder.flops;
    }
    TimePlan plan;
    plan.model_flops =
        model::training_flops(settings.model, settings.image_tokens, settings.text_tokens) *
        samples;
    plan.recompute = recomputed_flops(settings) * samples / flops_per_s;
    plan.encode = encoding * samples / flops_per_s;
    plan.compute = plan.model_flops / flops_per_s + plan.recompute + plan.encode;
    const int64_t shard = settings.mesh.shard;
    const double sharing = 1e9 * group_gbs(links, shard, std::gcd(shard, links.gpus_per_node));
    const double copying = 1e9 * group_gbs(links, settings.mesh.replicate,
                                           std::max<int64_t>(1, links.gpus_per_node / shard));
    const dist::Traffic traffic = plan_traffic(settings);
    plan.all_gather = static_cast<double>(traffic.all_gather) / sharing;
    plan.reduce_scatter = static_cast<double>(traffic.reduce_scatter) / sharing;
    plan.all_reduce = static_cast<double>(traffic.all_reduce) / copying;
    return plan;
}

}  // namespace flux::train
