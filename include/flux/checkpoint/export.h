// A checkpoint's weights for other programs: one safetensors file with the published names, or the
// folder that the diffusers library opens. Both hold at most two tensors in memory.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <string>

#include "flux/checkpoint/manifest.h"
#include "flux/model/flux_config.h"

namespace flux::checkpoint {

/// The tensor in another floating point type. Throws Error naming it if a finite value would become
/// infinite there.
at::Tensor converted(const at::Tensor& tensor, c10::ScalarType dtype, const std::string& name);

/// Writes all weights of the checkpoint (`.../step-N`) to `out_file`, converted to the floating
/// point type `dtype`; `kind`: kParam, or kEma for their average. Throws Error if a value does not
/// fit, or if `out_file` exists: nothing is replaced.
void export_model(const std::filesystem::path& checkpoint, const std::filesystem::path& out_file,
                  c10::ScalarType dtype, const std::string& kind = kParam);

struct DiffusersExport {
    std::filesystem::path out_folder;
    c10::ScalarType dtype = c10::ScalarType::Float;
    std::string kind = kParam;  // as above
    /// Of one shard's data; a tensor that is larger has a shard to itself.
    int64_t most_shard_bytes = 10'000'000'000;
};

/// The same as a folder for FluxTransformer2DModel: config.json,
/// diffusion_pytorch_model*.safetensors and, where there are several, their index. The folder
/// appears when it is complete. Throws Error if it exists, or naming the option of `model`, whose
/// checkpoint it is, for which that class has no place.
void export_diffusers(const std::filesystem::path& checkpoint, const model::FluxConfig& model,
                      const DiffusersExport& settings);

}  // namespace flux::checkpoint
