// Tensors' memory on the host: kept from step to step, and counted.
#pragma once

#include <cstdint>

namespace flux::kernels {

/// Bytes as they were asked for, of tensors made since count_host_memory().
struct HostMemory {
    int64_t held = 0;
    int64_t peak = 0;  // the most that was held since reset_host_peak()
};

/// Takes the place of LibTorch's own allocator for the rest of the process.
void count_host_memory();

/// The same, and from now on what the main thread frees stays the process's own: a step finds the
/// memory of the one before it, and need not have the system clear new pages (a quarter of a GB/s
/// to 3 GB/s on virtual machines, up to a tenth of a step). Does nothing more where the C library
/// is not glibc.
void keep_host_memory();

HostMemory host_memory();
void reset_host_peak();

}  // namespace flux::kernels
