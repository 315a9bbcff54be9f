// A checkpoint's weights as one safetensors file with the published names, for other programs.
#pragma once

#include <c10/core/ScalarType.h>

#include <filesystem>

namespace flux::checkpoint {

/// Writes all parameters of the checkpoint (`.../step-N`) to `out_file`, converted to the floating
/// point type `dtype`. Holds at most two tensors in memory. Throws Error if a value does not fit,
/// or if `out_file` exists: nothing is replaced.
void export_model(const std::filesystem::path& checkpoint, const std::filesystem::path& out_file,
                  c10::ScalarType dtype);

}  // namespace flux::checkpoint
