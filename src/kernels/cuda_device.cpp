#include "flux/kernels/cuda_device.h"

#include <ATen/Context.h>
#include <dlfcn.h>

#include <filesystem>

#ifdef FLUX_WITH_CUDA
#include <c10/cuda/CUDACachingAllocator.h>
#include <cuda_runtime_api.h>
#include <fmt/core.h>
#endif

namespace flux::kernels {

std::optional<std::string> cuda_problem() {
    if (!std::filesystem::exists("/dev/nvidiactl") && !std::filesystem::exists("/dev/dxg")) {
        return "there is no NVIDIA driver";
    }
    if (::dlopen("libtorch_cuda.so", RTLD_NOW | RTLD_GLOBAL) == nullptr) {
        return ::dlerror();
    }
    return at::getNumGPUs() > 0 ? std::nullopt : std::optional<std::string>("no GPU is visible");
}

#ifdef FLUX_WITH_CUDA

std::string cuda_device_name(int index) {
    cudaDeviceProp properties{};
    return cudaGetDeviceProperties(&properties, index) == cudaSuccess ? properties.name : "GPU";
}

std::string cuda_device_id(int index) {
    cudaDeviceProp properties{};
    std::string id;
    if (cudaGetDeviceProperties(&properties, index) == cudaSuccess) {
        for (const char byte : properties.uuid.bytes) {
            id += fmt::format("{:02x}", static_cast<unsigned char>(byte));
        }
    }
    return id;
}

int cuda_capability(int index) {
    cudaDeviceProp properties{};
    return cudaGetDeviceProperties(&properties, index) == cudaSuccess
               ? 10 * properties.major + properties.minor
               : 0;
}

CudaMemory cuda_memory(int index) {
    const auto stats =
        c10::cuda::CUDACachingAllocator::getDeviceStats(static_cast<c10::DeviceIndex>(index));
    CudaMemory memory;
    memory.peak_reserved_bytes = static_cast<size_t>(stats.reserved_bytes[0].peak);
    memory.peak_allocated_bytes = static_cast<size_t>(stats.allocated_bytes[0].peak);
    size_t free_bytes = 0;
    if (cudaMemGetInfo(&free_bytes, &memory.total_bytes) != cudaSuccess) {
        memory.total_bytes = 0;
    }
    return memory;
}

#else

std::string cuda_device_name(int) { return "GPU"; }

std::string cuda_device_id(int) { return {}; }

int cuda_capability(int) { return 0; }

CudaMemory cuda_memory(int) { return {}; }

#endif

}  // namespace flux::kernels
