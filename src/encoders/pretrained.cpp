#include "flux/encoders/pretrained.h"

#include <ATen/ops/empty.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <initializer_list>
#include <span>
#include <utility>

#include "flux/base/crc32c.h"
#include "flux/base/dtype.h"
#include "flux/base/error.h"
#include "flux/base/log.h"
#include "flux/base/shape.h"
#include "flux/encoders/clip_text.h"
#include "flux/encoders/dct.h"
#include "flux/encoders/flux_autoencoder.h"
#include "flux/encoders/model_files.h"
#include "flux/encoders/t5_encoder.h"
#include "flux/encoders/tokenizer.h"
#include "flux/encoders/words.h"

namespace flux::encoders {
namespace {

constexpr int64_t kClipTokens = 77;  // what the reference pads to, whatever the model allows

/// int64 [B, length] on the CPU.
at::Tensor tokenize(const Tokenizer& tokenizer, std::span<const std::string> captions,
                    int64_t length) {
    at::Tensor ids = at::empty({static_cast<int64_t>(captions.size()), length}, at::kLong);
    int64_t* row = ids.data_ptr<int64_t>();
    for (const std::string& caption : captions) {
        const std::vector<int64_t> found = tokenizer.encode(caption, length);
        TORCH_CHECK(static_cast<int64_t>(found.size()) == length, "tokenizer: ", found.size(),
                    " ids, expected ", length);
        row = std::copy(found.begin(), found.end(), row);
    }
    return ids;
}

class T5Tokens final : public TextEncoder {
public:
    T5Tokens(T5Encoder encoder, std::unique_ptr<Tokenizer> tokenizer, int64_t length)
        : encoder_(std::move(encoder)), tokenizer_(std::move(tokenizer)), length_(length) {}

    at::Tensor encode(std::span<const std::string> captions) const override {
        return encoder_.forward(tokenize(*tokenizer_, captions, length_));
    }

private:
    T5Encoder encoder_;
    std::unique_ptr<Tokenizer> tokenizer_;
    int64_t length_;
};

class ClipPooled final : public TextEncoder {
public:
    ClipPooled(ClipText encoder, std::unique_ptr<Tokenizer> tokenizer)
        : encoder_(std::move(encoder)), tokenizer_(std::move(tokenizer)) {}

    at::Tensor encode(std::span<const std::string> captions) const override {
        const int64_t length = std::min(kClipTokens, encoder_.config().max_position_embeddings);
        return encoder_.forward(tokenize(*tokenizer_, captions, length)).pooled;
    }

private:
    ClipText encoder_;
    std::unique_ptr<Tokenizer> tokenizer_;
};

/// What the option `width_option` says must be what the encoder gives.
void check_width(const EncoderOption& option, int64_t width, int64_t expected,
                 std::string_view width_option) {
    if (width != expected) {
        fail_config(
            "{}: its encodings have {} channels, but the transformer expects {}: choose another "
            "encoder or set {} = {}",
            option.place(), width, expected, width_option, width);
    }
}

std::unique_ptr<Tokenizer> open_tokenizer(ModelKind kind, const ModelFiles& files,
                                          const EncoderOption& option, int64_t vocabulary) {
    const std::filesystem::path folder = find_tokenizer_folder(kind, files, option);
    std::unique_ptr<Tokenizer> tokenizer = load_tokenizer(folder);
    const TokenizerKind wanted =
        kind == ModelKind::kClip ? TokenizerKind::kClip : TokenizerKind::kT5;
    if (tokenizer->kind() != wanted) {
        fail_config(
            "{}: holds a tokenizer of {}, but the {} needs its own: name its folder with {}",
            folder.string(), wanted == TokenizerKind::kClip ? "T5" : "CLIP", name_of(kind),
            option.name);
    }
    if (tokenizer->vocabulary_size() > vocabulary) {
        fail_config(
            "{}: the tokenizer has {} ids, but the {} in {} knows only {}: name the folder of its "
            "own tokenizer with {}",
            folder.string(), tokenizer->vocabulary_size(), name_of(kind), files.folder.string(),
            vocabulary, option.name);
    }
    return tokenizer;
}

/// Samples of every tensor: two encoders of one architecture differ in them, and reading all of
/// them would take as long as loading.
uint32_t sampled_checksum(const SafetensorsSet& weights) {
    constexpr size_t kSampled = 256;  // bytes of each tensor
    uint32_t sum = 0;
    const auto add = [&](std::span<const std::byte> bytes) { sum = crc32c(bytes, sum); };
    for (const std::string& name : weights.names()) {
        const TensorInfo& info = weights.info(name);
        const std::string head =
            fmt::format("{} {} {} ", name, short_name(info.dtype), shape_text(info.shape));
        add(std::as_bytes(std::span(head)));
        const auto bytes = weights.file_of(name).bytes(name);
        add(bytes.first(std::min(bytes.size(), kSampled)));
    }
    return sum;
}

std::string identity_of(ModelKind kind, const EncoderOption& option,
                        std::initializer_list<std::string_view> built_ins) {
    if (std::find(built_ins.begin(), built_ins.end(), option.value) != built_ins.end()) {
        return option.value;
    }
    const SafetensorsSet weights(find_model_files(kind, option).weights);
    return fmt::format("{:08x}", sampled_checksum(weights));
}

void log_opened(ModelKind kind, const ModelFiles& files) {
    log::info("{} from {}{}", name_of(kind), files.weights.string(),
              files.config.empty() && kind != ModelKind::kAutoencoder
                  ? " (no config.json: dimensions from the tensors, the rest as published)"
                  : "");
}

}  // namespace

std::unique_ptr<TextEncoder> open_token_encoder(const config::Encoder& settings, int64_t width,
                                                const Placement& placement) {
    if (settings.t5_encoder == "words") {
        return std::make_unique<WordTokens>(settings.max_t5_encoding_len, width, placement.device);
    }
    const EncoderOption option{"encoder.t5_encoder", settings.t5_encoder};
    const ModelFiles files = find_model_files(ModelKind::kT5, option);
    const SafetensorsSet weights(files.weights);
    const T5Config config =
        files.config.empty() ? t5_config_of(weights) : read_t5_config(files.config);
    check_width(option, config.d_model, width, "encoder.context_in_dim");
    auto tokenizer = open_tokenizer(
        ModelKind::kT5, files, {"encoder.t5_tokenizer", settings.t5_tokenizer}, config.vocab_size);
    log_opened(ModelKind::kT5, files);
    return std::make_unique<T5Tokens>(T5Encoder(config, weights, placement), std::move(tokenizer),
                                      settings.max_t5_encoding_len);
}

std::unique_ptr<TextEncoder> open_pooled_encoder(const config::Encoder& settings, int64_t width,
                                                 const Placement& placement) {
    if (settings.clip_encoder == "words") {
        return std::make_unique<WordMean>(width, placement.device);
    }
    const EncoderOption option{"encoder.clip_encoder", settings.clip_encoder};
    const ModelFiles files = find_model_files(ModelKind::kClip, option);
    const SafetensorsSet weights(files.weights);
    const ClipTextConfig config =
        files.config.empty() ? clip_config_of(weights) : read_clip_config(files.config);
    check_width(option, config.hidden_size, width, "model.vec_in_dim");
    auto tokenizer =
        open_tokenizer(ModelKind::kClip, files, {"encoder.clip_tokenizer", settings.clip_tokenizer},
                       config.vocab_size);
    log_opened(ModelKind::kClip, files);
    return std::make_unique<ClipPooled>(ClipText(config, weights, placement), std::move(tokenizer));
}

OpenedAutoencoder open_autoencoder(const config::Encoder& settings, const Placement& placement) {
    if (settings.autoencoder_path == "dct") {
        return {std::make_unique<DctAutoencoder>(placement.device), {}};
    }
    const ModelFiles files = find_model_files(
        ModelKind::kAutoencoder, {"encoder.autoencoder_path", settings.autoencoder_path});
    const SafetensorsSet weights(files.weights);
    const AutoencoderConfig config = autoencoder_config_of(weights);
    const LatentScaling scaling =
        files.config.empty() ? kFluxScaling : read_autoencoder_config(files.config, config);
    log_opened(ModelKind::kAutoencoder, files);
    return {std::make_unique<FluxAutoencoder>(config, weights, placement), scaling};
}

std::string encoders_identity(const config::Encoder& settings) {
    return fmt::format(
        "{} {} {}",
        identity_of(ModelKind::kT5, {"encoder.t5_encoder", settings.t5_encoder}, {"", "words"}),
        identity_of(ModelKind::kClip, {"encoder.clip_encoder", settings.clip_encoder},
                    {"", "words"}),
        identity_of(ModelKind::kAutoencoder,
                    {"encoder.autoencoder_path", settings.autoencoder_path}, {"", "dct"}));
}

}  // namespace flux::encoders
