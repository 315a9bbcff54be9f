#include "flux/encoders/payload_check.h"

#include <array>
#include <string>
#include <string_view>

#include "flux/base/error.h"

namespace flux::encoders {
namespace {

void check_size(const PayloadExpectation& expected, std::string_view what, int64_t stored,
                int64_t wanted, std::string_view option) {
    if (stored != wanted) {
        fail_config(
            "{}: its {} {}, but {} makes it {}; change that option, or encode the pictures again",
            expected.dataset, what, stored, option, wanted);
    }
}

void check_encodings(const data::EncodingShape& shape, const Conditioning& conditioning,
                     const PayloadExpectation& expected) {
    check_size(expected, "T5 encodings have the width", shape.text_width, expected.widths.tokens,
               "encoder.context_in_dim (or the flavor)");
    check_size(expected, "CLIP encodings have the width", shape.pooled_width,
               expected.widths.pooled, "model.vec_in_dim (or the flavor)");
    check_size(expected, "latents have a channel count of", shape.channels, kLatentChannels,
               "the model");
    check_size(expected, "latents belong to pictures of height", shape.height * kLatentFactor,
               expected.img_size, "training.img_size");
    check_size(expected, "latents belong to pictures of width", shape.width * kLatentFactor,
               expected.img_size, "training.img_size");
    if (!expected.drops_captions) {
        return;
    }
    if (!conditioning.has_empty_text()) {
        fail_config(
            "{}: training.classifier_free_guidance_prob drops captions, which needs "
            "encoder.empty_encodings_path or text encoders",
            expected.dataset);
    }
    check_size(expected, "T5 encodings have a length of", shape.text_tokens,
               conditioning.empty_text(1).tokens.size(1),
               "the empty caption (encoder.empty_encodings_path, encoder.max_t5_encoding_len)");
}

}  // namespace

void check_payload(const data::PayloadShape& payload, const Conditioning& conditioning,
                   const PayloadExpectation& expected) {
    if (const auto* stored = std::get_if<data::EncodingShape>(&payload)) {
        check_encodings(*stored, conditioning, expected);
    } else if (!conditioning.encodes_text() || !conditioning.encodes_pictures()) {
        fail_config("{}: holds pictures and captions, but {} is empty: name the encoder to use",
                    expected.dataset,
                    conditioning.encodes_text() ? "encoder.autoencoder_path"
                                                : "encoder.t5_encoder or encoder.clip_encoder");
    } else if (expected.drops_captions && conditioning.has_empty_text()) {
        const std::array<std::string, 1> nothing{""};
        check_size(expected, "T5 encodings have a length of",
                   conditioning.encode_text(nothing).tokens.size(1),
                   conditioning.empty_text(1).tokens.size(1),
                   "the empty caption (encoder.empty_encodings_path, encoder.max_t5_encoding_len)");
    }
}

}  // namespace flux::encoders
