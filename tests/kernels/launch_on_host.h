// launch() of cuda_rows.h on the host. Stands after the includes of src/kernels/cuda_*.h.
#pragma once

#include "kernels/cuda_on_host.h"

namespace flux::kernels {
namespace {

template <class Job>
int launch(void (*kernel)(Job), int64_t blocks, int threads, const Job& job, void*) {
    HostBlock block(static_cast<unsigned>(threads));
    blockDim.x = static_cast<unsigned>(threads);
    for (int64_t i = 0; i < blocks; ++i) {
        blockIdx.x = static_cast<unsigned>(i);
        block.run([&] { kernel(job); });
    }
    return 0;
}

}  // namespace
}  // namespace flux::kernels
