// The published encoders that Flux.1 is trained with, by their dimensions: what they cost in memory
// and arithmetic, known without their files.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "flux/encoders/frozen.h"

namespace flux::encoders {

struct EncoderCost {
    std::string name;  // "T5 v1.1 XXL"
    WeightBytes weights{};
    int64_t working_bytes = 0;  // alive while it encodes one sample, at most
    double flops = 0;           // to encode one sample
};

/// The T5 v1.1 encoder of this width, for captions of so many tokens; nothing if none was
/// published.
std::optional<EncoderCost> t5_cost(int64_t width, int64_t tokens, const Placement& placement);

/// The text encoder of OpenAI's CLIP ViT-L/14; nothing for another width.
std::optional<EncoderCost> clip_cost(int64_t width, const Placement& placement);

/// The Flux autoencoder, for square pictures.
EncoderCost autoencoder_cost(int64_t img_size, const Placement& placement);

}  // namespace flux::encoders
