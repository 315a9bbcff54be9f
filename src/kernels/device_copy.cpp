#include "flux/kernels/device_copy.h"

#include <c10/core/Event.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>

namespace flux::kernels {

at::Tensor to_device(const at::Tensor& host, c10::Device device) {
    if (!device.is_cuda() || !host.is_cpu()) {
        return host.to(device);
    }
    // Page-locked memory is kept until its copies are done.
    const at::Tensor locked = host.is_pinned() ? host : host.pin_memory();
    return locked.to(device, /*non_blocking=*/true);
}

DeviceCopies::DeviceCopies(c10::Device device) : device_(device) {
    if (!device.is_cpu()) {
        stream_ = c10::impl::VirtualGuardImpl(device.type()).getStreamFromGlobalPool(device);
    }
}

at::Tensor DeviceCopies::operator()(const at::Tensor& host) const {
    if (!stream_ || !host.is_cpu()) {
        return to_device(host, device_);
    }
    const c10::impl::VirtualGuardImpl backend(device_.type());
    const c10::Stream current = backend.getStream(device_);
    c10::Event copied(device_.type());
    at::Tensor copy;
    {
        const c10::StreamGuard guard(*stream_);
        copy = to_device(host, device_);
        copied.record(*stream_);
    }
    copied.block(current);
    // Its memory belongs to the copies' stream, which must not fill it again before the current one
    // has read it.
    backend.recordDataPtrOnStream(copy.storage().data_ptr(), current);
    return copy;
}

}  // namespace flux::kernels
