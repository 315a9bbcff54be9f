// What a training job needs of memory, links and time, computed from its configuration: nothing is
// allocated and no GPU is asked. Tested against the counters of real processes.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "flux/config/job_config.h"
#include "flux/dist/mesh.h"
#include "flux/encoders/published.h"
#include "flux/model/execution.h"
#include "flux/model/flux_config.h"
#include "flux/train/gpu_model.h"
#include "flux/units/recompute.h"
#include "flux/units/store_layout.h"

namespace flux::train {

struct ResolvedJob;

struct PlanSettings {
    model::FluxConfig model;
    units::StoreSettings store;
    units::RecomputePolicy recompute;
    model::Execution execution{};
    dist::MeshShape mesh;
    int64_t batch_size = 1;     // of one process's micro-batch
    int64_t micro_batches = 1;  // a step
    int64_t image_tokens = 0;
    int64_t text_tokens = 0;
    at::ScalarType text_dtype = at::kFloat;  // of the encoded captions
    std::vector<encoders::EncoderCost> encoders{};
    config::AsyncMode saves = config::AsyncMode::kDisabled;
    bool averages = false;  // training.ema_decay
};

/// Bytes of one process.
struct MemoryPlan {
    int64_t parameters = 0;         // fp32 shard, like the next
    int64_t all_gradients = 0;      // come as activations go
    int64_t gradients = 0;          // of those, what raises the peak of backward
    int64_t earlier_gradients = 0;  // sums of the micro-batches before
    int64_t optimizer = 0;          // both moments
    int64_t average = 0;            // of the parameters
    int64_t slabs = 0;              // gathered weights
    int64_t gradient_slabs = 0;     // gradients on their way
    int64_t inputs = 0;             // of a micro-batch, its targets and predictions
    int64_t kept = 0;               // activations kept for backward
    int64_t activations = 0;  // the most that is alive, those kept included, and gradients that
                              // are on their way in room of their own
    int64_t encoders = 0;     // frozen weights
    int64_t encoding = 0;     // alive while the encoders work; the activations are not then
    int64_t host_shards = 0;  // instead of all before slabs: training.enable_cpu_offload
    int64_t host_encoders = 0;
    int64_t host_staging = 0;  // copies of what a checkpoint writes

    int64_t device() const;
    int64_t host() const { return host_shards + host_encoders + host_staging; }
};

/// What the store would hold and exchange.
units::StoreLayout plan_layout(const PlanSettings& settings);

MemoryPlan plan_memory(const PlanSettings& settings);

/// All but the encoders, which are none.
PlanSettings plan_settings(const ResolvedJob& job);

/// A machine that the processes of a job compute on.
struct Machine {
    std::string device;  // name, for messages
    int64_t device_bytes = 0;
    int64_t host_bytes = 0;  // the same memory where the device is the CPU
    int64_t processes = 1;   // on it, each with a GPU of its own
};

/// Better said at once than by the system that kills the process: throws Error if not even what
/// stays allocated for the transformer fits.
void check_memory(const PlanSettings& settings, const Machine& machine);

/// Of one process in one step: weights and gradients, the gradients' norm, loss and stop request.
dist::Traffic plan_traffic(const PlanSettings& settings);

/// The largest micro-batch whose device() is at most `bytes`; 0 if not even one sample fits.
int64_t largest_batch(PlanSettings settings, int64_t bytes);

struct Links {
    double intra_node_gbs = 0;  // what one GPU sends, 1e9 bytes a second
    double inter_node_gbs = 0;
    int64_t gpus_per_node = 1;
};

/// Seconds of one step.
struct TimePlan {
    double compute = 0;  // of which the next two
    double recompute = 0;
    double encode = 0;
    double all_gather = 0;
    double reduce_scatter = 0;
    double all_reduce = 0;
    double model_flops = 0;  // of one process, as MFU counts them: without the next two

    double exchange() const { return all_gather + reduce_scatter + all_reduce; }
    /// With all communication behind computation as far as there is any, and with none.
    double best() const;
    double worst() const { return compute + exchange(); }
};

/// `flops_per_s`: what a GPU reaches.
TimePlan plan_time(const PlanSettings& settings, const Links& links, double flops_per_s);

}  // namespace flux::train
