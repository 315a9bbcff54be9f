// Batches of stored encodings on their way to the model: posterior draw, drop-out, and the checks
// before a run.
#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "flux/base/error.h"
#include "flux/base/npy.h"
#include "flux/encoders/empty_encodings.h"
#include "flux/encoders/micro_batch.h"
#include "flux/encoders/payload_check.h"
#include "support/problem.h"
#include "support/reference.h"
#include "support/tensor_match.h"

namespace flux::encoders {
namespace {

using testing::HasSubstr;

constexpr TextWidths kWidths{.tokens = 24, .pooled = 12};
const at::Device kCpu(at::kCPU);

/// A job whose samples come encoded.
config::Encoder stored_settings(const std::string& empty_encodings = "") {
    config::Encoder settings;
    settings.t5_encoder = "";
    settings.clip_encoder = "";
    settings.autoencoder_path = "";
    settings.autoencoder_shift = 0.5;
    settings.autoencoder_scale = 2.0;
    settings.empty_encodings_path = empty_encodings;
    return settings;
}

data::Batch stored_batch(int64_t rows) {
    data::Batch batch;
    const auto random = [&](std::vector<int64_t> shape) {
        shape.insert(shape.begin(), rows);
        return at::randn(shape).to(at::kBFloat16);
    };
    batch.payload.encodings = {random({5, kWidths.tokens}), random({kWidths.pooled}),
                               random({16, 4, 4}), random({16, 4, 4})};
    return batch;
}

MicroBatch encode(const Conditioning& conditioning, const data::Batch& batch, uint64_t seed) {
    const int64_t rows = batch.payload.encodings.t5.size(0);
    return encode_batch(conditioning, batch,
                        {seed, Purpose::kVaeNoise, Purpose::kNoise, at::arange(rows, at::kLong)});
}

TEST(StoredEncodings, AreDrawnOnAndHandedOnAsTheyAre) {
    const Conditioning conditioning(stored_settings(), false, kWidths, kCpu);
    data::Batch batch = stored_batch(3);
    const MicroBatch drawn = encode(conditioning, batch, 1);
    EXPECT_TRUE(at::equal(drawn.text.tokens, batch.payload.encodings.t5));
    EXPECT_TRUE(at::equal(drawn.text.pooled, batch.payload.encodings.clip));
    EXPECT_EQ(drawn.latents.scalar_type(), at::kFloat);
    EXPECT_TRUE(at::equal(drawn.latents, encode(conditioning, batch, 1).latents));
    EXPECT_FALSE(at::equal(drawn.latents, encode(conditioning, batch, 2).latents));

    batch.payload.encodings.logvar.fill_(-30);  // next to no spread: the scaled mean remains
    const at::Tensor mean = batch.payload.encodings.mean.to(at::kFloat);
    EXPECT_TRUE(test::max_abs_within("latents", encode(conditioning, batch, 1).latents,
                                     (mean - 0.5) * 2.0, 1e-5));
}

TEST(StoredEncodings, DroppedCaptionsBecomeTheStoredEmptyOne) {
    const test::TemporaryFolder folder;
    const TextConditioning empty{at::full({1, 5, kWidths.tokens}, 7.0),
                                 at::full({1, kWidths.pooled}, 9.0)};
    write_empty_encodings(folder.path(), empty);
    const Conditioning conditioning(stored_settings(folder.path()), false, kWidths, kCpu);
    const MicroBatch micro = encode(conditioning, stored_batch(64), 1);
    const TextConditioning text =
        conditioning.drop_captions(micro.text, {.probability = 0.5}, 3, at::arange(64, at::kLong));
    EXPECT_EQ(text.tokens.scalar_type(), at::kBFloat16);
    int dropped = 0;
    for (int64_t i = 0; i < 64; ++i) {
        const bool is_empty = text.tokens[i].eq(7.0).all().item<bool>();
        EXPECT_EQ(is_empty, text.pooled[i].eq(9.0).all().item<bool>()) << "dropped together";
        EXPECT_TRUE(is_empty || at::equal(text.tokens[i], micro.text.tokens[i]));
        dropped += is_empty ? 1 : 0;
    }
    EXPECT_GT(dropped, 15);
    EXPECT_LT(dropped, 49);
}

TEST(StoredEncodings, NeedNoEncodersUntilOneIsAskedFor) {
    const Conditioning conditioning(stored_settings(), false, kWidths, kCpu);
    EXPECT_FALSE(conditioning.encodes_text());
    EXPECT_FALSE(conditioning.encodes_pictures());
    const std::vector<std::string> captions{"a"};
    EXPECT_THAT([&] { conditioning.encode_text(captions); },
                testing::ThrowsMessage<Error>(HasSubstr("encoder.t5_encoder = \"\": ")));
    EXPECT_THAT(
        [&] {
            conditioning.decode_pictures(at::zeros({1, 16, 4, 4}));
        },
        testing::ThrowsMessage<Error>(HasSubstr("encoder.autoencoder_path = \"\": ")));
    EXPECT_THAT([&] { conditioning.empty_text(1); },
                testing::ThrowsMessage<Error>(HasSubstr("encoder.empty_encodings_path = \"\": ")));
}

TEST(EmptyEncodings, OfAnotherWidthAreRefused) {
    const test::TemporaryFolder folder;
    write_empty_encodings(folder.path(), {at::zeros({1, 5, 8}), at::zeros({1, kWidths.pooled})});
    EXPECT_THAT([&] { read_empty_encodings(folder.path(), kWidths, kCpu); },
                testing::ThrowsMessage<Error>(testing::AllOf(
                    HasSubstr("t5_empty.npy"), HasSubstr("[1, 5, 8]"), HasSubstr("24"))));
    write_npy(folder.path() / "t5_empty.npy", at::zeros({1, 5, 24}, at::kLong));
    EXPECT_THAT([&] { read_empty_encodings(folder.path(), kWidths, kCpu); },
                testing::ThrowsMessage<Error>(HasSubstr("floating-point")));
}

TEST(CheckPayload, NamesTheOptionThatDoesNotFit) {
    const Conditioning conditioning(stored_settings(), false, kWidths, kCpu);
    const data::EncodingShape good{5, 24, 12, 16, 4, 4};
    const PayloadExpectation expected{"training.dataset = \"x\"", kWidths, 32, false};
    EXPECT_NO_THROW(check_payload(good, conditioning, expected));
    const auto refusal = [&](auto change) {
        data::EncodingShape shape = good;
        change(shape);
        return test::problem_of<ConfigError>([&] { check_payload(shape, conditioning, expected); });
    };
    using Shape = data::EncodingShape;
    EXPECT_THAT(refusal([](Shape& s) { s.text_width = 96; }),
                testing::AllOf(HasSubstr("training.dataset"), HasSubstr("96"),
                               HasSubstr("encoder.context_in_dim"), HasSubstr("24")));
    EXPECT_THAT(refusal([](Shape& s) { s.pooled_width = 7; }), HasSubstr("model.vec_in_dim"));
    EXPECT_THAT(refusal([](Shape& s) { s.channels = 4; }), HasSubstr("channel"));
    EXPECT_THAT(refusal([](Shape& s) { s.width = 8; }), HasSubstr("training.img_size"));
    PayloadExpectation drops = expected;
    drops.drops_captions = true;
    EXPECT_THAT([&] { check_payload(good, conditioning, drops); },
                testing::ThrowsMessage<ConfigError>(HasSubstr("encoder.empty_encodings_path")));
    EXPECT_THAT([&] { check_payload(data::PictureShape{32}, conditioning, expected); },
                testing::ThrowsMessage<ConfigError>(HasSubstr("holds pictures and captions")));
}

TEST(ParityEmptyEncodings, AreReadAsTheReferenceTakesThem) {
    FLUX_SKIP_WITHOUT_REFERENCE();
    int read = 0;
    for (const auto& entry :
         std::filesystem::directory_iterator(*test::reference_dir() / "data/preprocessed")) {
        const auto file = entry.path() / "t5_empty.npy";
        if (!std::filesystem::exists(file)) {
            continue;
        }
        const at::Tensor t5 = read_npy(file);
        const at::Tensor clip = read_npy(entry.path() / "clip_empty.npy");
        const TextConditioning empty =
            read_empty_encodings(entry.path(), {t5.size(-1), clip.size(-1)}, kCpu);
        EXPECT_TRUE(test::same_bits("t5", empty.tokens[0], t5[0]));
        EXPECT_TRUE(test::same_bits("clip", empty.pooled[0], clip[0]));
        // Written again they are the same: the values fit bfloat16.
        const test::TemporaryFolder folder;
        write_empty_encodings(folder.path(), empty);
        EXPECT_TRUE(test::same_bits("again", read_npy(folder.path() / "t5_empty.npy"), t5));
        ++read;
    }
    EXPECT_GT(read, 0);
}

}  // namespace
}  // namespace flux::encoders
