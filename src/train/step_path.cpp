#include "flux/train/step_path.h"

#include <fmt/format.h>

#include <optional>

#include "flux/base/dtype.h"
#include "flux/base/log.h"
#include "flux/kernels/device_graph.h"
#include "flux/kernels/fused.h"
#include "flux/train/execution.h"

namespace flux::train {
namespace {

std::optional<std::string> no_graph_because(const ResolvedJob& job) {
    if (!job.device.is_cuda()) {
        return "there are no CUDA graphs on a CPU";
    }
    if (!kernels::DeviceGraph::knows_gpus()) {
        return "this build has no CUDA; install nvcc 13 and build again";
    }
    if (job.config.training.enable_cpu_offload) {
        return "with training.enable_cpu_offload the optimizer runs on the host";
    }
    return std::nullopt;
}

/// What runs, not what is wished for.
std::string operations_text(const ResolvedJob& job) {
    if (!job.config.kernels.fused) {
        return "twins";
    }
    if (!kernels::fuses(job.device.type(), job.dtype)) {
        return "twins (nothing is fused for this device in this build)";
    }
    const bool other_attention = job.device.is_cpu() && !kernels::fuses_attention_on_cpu(job.dtype);
    const bool wide = job.device.is_cpu() && kernels::widens_products(job.dtype) &&
                      execution(job.config).products == kernels::Products{};
    return fmt::format("fused{}{}", other_attention ? " but for attention" : "",
                       wide ? ", blocks' products in float32" : "");
}

std::string recompute_text(const ResolvedJob& job) {
    const units::RecomputePolicy policy = recompute_policy(job.config);
    const int64_t units = job.model.depth + job.model.depth_single_blocks + 2;
    int64_t again = 0;
    for (int64_t i = 0; i < units; ++i) {
        again += policy.recomputes(static_cast<size_t>(i)) ? 1 : 0;
    }
    if (again == 0) {
        return "no recompute";
    }
    return fmt::format("recompute{}{}",
                       again == units ? "" : fmt::format(" of {} of {} units", again, units),
                       policy.keeps_results ? "" : " from inputs alone");
}

std::string path_text(const ResolvedJob& job, bool captures) {
    const config::JobConfig& config = job.config;
    std::string path =
        fmt::format("{}{}, {}, {}", long_name(job.dtype), products_text(config, job.model),
                    operations_text(job), recompute_text(job));
    if (job.device.is_cuda()) {
        path += config.kernels.tf32 ? ", TF32" : ", no TF32";
    }
    return path + (captures ? ", CUDA graph" : ", eager");
}

}  // namespace

std::string step_path(const ResolvedJob& job) { return path_text(job, captures_steps(job)); }

void say_step_path(const ResolvedJob& job) {
    const bool compile = job.config.training.compile;
    const auto reason = no_graph_because(job);
    log::info("a step runs as: {}", path_text(job, compile && !reason));
    if (job.config.kernels.tf32 && !job.device.is_cuda()) {
        log::warning("kernels.tf32: there is no TF32 on a CPU");
    }
    if (job.config.training.enable_cpu_offload && job.device.is_cpu()) {
        log::warning(
            "training.enable_cpu_offload: on a CPU all is in host memory: weights are held twice, "
            "which spares nothing");
    }
    if (compile && reason) {
        log::warning("training.compile: steps run operation by operation: {}", *reason);
    }
}

bool captures_steps(const ResolvedJob& job) {
    return job.config.training.compile && !no_graph_because(job);
}

}  // namespace flux::train
