// Work of a device that is recorded once and then started as a whole: a CUDA graph. A CPU, which
// has none, keeps the work itself and does it again, so that those who use this are tested without
// a GPU.
#pragma once

#include <c10/core/Device.h>

#include <functional>
#include <memory>

namespace flux::kernels {

class DeviceGraph {
public:
    /// On a GPU: calls `work` and records what it starts on the current stream, which must not be
    /// the default one, and on streams that wait for it; nothing of that runs yet. `work` must
    /// neither wait for the device nor copy from ordinary host memory, and finds at each replay the
    /// same memory as when it was recorded. Memory that it takes comes from the pool of `earlier`
    /// (may be null): such graphs never run at the same time, and what one leaves may be
    /// overwritten by the next run of any of them. Throws Error with what the device says of a
    /// look-up, c10::Error where it cannot record.
    DeviceGraph(c10::Device device, std::function<void()> work, const DeviceGraph* earlier);
    ~DeviceGraph();
    DeviceGraph(const DeviceGraph&) = delete;
    DeviceGraph& operator=(const DeviceGraph&) = delete;

    /// Whether this build can record on a GPU.
    static bool knows_gpus();

    /// Starts the recorded work on the current stream.
    void replay();

private:
    class Recording;

    std::function<void()> work_;            // on a CPU
    std::unique_ptr<Recording> recording_;  // on a GPU
};

}  // namespace flux::kernels
