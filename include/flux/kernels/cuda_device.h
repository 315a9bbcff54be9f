// What LibTorch's device-neutral interface does not tell about GPUs, and the loading of its CUDA
// library.
#pragma once

#include <cstddef>
#include <optional>
#include <string>

namespace flux::kernels {

/// Makes CUDA usable, or says why it is not. LibTorch's CUDA library takes seconds to load and
/// registers itself, so it is loaded here, on demand, and only where there is a driver: runs on the
/// CPU do without it.
std::optional<std::string> cuda_problem();

/// Name as the driver reports it, "NVIDIA H200". Only for a usable device, like the next ones.
std::string cuda_device_name(int index);
/// The driver's number for it in all processes and on all machines; empty if it gives none.
std::string cuda_device_id(int index);
/// Compute capability in tenths, 90 for 9.0; 0 if it is not known.
int cuda_capability(int index);
/// From here on products of FP8 tensors exist.
inline constexpr int kFloat8Capability = 89;

struct CudaMemory {
    size_t peak_reserved_bytes = 0;   // by LibTorch's caching allocator
    size_t peak_allocated_bytes = 0;  // of that, by tensors
    size_t total_bytes = 0;
};
CudaMemory cuda_memory(int index);

}  // namespace flux::kernels
