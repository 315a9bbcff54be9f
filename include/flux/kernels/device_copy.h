// Host tensors on their way to a GPU without the host, or the computation there, waiting for them.
// On a CPU they are there already.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>
#include <c10/core/Stream.h>

#include <optional>

namespace flux::kernels {

/// `host` on the device, in the order of the current stream. What is not in page-locked memory
/// passes through some: a copy from elsewhere would wait for all that the stream holds.
at::Tensor to_device(const at::Tensor& host, c10::Device device);

/// The same on a stream of its own: copies run beside what the device computes meanwhile.
class DeviceCopies {
public:
    explicit DeviceCopies(c10::Device device);

    /// The result is for the current stream, which waits for this copy alone.
    at::Tensor operator()(const at::Tensor& host) const;

private:
    c10::Device device_;
    std::optional<c10::Stream> stream_;  // none on a CPU
};

}  // namespace flux::kernels
