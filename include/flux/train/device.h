// Which device a run computes on, in which dtype, and what is known about it.
#pragma once

#include <c10/core/Device.h>
#include <c10/core/ScalarType.h>

#include <optional>
#include <string>
#include <vector>

#include "flux/config/job_config.h"
#include "flux/metrics/meter.h"

namespace flux::train {

/// Chooses the device (`auto`: the GPU of the process's number on this machine, else the CPU) and
/// sets what holds for the whole process: TF32 (kernels.tf32) and deterministic algorithms as
/// asked, and that memory is kept where the CPU computes. Throws Error with the remedy when a GPU
/// is asked for and none can be used.
c10::Device prepare_device(const config::JobConfig& config, int local_rank = 0);

/// Whether cuBLAS and cuDNN may round the inputs of fp32 products to TF32.
void allow_tf32(bool allowed);

/// What a process computes on, as it tells the others.
struct RankDevice {
    std::string host;
    std::string dtype;
    std::string gpu;      // "NVIDIA H200"; empty: the CPU
    std::string id;       // the GPU's own number; empty: unknown
    std::string problem;  // why a machine that may use a GPU has none
};

/// Of this process, after prepare_device().
RankDevice rank_device(const config::Training& settings, c10::Device device, c10::ScalarType dtype,
                       const std::string& host);
std::string to_text(const RankDevice& device);
RankDevice rank_device_from(const std::string& text);

/// Throws Error, the same on all ranks, if some compute on GPUs and others on the CPU, in another
/// dtype, or two on one GPU. What is only to be known, that GPUs differ, is returned.
std::optional<std::string> check_devices(const std::vector<RankDevice>& ranks);

/// "NVIDIA H200", or "CPU (8 threads)".
std::string device_name(c10::Device device);

/// The GPU's name, or the CPU's as its maker calls it.
std::string hardware_name(c10::Device device);

/// Memory of the device, or of the machine for the CPU.
size_t device_memory_bytes(c10::Device device);

/// Memory of the device in use by this process: peak of the caching allocator on a GPU, resident
/// memory on the CPU.
metrics::MemoryUse device_memory(c10::Device device);

}  // namespace flux::train
