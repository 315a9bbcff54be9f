// The units of the MMDiT and the state that flows between them. Parameter names are those of the
// published checkpoint.
//
// Legend: B batch, Tt text tokens, Ti image tokens, T = Tt + Ti, C hidden size.
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "flux/model/execution.h"
#include "flux/model/flux_config.h"
#include "flux/model/rope.h"
#include "flux/units/unit.h"

namespace flux::model {

struct FluxState {
    at::Tensor img;    // [B, Ti, in_channels], then [B, Ti, C], last [B, Ti, out_channels]
    at::Tensor txt;    // [B, Tt, context_in_dim], then [B, Tt, C]
    at::Tensor joint;  // [B, T, C] text tokens first, in place of both between single blocks
    at::Tensor vec;    // [B, C] conditioning: time, pooled text, guidance

    RotaryTable positions;
    int64_t text_tokens = 0;
    // Read by the embedders only:
    at::Tensor time_embedding;      // [B, 256]
    at::Tensor guidance_embedding;  // [B, 256], undefined without guidance
    at::Tensor pooled;              // [B, vec_in_dim]

    static constexpr std::array kFlow{&FluxState::img, &FluxState::txt, &FluxState::joint,
                                      &FluxState::vec};
};

using FluxUnit = units::Unit<FluxState>;

/// img_in, time_in, vector_in, guidance_in, txt_in.
std::unique_ptr<FluxUnit> make_embedders(const FluxConfig& config);
/// double_blocks.<index>: text and image streams with weights of their own, one attention.
std::unique_ptr<FluxUnit> make_double_block(const FluxConfig& config, const Execution& execution,
                                            int64_t index);
/// single_blocks.<index>: one stream, attention and MLP side by side. The first one joins text and
/// image; the last one hands on the image alone, to which the text gives keys and values.
std::unique_ptr<FluxUnit> make_single_block(const FluxConfig& config, const Execution& execution,
                                            int64_t index);
/// final_layer: modulated projection of the image tokens.
std::unique_ptr<FluxUnit> make_final_layer(const FluxConfig& config, kernels::Path path);

}  // namespace flux::model
