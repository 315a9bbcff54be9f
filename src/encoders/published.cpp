#include "flux/encoders/published.h"

#include <algorithm>
#include <array>

#include "flux/encoders/clip_text.h"
#include "flux/encoders/flux_autoencoder.h"
#include "flux/encoders/t5_encoder.h"

namespace flux::encoders {
namespace {

struct NamedT5 {
    const char* name;
    T5Config config;
};

T5Config t5(int64_t d_model, int64_t d_ff, int64_t layers, int64_t heads) {
    return {.vocab_size = 32128,
            .d_model = d_model,
            .d_kv = 64,
            .d_ff = d_ff,
            .num_layers = layers,
            .num_heads = heads};
}

// google/t5-v1_1-*/config.json.
const std::array<NamedT5, 5>& t5_sizes() {
    static const std::array<NamedT5, 5> sizes{{{"T5 v1.1 small", t5(512, 1024, 8, 6)},
                                               {"T5 v1.1 base", t5(768, 2048, 12, 12)},
                                               {"T5 v1.1 large", t5(1024, 2816, 24, 16)},
                                               {"T5 v1.1 XL", t5(2048, 5120, 24, 32)},
                                               {"T5 v1.1 XXL", t5(4096, 10240, 24, 64)}}};
    return sizes;
}

// openai/clip-vit-large-patch14/config.json, the text part.
constexpr ClipTextConfig kClipL{.vocab_size = 49408,
                                .hidden_size = 768,
                                .intermediate_size = 3072,
                                .num_hidden_layers = 12,
                                .num_attention_heads = 12};

constexpr AutoencoderConfig kFluxAutoencoder{.channels = {128, 256, 512, 512}, .num_res_blocks = 2};

int64_t bytes_of(const Placement& placement) {
    return static_cast<int64_t>(c10::elementSize(placement.dtype));
}

/// Products with weights, then those of attention (width: that of all heads).
double text_flops(int64_t weights, int64_t tokens, int64_t layers, int64_t width) {
    const auto n = static_cast<double>(tokens);
    return 2 * static_cast<double>(weights) * n + 4 * n * n * static_cast<double>(layers * width);
}

}  // namespace

std::optional<EncoderCost> t5_cost(int64_t width, int64_t tokens, const Placement& placement) {
    const auto found =
        std::find_if(t5_sizes().begin(), t5_sizes().end(),
                     [width](const NamedT5& size) { return size.config.d_model == width; });
    if (found == t5_sizes().end()) {
        return std::nullopt;
    }
    const T5Config& c = found->config;
    EncoderCost cost{.name = found->name, .weights = weight_bytes(c, placement)};
    // The two products of the gated MLP, the gate's activation, their product; residual, norm.
    cost.working_bytes = tokens * (4 * c.d_ff + 3 * c.d_model) * bytes_of(placement);
    cost.flops = text_flops(cost.weights.parameters - c.vocab_size * c.d_model, tokens,
                            c.num_layers, c.num_heads * c.d_kv);
    return cost;
}

std::optional<EncoderCost> clip_cost(int64_t width, const Placement& placement) {
    const ClipTextConfig& c = kClipL;
    if (width != c.hidden_size) {
        return std::nullopt;
    }
    EncoderCost cost{.name = "CLIP ViT-L/14", .weights = weight_bytes(c, placement)};
    const int64_t tokens = c.max_position_embeddings;
    cost.working_bytes =
        tokens * (2 * c.intermediate_size + 3 * c.hidden_size) * bytes_of(placement);
    cost.flops = text_flops(cost.weights.parameters - (c.vocab_size + tokens) * c.hidden_size,
                            tokens, c.num_hidden_layers, c.hidden_size);
    return cost;
}

EncoderCost autoencoder_cost(int64_t img_size, const Placement& placement) {
    EncoderCost cost{.name = "Flux autoencoder",
                     .weights = weight_bytes(kFluxAutoencoder, placement)};
    // A residual block at full size: input, two norms, two activations, two convolutions.
    cost.working_bytes =
        7 * kFluxAutoencoder.channels[0] * img_size * img_size * bytes_of(placement);
    cost.flops = encode_flops(kFluxAutoencoder, img_size);
    return cost;
}

}  // namespace flux::encoders
