#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/randn.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "flux/encoders/conditioning.h"
#include "flux/encoders/dct.h"
#include "flux/encoders/words.h"
#include "support/problem.h"

namespace flux::encoders {
namespace {

TEST(SplitWords, LowersAndDropsPunctuation) {
    EXPECT_EQ(split_words("A large, RED circle!"),
              (std::vector<std::string>{"a", "large", "red", "circle"}));
    EXPECT_TRUE(split_words(" ...").empty());
}

TEST(WordTokens, SameWordSameVectorWhateverTheCaption) {
    const WordTokens encoder(4, 32, at::kCPU);
    const std::vector<std::string> captions{"red circle", "a red", ""};
    const at::Tensor tokens = encoder.encode(captions);
    ASSERT_EQ(tokens.sizes(), (at::IntArrayRef{3, 4, 32}));
    const at::Tensor positions = tokens[2];  // the empty caption shows the positions alone
    EXPECT_TRUE((tokens[0][0] - positions[0]).allclose(tokens[1][1] - positions[1], 1e-5, 1e-5));
    EXPECT_TRUE(tokens[0][2].equal(positions[2]));
}

TEST(WordTokens, CutsLongCaptions) {
    const WordTokens encoder(2, 8, at::kCPU);
    const std::vector<std::string> captions{"one two three", "one two"};
    const at::Tensor tokens = encoder.encode(captions);
    EXPECT_TRUE(tokens[0].equal(tokens[1]));
}

TEST(WordMean, EmptyCaptionIsZero) {
    const WordMean encoder(16, at::kCPU);
    const std::vector<std::string> captions{"", "blue"};
    const at::Tensor pooled = encoder.encode(captions);
    EXPECT_TRUE((pooled[0] == 0).all().item<bool>());
    EXPECT_FALSE((pooled[1] == 0).any().item<bool>());
}

TEST(DctAutoencoder, EncodesWhatItDecoded) {
    const DctAutoencoder autoencoder(at::kCPU);
    const at::Tensor latents = at::randn({2, 16, 3, 5});
    const Posterior posterior = autoencoder.encode(autoencoder.decode(latents));
    EXPECT_TRUE(posterior.mean.allclose(latents, 1e-4, 1e-4));
    EXPECT_TRUE((posterior.logvar == -30).all().item<bool>());
}

TEST(DctAutoencoder, KeepsFlatColours) {
    const DctAutoencoder autoencoder(at::kCPU);
    at::Tensor picture = at::empty({1, 3, 16, 16}, at::kFloat);
    for (int64_t c = 0; c < 3; ++c) {
        picture.select(1, c).fill_(0.9 - 0.7 * static_cast<double>(c));
    }
    EXPECT_TRUE(autoencoder.decode(autoencoder.encode(picture).mean).allclose(picture, 1e-4, 1e-4));
}

class ConditioningTest : public testing::Test {
protected:
    static Conditioning make(config::Encoder settings = {}) {
        settings.max_t5_encoding_len = 4;
        return Conditioning(settings, /*test_mode=*/true, {.tokens = 8, .pooled = 6}, at::kCPU);
    }
    static TextConditioning text(const Conditioning& conditioning, int64_t rows) {
        return conditioning.encode_text(
            std::vector<std::string>(static_cast<size_t>(rows), "a red circle"));
    }
    static at::Tensor samples(int64_t rows) { return at::arange(rows, at::kLong); }
};

TEST_F(ConditioningTest, JointDropoutDropsBothEncodingsOfARow) {
    const Conditioning conditioning = make();
    const TextConditioning dropped = conditioning.drop_captions(
        text(conditioning, 2000), {0.1, config::DropoutMode::kJoint}, 5, samples(2000));
    const at::Tensor pooled_gone = (dropped.pooled == 0).all(1);
    const at::Tensor tokens_gone =
        (dropped.tokens == conditioning.empty_text(2000).tokens).flatten(1).all(1);
    EXPECT_TRUE(pooled_gone.equal(tokens_gone));
    EXPECT_NEAR(pooled_gone.to(at::kFloat).mean().item<double>(), 0.1, 0.03);
}

TEST_F(ConditioningTest, IndependentDropoutDropsBothInTheSquareOfTheCases) {
    const Conditioning conditioning = make();
    const TextConditioning dropped = conditioning.drop_captions(
        text(conditioning, 4000), {0.447, config::DropoutMode::kIndependent}, 5, samples(4000));
    const at::Tensor pooled_gone = (dropped.pooled == 0).all(1);
    const at::Tensor tokens_gone =
        (dropped.tokens == conditioning.empty_text(4000).tokens).flatten(1).all(1);
    EXPECT_NEAR(pooled_gone.to(at::kFloat).mean().item<double>(), 0.447, 0.03);
    EXPECT_NEAR((pooled_gone & tokens_gone).to(at::kFloat).mean().item<double>(), 0.2, 0.03);
}

TEST_F(ConditioningTest, DropoutIsKeyedByTheSample) {
    const Conditioning conditioning = make();
    const CaptionDropout dropout{0.5, config::DropoutMode::kJoint};
    const auto all = conditioning.drop_captions(text(conditioning, 64), dropout, 5, samples(64));
    const auto tail =
        conditioning.drop_captions(text(conditioning, 4), dropout, 5, samples(64).narrow(0, 60, 4));
    EXPECT_TRUE(all.tokens.narrow(0, 60, 4).equal(tail.tokens));
}

TEST_F(ConditioningTest, ShiftOfZeroIsZeroAndScaleActs) {
    const Conditioning plain = make();
    config::Encoder settings;
    settings.autoencoder_shift = 0.5;
    settings.autoencoder_scale = 2.0;
    const Conditioning scaled = make(settings);
    const at::Tensor pictures =
        at::arange(2 * 3 * 64, at::kInt).remainder(251).to(at::kByte).view({2, 3, 8, 8});
    const at::Tensor a = plain.encode_pictures(pictures, {1, Purpose::kVaeNoise}, samples(2));
    const at::Tensor b = scaled.encode_pictures(pictures, {1, Purpose::kVaeNoise}, samples(2));
    EXPECT_TRUE(b.allclose((a - 0.5) * 2.0, 1e-5, 1e-5));
    EXPECT_LE((scaled.decode_pictures(b).to(at::kInt) - plain.decode_pictures(a).to(at::kInt))
                  .abs()
                  .max()
                  .item<int>(),
              1);
}

TEST_F(ConditioningTest, NamesTheOptionOfAnEncoderItCannotOpen) {
    config::Encoder settings;
    settings.t5_encoder = "/models/t5";
    const std::string problem = test::problem_of([&] {
        const Conditioning conditioning(settings, false, {.tokens = 8, .pooled = 6}, at::kCPU);
    });
    EXPECT_THAT(problem, testing::HasSubstr("encoder.t5_encoder = \"/models/t5\""));
}

}  // namespace
}  // namespace flux::encoders
