#include "flux/train/device.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <unistd.h>

#include "flux/base/error.h"
#include "flux/kernels/cuda_device.h"

namespace flux::train {

namespace {

/// The GPU of this process, made the current one.
c10::Device take_gpu(int local_rank) {
    const int count = at::detail::getCUDAHooks().deviceCount();
    const int index = count == 1 ? 0 : local_rank;  // a launcher may show each process its own
    if (index >= count) {
        fail("process {} of this machine has no GPU, there are {}: start fewer processes",
             local_rank, count);
    }
    const c10::Device gpu(at::kCUDA, static_cast<c10::DeviceIndex>(index));
    c10::impl::VirtualGuardImpl(at::kCUDA).setDevice(gpu);
    return gpu;
}

}  // namespace

c10::Device prepare_device(const config::Training& settings, int local_rank) {
    at::globalContext().setDeterministicAlgorithms(settings.deterministic, /*warn_only=*/false);
    if (settings.device == config::Device::kCpu) {
        return at::kCPU;
    }
    const auto problem = kernels::cuda_problem();
    if (!problem) {
        at::globalContext().setAllowTF32CuBLAS(false);
        at::globalContext().setAllowTF32CuDNN(false);
        return take_gpu(local_rank);
    }
    if (settings.device == config::Device::kCuda) {
        fail(
            "training.device = \"cuda\": {}; use training.device = \"cpu\" on a machine without a "
            "GPU",
            *problem);
    }
    return at::kCPU;
}

std::string device_name(c10::Device device) {
    return device.is_cuda() ? kernels::cuda_device_name(device.index())
                            : fmt::format("CPU ({} threads)", at::get_num_threads());
}

size_t device_memory_bytes(c10::Device device) {
    if (device.is_cuda()) {
        return kernels::cuda_memory(device.index()).total_bytes;
    }
    return static_cast<size_t>(::sysconf(_SC_PHYS_PAGES)) *
           static_cast<size_t>(::sysconf(_SC_PAGESIZE));
}

metrics::MemoryUse device_memory(c10::Device device) {
    if (!device.is_cuda()) {
        return metrics::host_memory();
    }
    const kernels::CudaMemory memory = kernels::cuda_memory(device.index());
    return metrics::memory_use(memory.peak_reserved_bytes, memory.total_bytes);
}

}  // namespace flux::train
