// Facts about a GPU that LibTorch's device-neutral interface does not tell. Only to be asked about
// a CUDA device.
#pragma once

#include <cstddef>
#include <string>

namespace flux::kernels {

/// Name as the driver reports it, "NVIDIA H200".
std::string cuda_device_name(int index);

struct CudaMemory {
    size_t peak_reserved_bytes = 0;  // by LibTorch's caching allocator
    size_t total_bytes = 0;
};
CudaMemory cuda_memory(int index);

}  // namespace flux::kernels
