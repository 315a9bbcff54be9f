// Which device a run computes on, in which dtype, and what is known about it.
#pragma once

#include <c10/core/Device.h>

#include <string>

#include "flux/config/job_config.h"
#include "flux/metrics/meter.h"

namespace flux::train {

/// Chooses the device (`auto`: the GPU of the process's number on this machine, else the CPU) and
/// sets what holds for the whole
/// process: TF32 off, deterministic algorithms as asked. Throws Error with the remedy when a GPU is
/// asked for and none can be used.
c10::Device prepare_device(const config::Training& settings, int local_rank = 0);

/// "NVIDIA H200", or "CPU (8 threads)".
std::string device_name(c10::Device device);

/// Memory of the device, or of the machine for the CPU.
size_t device_memory_bytes(c10::Device device);

/// Memory of the device in use by this process: peak of the caching allocator on a GPU, resident
/// memory on the CPU.
metrics::MemoryUse device_memory(c10::Device device);

}  // namespace flux::train
