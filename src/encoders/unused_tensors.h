// Tensors that published files of the encoders hold and that nothing here uses: the one list.
#pragma once

#include <algorithm>
#include <array>
#include <string_view>

#include "flux/encoders/frozen.h"

namespace flux::encoders {

struct UnusedTensor {
    ModelKind kind;
    std::string_view name;  // ends in '*': every name that begins so
    std::string_view why;
};

inline constexpr std::array kUnusedTensors{
    UnusedTensor{ModelKind::kClip, "vision_model.*", "the picture half of CLIP"},
    UnusedTensor{ModelKind::kClip, "visual_projection.weight", "the picture half of CLIP"},
    UnusedTensor{ModelKind::kClip, "text_projection.weight", "the pooled vector is not projected"},
    UnusedTensor{ModelKind::kClip, "logit_scale", "compares text with pictures"},
    UnusedTensor{ModelKind::kClip, "text_model.embeddings.position_ids", "0, 1, 2, ..."},
    UnusedTensor{ModelKind::kClip, "embeddings.position_ids", "the same without the prefix"},
    UnusedTensor{ModelKind::kT5, "shared.weight", "a tied copy of encoder.embed_tokens.weight"},
    UnusedTensor{ModelKind::kT5, "encoder.embed_tokens.weight", "a tied copy of shared.weight"},
    UnusedTensor{ModelKind::kT5, "decoder.*", "T5's second half"},
    UnusedTensor{ModelKind::kT5, "lm_head.weight", "T5's second half"},
};

inline bool is_unused(ModelKind kind, std::string_view name) {
    return std::any_of(kUnusedTensors.begin(), kUnusedTensors.end(), [&](const auto& row) {
        return row.kind == kind &&
               (row.name.ends_with('*') ? name.starts_with(row.name.substr(0, row.name.size() - 1))
                                        : name == row.name);
    });
}

}  // namespace flux::encoders
