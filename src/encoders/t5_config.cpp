#include "encoders/config_file.h"
#include "flux/base/error.h"
#include "flux/base/shape.h"
#include "flux/encoders/t5_encoder.h"

namespace flux::encoders {
namespace {

T5Config::Gate read_gate(const ConfigFile& file) {
    const std::string word = file.text("feed_forward_proj", "relu");  // T5's own default
    if (word == "gated-gelu") {
        return T5Config::Gate::kGeluTanh;
    }
    if (word == "gated-silu") {
        return T5Config::Gate::kSilu;
    }
    file.refuse("feed_forward_proj",
                "must be gated-gelu or gated-silu: a T5 v1.1 encoder is needed, not T5 1.0");
}

/// Half of the buckets are for each direction, and half of those for exact distances.
void check_buckets(const T5Config& config, const std::string& place) {
    const int64_t buckets = config.relative_attention_num_buckets;
    if (buckets % 2 != 0 || buckets < 4 || config.relative_attention_max_distance <= buckets / 4) {
        fail(
            "{}: relative_attention_num_buckets = {}, relative_attention_max_distance = {}: the "
            "buckets must be even and >= 4, the distance above a quarter of them",
            place, buckets, config.relative_attention_max_distance);
    }
}

/// The shape of a matrix. Throws Error naming a tensor that is missing or no matrix.
std::vector<int64_t> matrix(const SafetensorsSet& weights, const std::string& name) {
    const TensorInfo& info = weights.info(name);
    if (info.shape.size() != 2 || info.shape[0] < 1 || info.shape[1] < 1) {
        fail("{}: tensor {}: shape = {}: must be a matrix", weights.path().string(), name,
             shape_text(info.shape));
    }
    return info.shape;
}

}  // namespace

T5Config read_t5_config(const std::filesystem::path& config_json) {
    const ConfigFile file(config_json);
    const std::string type = file.text("model_type", "t5");
    if (type != "t5") {
        file.refuse("model_type", "must be t5");
    }
    T5Config config{.vocab_size = file.size("vocab_size", kMaxVocabulary),
                    .d_model = file.size("d_model", kMaxWidth),
                    .d_kv = file.size("d_kv", kMaxWidth),
                    .d_ff = file.size("d_ff", kMaxWidth),
                    .num_layers = file.size("num_layers", kMaxLayers),
                    .num_heads = file.size("num_heads", kMaxWidth),
                    .relative_attention_num_buckets =
                        file.size("relative_attention_num_buckets", kMaxWidth, 32),
                    .relative_attention_max_distance =
                        file.size("relative_attention_max_distance", kMaxWidth, 128),
                    .layer_norm_epsilon = file.positive("layer_norm_epsilon", 1e-6),
                    .gate = read_gate(file)};
    check_buckets(config, config_json.string());
    return config;
}

T5Config t5_config_of(const SafetensorsSet& weights) {
    const auto name = [](int64_t block, const char* rest) {
        return fmt::format("encoder.block.{}.layer.{}", block, rest);
    };
    const auto embedding = matrix(
        weights, weights.has("shared.weight") ? "shared.weight" : "encoder.embed_tokens.weight");
    const auto bias = matrix(weights, name(0, "0.SelfAttention.relative_attention_bias.weight"));
    const auto query = matrix(weights, name(0, "0.SelfAttention.q.weight"));
    const auto feed_forward = matrix(weights, name(0, "1.DenseReluDense.wi_0.weight"));
    int64_t layers = 1;
    while (layers < kMaxLayers && weights.has(name(layers, "0.layer_norm.weight"))) {
        ++layers;
    }
    if (query[0] % bias[1] != 0) {
        fail("{}: tensor {}: shape = {}: the rows must divide by the {} heads",
             weights.path().string(), name(0, "0.SelfAttention.q.weight"), shape_text(query),
             bias[1]);
    }
    T5Config config{.vocab_size = embedding[0],
                    .d_model = embedding[1],
                    .d_kv = query[0] / bias[1],
                    .d_ff = feed_forward[0],
                    .num_layers = layers,
                    .num_heads = bias[1],
                    .relative_attention_num_buckets = bias[0]};
    check_buckets(config, weights.path().string());
    return config;
}

}  // namespace flux::encoders
