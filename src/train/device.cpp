#include "flux/train/device.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <c10/util/Exception.h>
#include <unistd.h>

#include <fstream>
#include <map>
#include <string_view>

#include "flux/base/error.h"
#include "flux/kernels/cuda_device.h"
#include "flux/kernels/host_memory.h"

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

void allow_tf32(bool allowed) {
    at::globalContext().setAllowTF32CuBLAS(allowed);
    at::globalContext().setAllowTF32CuDNN(allowed);
}

c10::Device prepare_device(const config::JobConfig& config, int local_rank) {
    const config::Training& settings = config.training;
    at::globalContext().setDeterministicAlgorithms(settings.deterministic, /*warn_only=*/false);
    const bool may_use_gpu = settings.device != config::Device::kCpu;
    const auto problem = may_use_gpu ? kernels::cuda_problem() : std::nullopt;
    if (may_use_gpu && !problem) {
        allow_tf32(config.kernels.tf32);
        return take_gpu(local_rank);
    }
    if (settings.device == config::Device::kCuda) {
        fail(
            "training.device = \"cuda\": {}; use training.device = \"cpu\" on a machine without a "
            "GPU",
            *problem);
    }
    kernels::keep_host_memory();
    return at::kCPU;
}

RankDevice rank_device(const config::Training& settings, c10::Device device, c10::ScalarType dtype,
                       const std::string& host) {
    RankDevice own{.host = host, .dtype = c10::toString(dtype), .gpu = {}, .id = {}, .problem = {}};
    if (device.is_cuda()) {
        own.gpu = kernels::cuda_device_name(device.index());
        own.id = kernels::cuda_device_id(device.index());
    } else if (settings.device != config::Device::kCpu) {
        own.problem = kernels::cuda_problem().value_or("");
    }
    return own;
}

std::string to_text(const RankDevice& device) {
    std::string text;
    for (const std::string* field :
         {&device.host, &device.dtype, &device.gpu, &device.id, &device.problem}) {
        text += *field + '\0';
    }
    return text;
}

RankDevice rank_device_from(const std::string& text) {
    RankDevice device;
    size_t begin = 0;
    for (std::string* field :
         {&device.host, &device.dtype, &device.gpu, &device.id, &device.problem}) {
        const size_t end = text.find('\0', begin);
        TORCH_CHECK(end != text.npos, "a device is told in five fields");
        *field = text.substr(begin, end - begin);
        begin = end + 1;
    }
    return device;
}

std::optional<std::string> check_devices(const std::vector<RankDevice>& ranks) {
    const auto computes = [&](size_t rank) {
        const RankDevice& device = ranks[rank];
        return fmt::format("rank {} on {} computes on {}{} in {}", rank, device.host,
                           device.gpu.empty() ? "the CPU" : device.gpu,
                           device.problem.empty() ? "" : " (" + device.problem + ")", device.dtype);
    };
    std::map<std::string, size_t> owners;
    std::optional<std::string> difference;
    for (size_t rank = 0; rank < ranks.size(); ++rank) {
        const RankDevice &own = ranks[rank], &first = ranks.front();
        if (own.gpu.empty() != first.gpu.empty() || own.dtype != first.dtype) {
            fail(
                "{}, {}: all processes need the same kind of device and dtype; mend the machine "
                "without a GPU or leave it out, or set training.device and "
                "training.mixed_precision_param for all",
                computes(0), computes(rank));
        }
        if (!own.id.empty() && !owners.emplace(own.id, rank).second) {
            fail(
                "rank {} and rank {} on {} have the same GPU, {}: start no more processes on a "
                "machine than it has GPUs, and show each its own or all of them "
                "(CUDA_VISIBLE_DEVICES, LOCAL_RANK)",
                owners[own.id], rank, own.host, own.gpu);
        }
        if (!difference && own.gpu != first.gpu) {
            difference = fmt::format("{}, {}: the slowest sets the pace, the smallest the batch",
                                     computes(0), computes(rank));
        }
    }
    return difference;
}

std::string device_name(c10::Device device) {
    return device.is_cuda() ? kernels::cuda_device_name(device.index())
                            : fmt::format("CPU ({} threads)", at::get_num_threads());
}

std::string hardware_name(c10::Device device) {
    if (device.is_cuda()) {
        return device_name(device);
    }
    std::ifstream processors("/proc/cpuinfo");
    constexpr std::string_view kModel = "model name\t: ";
    for (std::string line; std::getline(processors, line);) {
        if (line.starts_with(kModel) && line.size() > kModel.size()) {
            return line.substr(kModel.size());
        }
    }
    return "CPU";
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
