// Counts the bytes of tensors in host memory.
#pragma once

#include <cstdint>

namespace flux::kernels {

/// Bytes as they were asked for, of tensors made since count_host_memory().
struct HostMemory {
    int64_t held = 0;
    int64_t peak = 0;  // the most that was held since reset_host_peak()
};

/// Takes the place of LibTorch's own allocator for the rest of the process. The blocks are the
/// system's: keeping them for reuse, on huge pages or not, was measured and gained nothing.
void count_host_memory();

HostMemory host_memory();
void reset_host_peak();

}  // namespace flux::kernels
