// How the two published layouts of the autoencoder name and shape its tensors.
#pragma once

#include "flux/encoders/flux_autoencoder.h"

namespace flux::encoders {

enum class AutoencoderLayout { kOriginal, kDiffusers };

/// Told apart by one tensor that both must have.
AutoencoderLayout layout_of(const SafetensorsSet& weights);

/// The file's name and shape of a parameter, which is named as in the original layout.
FileTensor file_tensor(const units::Parameter& parameter, AutoencoderLayout layout);

}  // namespace flux::encoders
