// Any bytes as a .npy array, a file's or a cell's: refused with an Error, or a tensor of its size,
// which written again reads the same.
#include <cstdint>
#include <cstdlib>
#include <span>
#include <string>

#include "flux/base/error.h"
#include "flux/base/npy.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    const auto bytes = std::as_bytes(std::span(data, size));
    try {
        const at::Tensor tensor = flux::parse_npy(bytes, "cell");
        if (tensor.nbytes() != flux::view_npy(bytes, "cell").data.size()) {
            std::abort();
        }
        const std::string again = flux::npy_bytes(tensor);
        if (flux::parse_npy(std::as_bytes(std::span(again)), "again").sizes() != tensor.sizes()) {
            std::abort();
        }
    } catch (const flux::Error&) {
    }
    return 0;
}
