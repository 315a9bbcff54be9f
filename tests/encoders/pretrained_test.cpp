// Pretrained encoders behind Conditioning: options of [encoder] and what each of them changes.
#include "flux/encoders/pretrained.h"

#include <ATen/Context.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "encoders/small_models.h"
#include "flux/base/file.h"
#include "flux/encoders/conditioning.h"
#include "support/problem.h"
#include "support/reference.h"
#include "support/tensor_match.h"

namespace flux::encoders {
namespace {

using test::problem_of;
using testing::HasSubstr;

class PretrainedEncoders : public testing::Test {
protected:
    PretrainedEncoders() {
        for (const char* name : {"t5_tokenizer", "clip_tokenizer"}) {
            std::filesystem::create_directories(folder_.path() / name);
        }
        test::write_t5_tokenizer(folder_.path() / "t5_tokenizer");
        test::write_clip_tokenizer(folder_.path() / "clip_tokenizer");
        test::write_tensors(folder_.path() / "ae.safetensors", test::autoencoder_tensors());
        settings_.t5_encoder = test::small_models() / "t5_tiny_sharded";
        settings_.clip_encoder = test::small_models() / "clip_tiny";
        settings_.autoencoder_path = folder_.path() / "ae.safetensors";
        settings_.t5_tokenizer = folder_.path() / "t5_tokenizer";
        settings_.clip_tokenizer = folder_.path() / "clip_tokenizer";
        settings_.max_t5_encoding_len = 12;
    }

    Conditioning open(TextWidths widths = {.tokens = 64, .pooled = 64}) const {
        return Conditioning(settings_, false, widths, at::kCPU);
    }
    static at::Tensor pictures() {
        return at::arange(2 * 3 * 16 * 24, at::kInt)
            .remainder(251)
            .to(at::kByte)
            .view({2, 3, 16, 24});
    }
    static at::Tensor latents(const Conditioning& conditioning) {
        return conditioning.encode_pictures(pictures(), {1, Purpose::kVaeNoise},
                                            at::arange(2, at::kLong));
    }

    test::TemporaryFolder folder_;
    config::Encoder settings_;
};

TEST_F(PretrainedEncoders, EncodeCaptionsAndPictures) {
    const Conditioning conditioning = open();
    const std::vector<std::string> captions{"a red circle", "", "a red circle"};
    const TextConditioning text = conditioning.encode_text(captions);
    EXPECT_EQ(text.tokens.sizes(), (at::IntArrayRef{3, 12, 64}));
    EXPECT_EQ(text.pooled.sizes(), (at::IntArrayRef{3, 64}));
    EXPECT_TRUE(text.tokens[0].allclose(text.tokens[2], 1e-5, 1e-5));
    EXPECT_FALSE(text.tokens[0].allclose(text.tokens[1], 1e-2, 1e-2));
    EXPECT_FALSE(text.pooled[0].allclose(text.pooled[1], 1e-2, 1e-2));
    const TextConditioning empty = conditioning.empty_text(1);
    EXPECT_TRUE(empty.tokens[0].allclose(text.tokens[1], 1e-5, 1e-5));
    EXPECT_TRUE(empty.pooled[0].allclose(text.pooled[1], 1e-5, 1e-5));
    EXPECT_EQ(latents(conditioning).sizes(), (at::IntArrayRef{2, 16, 2, 3}));
    EXPECT_EQ(conditioning.decode_pictures(latents(conditioning)).sizes(), pictures().sizes());
}

TEST_F(PretrainedEncoders, ABatchIsWhatItsRowsAre) {
    const Conditioning conditioning = open();
    const std::vector<std::string> captions{"one", "two words"};
    const TextConditioning both = conditioning.encode_text(captions);
    for (size_t i = 0; i < captions.size(); ++i) {
        const TextConditioning row = conditioning.encode_text(std::span(captions).subspan(i, 1));
        const auto index = static_cast<int64_t>(i);
        EXPECT_TRUE(row.tokens[0].allclose(both.tokens[index], 1e-4, 1e-5));
        EXPECT_TRUE(row.pooled[0].allclose(both.pooled[index], 1e-4, 1e-5));
    }
}

TEST_F(PretrainedEncoders, TheAutoencoderBringsFluxsShiftAndScale) {
    const at::Tensor own = latents(open());
    settings_.autoencoder_shift = 0.1159;
    settings_.autoencoder_scale = 0.3611;
    EXPECT_TRUE(latents(open()).allclose(own, 1e-6, 1e-6));
    settings_.autoencoder_shift = 0;
    settings_.autoencoder_scale = 1;
    EXPECT_TRUE(((latents(open()) - 0.1159) * 0.3611).allclose(own, 1e-5, 1e-5));
}

TEST_F(PretrainedEncoders, DtypeActs) {
    const std::vector<std::string> captions{"a red circle"};
    const TextConditioning fp32 = open().encode_text(captions);
    const at::Tensor latents32 = latents(open());
    EXPECT_EQ(fp32.tokens.scalar_type(), at::kFloat);  // auto on a CPU
    settings_.dtype = config::Precision::kBfloat16;
    const TextConditioning bf16 = open().encode_text(captions);
    EXPECT_EQ(bf16.tokens.scalar_type(), at::kBFloat16);
    EXPECT_EQ(bf16.pooled.scalar_type(), at::kBFloat16);
    EXPECT_TRUE(test::relative_l2_within("tokens", bf16.tokens, fp32.tokens, 3e-2));
    EXPECT_TRUE(test::relative_l2_within("pooled", bf16.pooled, fp32.pooled, 3e-2));
    const at::Tensor latents16 = latents(open());
    EXPECT_EQ(latents16.scalar_type(), at::kFloat);
    EXPECT_FALSE(latents16.equal(latents32));
    EXPECT_TRUE(test::relative_l2_within("latents", latents16, latents32, 4e-2));
}

TEST_F(PretrainedEncoders, OtherWidthsAreRefusedByName) {
    EXPECT_THAT(problem_of([&] { open({.tokens = 4096, .pooled = 64}); }),
                HasSubstr("encoder.t5_encoder = \"" + settings_.t5_encoder +
                          "\": its encodings have 64 channels, but the transformer expects 4096: "
                          "choose another encoder or set encoder.context_in_dim = 64"));
    EXPECT_THAT(problem_of([&] { open({.tokens = 64, .pooled = 768}); }),
                HasSubstr("set model.vec_in_dim = 64"));
}

TEST_F(PretrainedEncoders, ATokenizerWithMoreIdsThanTheEmbeddingIsRefused) {
    test::Tensors tensors = test::tensors_of(test::small_models() / "clip_tiny");
    at::Tensor& table = tensors.at("text_model.embeddings.token_embedding.weight");
    table = table.narrow(0, 0, 100).contiguous();
    const auto folder = folder_.path() / "clip";
    std::filesystem::create_directories(folder);
    test::write_tensors(folder / "model.safetensors", tensors);  // its own dimensions, no config
    settings_.clip_encoder = folder;
    EXPECT_THAT(problem_of([&] { open(); }),
                HasSubstr("the tokenizer has 515 ids, but the CLIP text encoder in " +
                          folder.string() + " knows only 100"));
}

TEST_F(PretrainedEncoders, TheTokenizerOfTheOtherKindIsRefused) {
    const auto before = settings_;
    settings_.clip_tokenizer = settings_.t5_tokenizer;
    EXPECT_THAT(problem_of([&] { open(); }),
                HasSubstr("holds a tokenizer of T5, but the CLIP text encoder needs its own: name "
                          "its folder with encoder.clip_tokenizer"));
    settings_ = before;
    settings_.t5_tokenizer = settings_.clip_tokenizer;
    EXPECT_THAT(problem_of([&] { open(); }), HasSubstr("holds a tokenizer of CLIP"));
}

TEST_F(PretrainedEncoders, SingleFilesGiveTheSameEncodings) {
    const std::vector<std::string> captions{"a red circle"};
    const at::Tensor expected = open().encode_text(captions).tokens;
    test::write_tensors(folder_.path() / "t5.safetensors",
                        test::tensors_of(test::small_models() / "t5_tiny"));
    settings_.t5_encoder = folder_.path() / "t5.safetensors";
    EXPECT_TRUE(test::same_bits("tokens", open().encode_text(captions).tokens, expected));
}

/// Same fixture, on a GPU.
class GpuPretrainedEncoders : public PretrainedEncoders {};

TEST_F(GpuPretrainedEncoders, OffloadChangesNothingButMemory) {
    if (!at::globalContext().hasCUDA()) {
        GTEST_SKIP() << "needs a GPU";
    }
    const std::vector<std::string> captions{"a red circle", "two"};
    TextConditioning text[2];
    at::Tensor encoded[2];
    for (const bool offload : {false, true}) {
        settings_.offload = offload;
        const Conditioning conditioning(settings_, false, {.tokens = 64, .pooled = 64}, at::kCUDA);
        text[offload] = conditioning.encode_text(captions);
        encoded[offload] = conditioning.encode_pictures(pictures(), {1, Purpose::kVaeNoise},
                                                        at::arange(2, at::kLong).to(at::kCUDA));
    }
    EXPECT_TRUE(text[0].tokens.equal(text[1].tokens));
    EXPECT_TRUE(text[0].pooled.equal(text[1].pooled));
    EXPECT_TRUE(encoded[0].equal(encoded[1]));
}

TEST(Placement, OffloadKeepsOneUnitOnTheDevice) {
    const Placement plain{.device = at::Device(at::kCUDA, 0)};
    const Placement offload{.device = at::Device(at::kCUDA, 0), .offload = true};
    EXPECT_FALSE(plain.store().host_shards);
    EXPECT_EQ(plain.store().slabs, 0);
    EXPECT_TRUE(offload.store().host_shards);
    EXPECT_EQ(offload.store().slabs, 1);
    EXPECT_EQ((Placement{.offload = true}.store().slabs), 0);  // a CPU has nothing to move
    EXPECT_FALSE(Placement{.offload = true}.store().host_shards);
}

}  // namespace
}  // namespace flux::encoders
