// How files name the tensors of CLIP's text encoder.
#pragma once

#include <string>

#include "flux/base/safetensors_set.h"

namespace flux::encoders {

/// What stands before every name in this file.
inline std::string clip_prefix(const SafetensorsSet& weights) {
    return weights.has("embeddings.token_embedding.weight") ? "" : "text_model.";
}

}  // namespace flux::encoders
