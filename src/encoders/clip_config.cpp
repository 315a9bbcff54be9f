#include "encoders/clip_names.h"
#include "encoders/config_file.h"
#include "flux/base/error.h"
#include "flux/base/shape.h"
#include "flux/encoders/clip_text.h"

namespace flux::encoders {
namespace {

constexpr int64_t kHeadSize = 64;  // of every published CLIP text encoder

ClipTextConfig::Activation read_activation(const ConfigFile& file) {
    const std::string word = file.text("hidden_act", "quick_gelu");
    if (word == "quick_gelu") {
        return ClipTextConfig::Activation::kQuickGelu;
    }
    if (word == "gelu") {
        return ClipTextConfig::Activation::kGelu;
    }
    if (word == "gelu_new" || word == "gelu_pytorch_tanh") {
        return ClipTextConfig::Activation::kGeluTanh;
    }
    file.refuse("hidden_act", "must be quick_gelu, gelu, gelu_new or gelu_pytorch_tanh");
}

}  // namespace

ClipTextConfig read_clip_config(const std::filesystem::path& config_json) {
    const ConfigFile whole(config_json);
    const std::string type = whole.text("model_type", "clip_text_model");
    if (type != "clip" && type != "clip_text_model") {
        whole.refuse("model_type", "must be clip or clip_text_model");
    }
    const ConfigFile file = whole.section_or_self("text_config");
    // Defaults are those of transformers' CLIPTextConfig, which leaves them out of some files.
    ClipTextConfig config{
        .vocab_size = file.size("vocab_size", kMaxVocabulary, 49408),
        .hidden_size = file.size("hidden_size", kMaxWidth, 512),
        .intermediate_size = file.size("intermediate_size", kMaxWidth, 2048),
        .num_hidden_layers = file.size("num_hidden_layers", kMaxLayers, 12),
        .num_attention_heads = file.size("num_attention_heads", kMaxWidth, 8),
        .max_position_embeddings = file.size("max_position_embeddings", kMaxWidth, 77),
        .layer_norm_eps = file.positive("layer_norm_eps", 1e-5),
        .activation = read_activation(file),
        .eos_token_id = file.id("eos_token_id", 49407)};
    if (config.hidden_size % config.num_attention_heads != 0) {
        file.refuse("num_attention_heads",
                    fmt::format("must divide hidden_size {}", config.hidden_size));
    }
    return config;
}

ClipTextConfig clip_config_of(const SafetensorsSet& weights) {
    const std::string prefix = clip_prefix(weights);
    const auto shape = [&](const std::string& name) {
        const TensorInfo& info = weights.info(prefix + name);
        if (info.shape.size() != 2 || info.shape[0] < 1 || info.shape[1] < 1) {
            fail("{}: tensor {}: shape = {}: must be a matrix", weights.path().string(), info.name,
                 shape_text(info.shape));
        }
        return info.shape;
    };
    const auto tokens = shape("embeddings.token_embedding.weight");
    if (tokens[1] % kHeadSize != 0) {
        fail(
            "{}: tensor {}embeddings.token_embedding.weight: shape = {}: the width must divide by "
            "{}, or a config.json beside the file must say how many heads there are",
            weights.path().string(), prefix, shape_text(tokens), kHeadSize);
    }
    int64_t layers = 1;
    while (layers < kMaxLayers &&
           weights.has(fmt::format("{}encoder.layers.{}.layer_norm1.weight", prefix, layers))) {
        ++layers;
    }
    return {.vocab_size = tokens[0],
            .hidden_size = tokens[1],
            .intermediate_size = shape("encoder.layers.0.mlp.fc1.weight")[0],
            .num_hidden_layers = layers,
            .num_attention_heads = tokens[1] / kHeadSize,
            .max_position_embeddings = shape("embeddings.position_embedding.weight")[0]};
}

}  // namespace flux::encoders
