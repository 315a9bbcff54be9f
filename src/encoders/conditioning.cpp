#include "flux/encoders/conditioning.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/lt.h>
#include <ATen/ops/where.h>

#include <array>
#include <utility>

#include "flux/base/error.h"
#include "flux/encoders/empty_encodings.h"
#include "flux/encoders/pretrained.h"
#include "flux/units/precision.h"

namespace flux::encoders {
namespace {

/// What `test_mode` stands for.
config::Encoder built_in(config::Encoder settings) {
    settings.t5_encoder = "words";
    settings.clip_encoder = "words";
    settings.autoencoder_path = "dct";
    return settings;
}

void require(bool present, std::string_view key, std::string_view consequence) {
    if (!present) {
        fail_config("encoder.{} = \"\": {}: name one", key, consequence);
    }
}

}  // namespace

Conditioning::Conditioning(const config::Encoder& settings, bool test_mode, TextWidths widths,
                           at::Device device)
    : device_(device), copies_(device) {
    const config::Encoder chosen = test_mode ? built_in(settings) : settings;
    const Placement placement{.dtype = units::compute_dtype(chosen.dtype, device),
                              .device = device,
                              .offload = chosen.offload};
    if (!chosen.t5_encoder.empty()) {
        tokens_ = open_token_encoder(chosen, widths.tokens, placement);
    }
    if (!chosen.clip_encoder.empty()) {
        pooled_ = open_pooled_encoder(chosen, widths.pooled, placement);
    }
    OpenedAutoencoder opened;
    if (!chosen.autoencoder_path.empty()) {
        opened = open_autoencoder(chosen, placement);
    }
    autoencoder_ = std::move(opened.autoencoder);
    scaling_ = {.shift = chosen.autoencoder_shift.value_or(opened.scaling.shift),
                .scale = chosen.autoencoder_scale.value_or(opened.scaling.scale)};
    if (!test_mode && !settings.empty_encodings_path.empty()) {
        empty_ = read_empty_encodings(settings.empty_encodings_path, widths, device);
    } else if (encodes_text()) {
        const std::array<std::string, 1> nothing{""};
        empty_ = encode_text(nothing);
    }
}

Posterior Conditioning::encode_posterior(const at::Tensor& pictures) const {
    require(encodes_pictures(), "autoencoder_path", "no picture can be encoded");
    return autoencoder_->encode(to_device(pictures).to(at::kFloat) / 127.5 - 1.0);
}

at::Tensor Conditioning::draw_latents(const Posterior& posterior, const kernels::DrawKey& key,
                                      const at::Tensor& index) const {
    const at::Tensor noise = kernels::keyed_normal(key, index, posterior.mean.sizes().slice(1));
    return encoders::draw_latents(posterior, noise, scaling_);
}

at::Tensor Conditioning::encode_pictures(const at::Tensor& pictures, const kernels::DrawKey& key,
                                         const at::Tensor& index) const {
    return draw_latents(encode_posterior(pictures), key, index);
}

TextConditioning Conditioning::encode_text(std::span<const std::string> captions) const {
    require(tokens_ != nullptr, "t5_encoder", "no caption can be encoded");
    require(pooled_ != nullptr, "clip_encoder", "no caption can be encoded");
    return {tokens_->encode(captions), pooled_->encode(captions)};
}

TextConditioning Conditioning::drop_captions(const TextConditioning& text,
                                             const CaptionDropout& dropout, uint64_t seed,
                                             const at::Tensor& samples) const {
    if (dropout.probability == 0) {
        return text;
    }
    const at::Tensor draws = kernels::keyed_uniform({seed, Purpose::kCaptionDropout}, samples, {2});
    const at::Tensor drop = at::lt(draws, dropout.probability);  // [B, 2]
    const bool joint = dropout.mode == config::DropoutMode::kJoint;
    return {replace_rows(text.tokens, drop.select(1, 0), empty_.tokens),
            replace_rows(text.pooled, drop.select(1, joint ? 0 : 1), empty_.pooled)};
}

TextConditioning Conditioning::empty_text(int64_t batch) const {
    require(has_empty_text(), "empty_encodings_path", "the empty caption is not known");
    return {empty_.tokens.expand({batch, -1, -1}), empty_.pooled.expand({batch, -1})};
}

at::Tensor Conditioning::decode_pictures(const at::Tensor& latents) const {
    require(encodes_pictures(), "autoencoder_path", "no picture can be decoded");
    const at::Tensor pictures = autoencoder_->decode(unscale_latents(latents, scaling_));
    return ((pictures.clamp(-1, 1) + 1.0) * 127.5).to(at::kByte);
}

at::Tensor replace_rows(const at::Tensor& encoding, const at::Tensor& drop,
                        const at::Tensor& empty) {
    std::vector<int64_t> shape(static_cast<size_t>(encoding.dim()), 1);
    shape[0] = encoding.size(0);
    return at::where(drop.to(at::kBool).view(shape), empty.to(encoding.scalar_type()), encoding);
}

}  // namespace flux::encoders
