// Any bytes as a safetensors file: refused with an Error, or tensors that can all be read.
#include <cstdint>
#include <cstdlib>

#include "flux/base/error.h"
#include "flux/base/safetensors.h"
#include "fuzz/memory_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    const flux::fuzz::MemoryFile memory({data, size});
    try {
        const flux::SafetensorsFile file(memory.path());
        for (const flux::TensorInfo& info : file.tensors()) {
            if (file.tensor(info.name).nbytes() != file.bytes(info.name).size()) {
                std::abort();
            }
        }
    } catch (const flux::Error&) {
    }
    return 0;
}
