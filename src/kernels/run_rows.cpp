#include "kernels/run_rows.h"

#include <c10/util/StringUtil.h>

#include "flux/kernels/chunk_count.h"
#include "flux/kernels/fused.h"

#ifdef FLUX_WITH_CUDA
#include <cuda_runtime_api.h>
#endif

namespace flux::kernels {
namespace {

std::string cuda_error_text(int code) {
#ifdef FLUX_WITH_CUDA
    return cudaGetErrorString(static_cast<cudaError_t>(code));
#else
    return "number " + std::to_string(code);
#endif
}

}  // namespace

bool fuses(c10::DeviceType device, c10::ScalarType dtype) {
#ifdef FLUX_WITH_CUDA
    const bool here = device == c10::DeviceType::CPU || device == c10::DeviceType::CUDA;
#else
    const bool here = device == c10::DeviceType::CPU;
#endif
    return here && (dtype == at::kFloat || dtype == at::kBFloat16);
}

bool has_row_kernels(const at::Tensor& x) { return fuses(x.device().type(), x.scalar_type()); }

Rows rows_in_chunks(int64_t batch, int64_t tokens, c10::DeviceType device) {
    Rows rows{.batch = batch, .tokens = tokens, .chunk = kChunk};
    if (device == c10::DeviceType::CUDA) {
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

Rows rows_of(const at::Tensor& x) {
    return rows_in_chunks(x.size(0), x.size(1), x.device().type());
}

int64_t chunk_count(int64_t batch, int64_t tokens, c10::DeviceType device) {
    return rows_in_chunks(batch, tokens, device).chunks();
}

std::string launch_problem(int code, const char* operation, const at::Tensor& x) {
    const std::string what = c10::str(operation, " on ", x.scalar_type(), " ", x.sizes());
    return code == kNoKernel ? what + ": no CUDA kernel is for such widths"
                             : what + ": CUDA error at launch: " + cuda_error_text(code);
}

}  // namespace flux::kernels
