// NCCL is called directly: its library comes with LibTorch's CUDA part, which only runs on a GPU
// load, so its functions are looked up when the first communicator is made.
#include "dist/nccl_communicator.h"

#include "flux/base/error.h"

#ifdef FLUX_WITH_CUDA
#include <ATen/core/Tensor.h>
#include <c10/core/Event.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <dlfcn.h>
#include <nccl.h>

#include <cstdlib>
#include <cstring>
#endif

namespace flux::dist {

#ifdef FLUX_WITH_CUDA
namespace {

/// The functions of libnccl.so.2 that are used here.
struct Nccl {
    decltype(&ncclGetUniqueId) get_unique_id;
    decltype(&ncclCommInitRank) init_rank;
    decltype(&ncclCommAbort) abort;
    decltype(&ncclAllGather) all_gather;
    decltype(&ncclReduceScatter) reduce_scatter;
    decltype(&ncclAllReduce) all_reduce;
    decltype(&ncclGetErrorString) error_string;
};

template <class Function>
void look_up(void* library, const char* name, Function& function) {
    function = reinterpret_cast<Function>(::dlsym(library, name));
    if (function == nullptr) {
        fail("NCCL: libnccl.so.2 has no function {}: install LibTorch's own", name);
    }
}

const Nccl& nccl() {
    static const Nccl functions = [] {
        // Several communicators run side by side on one device: all ranks start them in one order,
        // and NCCL is to keep it, or two could wait for each other's place on the device.
        ::setenv("NCCL_LAUNCH_ORDER_IMPLICIT", "1", /*overwrite=*/0);
        void* const library = ::dlopen("libnccl.so.2", RTLD_NOW);
        if (library == nullptr) {
            fail("NCCL cannot be loaded: {}", ::dlerror());
        }
        Nccl found{};
        look_up(library, "ncclGetUniqueId", found.get_unique_id);
        look_up(library, "ncclCommInitRank", found.init_rank);
        look_up(library, "ncclCommAbort", found.abort);
        look_up(library, "ncclAllGather", found.all_gather);
        look_up(library, "ncclReduceScatter", found.reduce_scatter);
        look_up(library, "ncclAllReduce", found.all_reduce);
        look_up(library, "ncclGetErrorString", found.error_string);
        return found;
    }();
    return functions;
}

void check_nccl(ncclResult_t result, const char* operation) {
    if (result != ncclSuccess) {
        throw LostPeer(fmt::format("NCCL: {}: {}", operation, nccl().error_string(result)));
    }
}

ncclDataType_t nccl_type(const at::Tensor& tensor) {
    switch (tensor.scalar_type()) {
        case at::kFloat:
            return ncclFloat32;
        case at::kBFloat16:
            return ncclBfloat16;
        case at::kHalf:
            return ncclFloat16;
        case at::kDouble:
            return ncclFloat64;
        case at::kLong:
            return ncclInt64;
        default:
            break;
    }
    TORCH_CHECK(false, "no NCCL type for ", tensor.scalar_type());
}

class NcclCommunicator final : public Communicator {
public:
    NcclCommunicator(Store& store, const GroupSettings& settings)
        : Communicator(settings.rank, settings.size, settings.device),
          stream_(c10::cuda::getStreamFromPool(/*isHighPriority=*/true, settings.device.index())) {
        const c10::cuda::CUDAGuard guard(device());
        ncclUniqueId id{};
        const std::string key = "nccl/" + settings.name;
        if (settings.rank == 0) {
            check_nccl(nccl().get_unique_id(&id), "ncclGetUniqueId");
            store.set(key, {id.internal, sizeof(id.internal)});
        }
        const std::string shared = store.get(key, settings.timeout);
        std::memcpy(id.internal, shared.data(), std::min(shared.size(), sizeof(id.internal)));
        check_nccl(nccl().init_rank(&communicator_, settings.size, id, settings.rank),
                   "ncclCommInitRank");
    }

    /// Not ncclCommDestroy: that waits for the other ranks, which may be gone. After a good run all
    /// have met (Trainer::finish()), so that nobody waits for this one any more.
    ~NcclCommunicator() override {
        c10::cuda::CUDAGuard guard(device());
        nccl().abort(communicator_);
    }

    /// Nothing on the host waits here; dist/fault_watch.h watches the steps.
    void set_timeout(std::chrono::milliseconds) override {}

private:
    Pending start_all_gather(const at::Tensor& output, const at::Tensor& input) override {
        return start({output, input}, "all-gather", [&] {
            return nccl().all_gather(input.const_data_ptr(), output.mutable_data_ptr(),
                                     static_cast<size_t>(input.numel()), nccl_type(input),
                                     communicator_, stream_.stream());
        });
    }

    Pending start_reduce_scatter(const at::Tensor& output, const at::Tensor& input) override {
        return start({output, input}, "reduce-scatter", [&] {
            return nccl().reduce_scatter(input.const_data_ptr(), output.mutable_data_ptr(),
                                         static_cast<size_t>(output.numel()), nccl_type(input),
                                         ncclSum, communicator_, stream_.stream());
        });
    }

    Pending start_all_reduce(const at::Tensor& data) override {
        return start({data}, "all-reduce", [&] {
            return nccl().all_reduce(data.const_data_ptr(), data.mutable_data_ptr(),
                                     static_cast<size_t>(data.numel()), nccl_type(data), ncclSum,
                                     communicator_, stream_.stream());
        });
    }

    /// Runs `operation` on the communicator's stream, after what the current stream holds now.
    template <class Operation>
    Pending start(const std::vector<at::Tensor>& tensors, const char* name, Operation operation) {
        const c10::cuda::CUDAGuard guard(device());
        c10::Event ready(c10::DeviceType::CUDA);
        ready.record(c10::cuda::getCurrentCUDAStream(device().index()).unwrap());
        ready.block(stream_.unwrap());
        check_nccl(operation(), name);
        for (const at::Tensor& tensor : tensors) {
            c10::cuda::CUDACachingAllocator::recordStream(tensor.storage().data_ptr(), stream_);
        }
        auto done = std::make_shared<c10::Event>(c10::DeviceType::CUDA);
        done->record(stream_.unwrap());
        return Pending([done, index = device().index()] {
            done->block(c10::cuda::getCurrentCUDAStream(index).unwrap());
        });
    }

    c10::cuda::CUDAStream stream_;
    ncclComm_t communicator_ = nullptr;
};

}  // namespace

std::unique_ptr<Communicator> make_nccl_communicator(Store& store, const GroupSettings& settings) {
    return std::make_unique<NcclCommunicator>(store, settings);
}

#else

std::unique_ptr<Communicator> make_nccl_communicator(Store&, const GroupSettings&) {
    fail("several processes on GPUs need a build with CUDA 13: install nvcc 13 and build again");
}

#endif

}  // namespace flux::dist
