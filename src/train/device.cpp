#include "flux/train/device.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <dlfcn.h>

#include <filesystem>

#include "flux/base/error.h"
#include "flux/kernels/cuda_device.h"

namespace flux::train {
namespace {

/// The CUDA half of LibTorch takes a second to load and registers itself; runs on the CPU do
/// without it.
bool load_cuda_library(std::string& problem) {
    if (::dlopen("libtorch_cuda.so", RTLD_NOW | RTLD_GLOBAL) == nullptr) {
        problem = ::dlerror();
        return false;
    }
    return true;
}

bool has_gpu_driver() {
    return std::filesystem::exists("/dev/nvidiactl") || std::filesystem::exists("/dev/dxg");
}

}  // namespace

c10::Device choose_device(config::Device choice) {
    if (choice == config::Device::kCpu || (choice == config::Device::kAuto && !has_gpu_driver())) {
        return at::kCPU;
    }
    std::string problem = "no GPU is visible";
    if (load_cuda_library(problem) && at::getNumGPUs() > 0) {
        at::globalContext().setAllowTF32CuBLAS(false);
        at::globalContext().setAllowTF32CuDNN(false);
        return c10::Device(at::kCUDA, 0);
    }
    if (choice == config::Device::kCuda) {
        fail(
            "training.device = \"cuda\": {}; use training.device = \"cpu\" on a machine without a "
            "GPU",
            problem);
    }
    return at::kCPU;
}

c10::ScalarType compute_dtype(config::Precision choice, c10::Device device) {
    switch (choice) {
        case config::Precision::kBfloat16:
            return at::kBFloat16;
        case config::Precision::kFloat32:
            return at::kFloat;
        case config::Precision::kAuto:
            break;
    }
    return device.is_cuda() ? at::kBFloat16 : at::kFloat;
}

std::string device_name(c10::Device device) {
    return device.is_cuda() ? kernels::cuda_device_name(device.index())
                            : fmt::format("CPU ({} threads)", at::get_num_threads());
}

metrics::MemoryUse device_memory(c10::Device device) {
    if (!device.is_cuda()) {
        return metrics::host_memory();
    }
    const kernels::CudaMemory memory = kernels::cuda_memory(device.index());
    return metrics::memory_use(memory.peak_reserved_bytes, memory.total_bytes);
}

}  // namespace flux::train
