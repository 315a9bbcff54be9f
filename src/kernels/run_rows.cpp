#include "kernels/run_rows.h"

namespace flux::kernels {

bool has_row_kernels(const at::Tensor& x) {
#ifdef FLUX_WITH_CUDA
    const bool here = x.is_cpu() || x.is_cuda();
#else
    const bool here = x.is_cpu();
#endif
    return here && (x.scalar_type() == at::kFloat || x.scalar_type() == at::kBFloat16);
}

Rows rows_of(const at::Tensor& x) {
    Rows rows{.batch = x.size(0), .tokens = x.size(1), .chunk = kChunk};
    if (x.is_cuda()) {
        // Partial sums cost less in large chunks, but a chunk is the work of one block, and there
        // should be about two for each of a GPU's multiprocessors. It depends on the shape alone,
        // so that sums are the same on all GPUs.
        constexpr int64_t kEnough = 256;
        while (rows.chunk > 8 && rows.chunks() < kEnough) {
            rows.chunk /= 2;
        }
    }
    return rows;
}

}  // namespace flux::kernels
