// at::cuda::CUDAGraph lies in LibTorch's CUDA library, which only runs on a GPU load
// (cuda_device.h), so its functions are looked up there, by the names that the Itanium ABI gives
// them; member functions take the object first.
#include "flux/kernels/device_graph.h"

#include <utility>

#include "flux/base/error.h"
#include "flux/base/log.h"

#ifdef FLUX_WITH_CUDA
#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAFunctions.h>
#include <dlfcn.h>

#include <cstddef>
#endif

namespace flux::kernels {

#ifdef FLUX_WITH_CUDA
namespace {

using at::cuda::CUDAGraph;

struct GraphFunctions {
    void (*construct)(CUDAGraph*, bool keep_graph);
    void (*destroy)(CUDAGraph*);
    void (*begin)(CUDAGraph*, c10::MempoolId_t, cudaStreamCaptureMode);
    void (*end)(CUDAGraph*);
    void (*replay)(CUDAGraph*);
    c10::MempoolId_t (*pool)(CUDAGraph*);
};

template <class Function>
void look_up(const char* name, Function& function) {
    function = reinterpret_cast<Function>(::dlsym(RTLD_DEFAULT, name));
    if (function == nullptr) {
        fail("CUDA graphs: LibTorch has no function {}: install LibTorch 2.11.0", name);
    }
}

const GraphFunctions& graph_functions() {
    static const GraphFunctions functions = [] {
        GraphFunctions found{};
        look_up("_ZN2at4cuda9CUDAGraphC1Eb", found.construct);
        look_up("_ZN2at4cuda9CUDAGraphD1Ev", found.destroy);
        look_up("_ZN2at4cuda9CUDAGraph13capture_beginESt4pairIyyE21cudaStreamCaptureMode",
                found.begin);
        look_up("_ZN2at4cuda9CUDAGraph11capture_endEv", found.end);
        look_up("_ZN2at4cuda9CUDAGraph6replayEv", found.replay);
        look_up("_ZN2at4cuda9CUDAGraph4poolEv", found.pool);
        return found;
    }();
    return functions;
}

}  // namespace

class DeviceGraph::Recording {
public:
    Recording() { graph_functions().construct(graph(), /*keep_graph=*/false); }
    ~Recording() { graph_functions().destroy(graph()); }
    Recording(const Recording&) = delete;
    Recording& operator=(const Recording&) = delete;

    void record(const std::function<void()>& work, Recording* earlier) {
        // What steps before it took lies in the allocator's cache, where the graph's own pool
        // cannot reach it.
        c10::cuda::device_synchronize();
        c10::cuda::CUDACachingAllocator::emptyCache();
        const c10::MempoolId_t pool =
            earlier == nullptr ? c10::MempoolId_t{0, 0} : graph_functions().pool(earlier->graph());
        // Threads that read data lock pages meanwhile; only this one is held to the rules.
        graph_functions().begin(graph(), pool, cudaStreamCaptureModeThreadLocal);
        try {
            work();
        } catch (...) {
            give_up();
            throw;
        }
        graph_functions().end(graph());
    }

    void replay() { graph_functions().replay(graph()); }

private:
    /// The stream and the allocator must leave a graph that came to nothing.
    void give_up() {
        try {
            graph_functions().end(graph());
        } catch (const std::exception& problem) {  // what ended the work says more
            log::warning("CUDA graphs: {}", failure_text(problem));
        }
    }

    CUDAGraph* graph() { return reinterpret_cast<CUDAGraph*>(memory_); }

    alignas(CUDAGraph) std::byte memory_[sizeof(CUDAGraph)];
};

#else

class DeviceGraph::Recording {
public:
    void record(const std::function<void()>&, Recording*) {
        fail("CUDA graphs: this build has no CUDA: install nvcc 13 and build again");
    }
    void replay() { record({}, nullptr); }
};

#endif

bool DeviceGraph::knows_gpus() {
#ifdef FLUX_WITH_CUDA
    return true;
#else
    return false;
#endif
}

DeviceGraph::DeviceGraph(c10::Device device, std::function<void()> work,
                         const DeviceGraph* earlier) {
    if (device.is_cpu()) {
        work_ = std::move(work);
        return;
    }
    recording_ = std::make_unique<Recording>();
    recording_->record(work, earlier == nullptr ? nullptr : earlier->recording_.get());
}

DeviceGraph::~DeviceGraph() = default;

void DeviceGraph::replay() {
    if (recording_) {
        recording_->replay();
    } else {
        work_();
    }
}

}  // namespace flux::kernels
