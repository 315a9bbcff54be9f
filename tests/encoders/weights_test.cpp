// What files of weights and config.json may hold, and how they are refused.
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "encoders/small_models.h"
#include "flux/base/file.h"
#include "flux/encoders/clip_text.h"
#include "flux/encoders/flux_autoencoder.h"
#include "flux/encoders/t5_encoder.h"
#include "support/problem.h"
#include "support/reference.h"
#include "support/tensor_match.h"

namespace flux::encoders {
namespace {

using test::problem_of;
using testing::HasSubstr;

class EncoderWeights : public testing::Test {
protected:
    T5Encoder t5(const test::Tensors& tensors) {
        test::write_tensors(path_, tensors);
        return T5Encoder(read_t5_config(test::small_models() / "t5_tiny/config.json"),
                         SafetensorsSet(path_), {});
    }
    ClipText clip(const test::Tensors& tensors) {
        test::write_tensors(path_, tensors);
        return ClipText(read_clip_config(test::small_models() / "clip_tiny/config.json"),
                        SafetensorsSet(path_), {});
    }
    static at::Tensor ids() { return at::arange(40, at::kLong).view({2, 20}); }

    test::TemporaryFolder folder_;
    std::filesystem::path path_ = folder_.path() / "model.safetensors";
    test::Tensors t5_tensors_ = test::tensors_of(test::small_models() / "t5_tiny");
    test::Tensors clip_tensors_ = test::tensors_of(test::small_models() / "clip_tiny");
};

TEST_F(EncoderWeights, MissingTensorIsNamed) {
    t5_tensors_.erase("encoder.final_layer_norm.weight");
    EXPECT_THAT(problem_of([&] { t5(t5_tensors_); }),
                HasSubstr(path_.string() + ": tensor encoder.final_layer_norm.weight: is missing"));
    clip_tensors_.erase("text_model.encoder.layers.1.mlp.fc1.bias");
    clip_tensors_.erase("text_model.encoder.layers.1.mlp.fc2.bias");
    EXPECT_THAT(
        problem_of([&] { clip(clip_tensors_); }),
        HasSubstr("tensor text_model.encoder.layers.1.mlp.fc1.bias (and 1 more): is missing"));
}

TEST_F(EncoderWeights, UnexpectedTensorIsNamed) {
    t5_tensors_["encoder.block.9.layer.0.layer_norm.weight"] = at::ones({64});
    EXPECT_THAT(
        problem_of([&] { t5(t5_tensors_); }),
        HasSubstr("tensor encoder.block.9.layer.0.layer_norm.weight: is not part of this T5"));
    clip_tensors_["scaled_fp8"] = at::ones({1});
    EXPECT_THAT(problem_of([&] { clip(clip_tensors_); }), HasSubstr("tensor scaled_fp8: is not"));
}

TEST_F(EncoderWeights, OtherShapeIsNamed) {
    at::Tensor& wo = t5_tensors_.at("encoder.block.0.layer.1.DenseReluDense.wo.weight");
    wo = wo.t().contiguous();
    EXPECT_THAT(problem_of([&] { t5(t5_tensors_); }),
                HasSubstr("DenseReluDense.wo.weight: shape = [160, 64]: must be [64, 160]"));
}

TEST_F(EncoderWeights, WholeNumbersAreNoWeights) {
    at::Tensor& norm = t5_tensors_.at("encoder.final_layer_norm.weight");
    norm = norm.to(at::kInt);
    EXPECT_THAT(problem_of([&] { t5(t5_tensors_); }), HasSubstr("dtype = I32: weights must be"));
}

TEST_F(EncoderWeights, KnownUnusedTensorsAreAccepted) {
    const at::Tensor t5_before = t5(t5_tensors_).forward(ids());
    t5_tensors_["decoder.block.0.layer.0.layer_norm.weight"] = at::ones({64});
    t5_tensors_["lm_head.weight"] = at::ones({10, 64});
    EXPECT_TRUE(test::same_bits("T5", t5(t5_tensors_).forward(ids()), t5_before));
    const at::Tensor clip_before = clip(clip_tensors_).forward(ids()).pooled;
    clip_tensors_["vision_model.embeddings.class_embedding"] = at::ones({8});
    clip_tensors_["text_model.embeddings.position_ids"] = at::arange(77, at::kLong).unsqueeze(0);
    clip_tensors_["logit_scale"] = at::ones({});
    clip_tensors_["text_projection.weight"] = at::ones({8, 64});
    EXPECT_TRUE(test::same_bits("CLIP", clip(clip_tensors_).forward(ids()).pooled, clip_before));
}

TEST_F(EncoderWeights, TiedCopiesMustBeEqual) {
    const at::Tensor before = t5(t5_tensors_).forward(ids());
    const at::Tensor table = t5_tensors_.at("shared.weight");
    t5_tensors_["encoder.embed_tokens.weight"] = table;
    EXPECT_TRUE(test::same_bits("both", t5(t5_tensors_).forward(ids()), before));
    t5_tensors_.erase("shared.weight");
    EXPECT_TRUE(test::same_bits("the copy", t5(t5_tensors_).forward(ids()), before));
    t5_tensors_["shared.weight"] = table + 1;
    EXPECT_THAT(problem_of([&] { t5(t5_tensors_); }),
                HasSubstr("tensor encoder.embed_tokens.weight: must equal shared.weight"));
}

TEST_F(EncoderWeights, NarrowTypesAreWidened) {
    const at::Tensor expected = t5(t5_tensors_).forward(ids());
    for (auto& [name, tensor] : t5_tensors_) {
        tensor = tensor.to(at::kHalf);
    }
    const at::Tensor found = t5(t5_tensors_).forward(ids());
    EXPECT_EQ(found.scalar_type(), at::kFloat);
    EXPECT_TRUE(test::relative_l2_within("fp16 file", found, expected, 2e-3));
}

TEST_F(EncoderWeights, ClipConfigOfAWholeClipHasItsTextPart) {
    const auto text = test::small_models() / "clip_tiny/config.json";
    const nlohmann::json whole{{"model_type", "clip"},
                               {"hidden_size", 1},
                               {"text_config", nlohmann::json::parse(read_text(text))}};
    write_text(folder_.path() / "config.json", whole.dump());
    const ClipTextConfig config = read_clip_config(folder_.path() / "config.json");
    EXPECT_EQ(config.hidden_size, read_clip_config(text).hidden_size);
    EXPECT_EQ(config.eos_token_id, read_clip_config(text).eos_token_id);
}

TEST_F(EncoderWeights, ActivationsAct) {
    const at::Tensor quick = clip(clip_tensors_).forward(ids()).pooled;
    nlohmann::json json =
        nlohmann::json::parse(read_text(test::small_models() / "clip_tiny/config.json"));
    const auto path = folder_.path() / "config.json";
    for (const std::string word : {"gelu", "gelu_new"}) {
        json["hidden_act"] = word;
        write_text(path, json.dump());
        const ClipText other(read_clip_config(path), SafetensorsSet(path_), {});
        EXPECT_FALSE(other.forward(ids()).pooled.equal(quick)) << word;
        EXPECT_TRUE(other.forward(ids()).pooled.allclose(quick, 0.1, 0.1)) << word;
    }
}

/// What config.json says with one key changed; an empty patch value removes the key.
class EncoderConfig
    : public testing::TestWithParam<std::tuple<const char*, const char*, const char*>> {};

TEST_P(EncoderConfig, BadValueIsNamed) {
    const auto& [kind, patch, expected] = GetParam();
    const bool is_t5 = std::string_view(kind) == "t5";
    nlohmann::json json = nlohmann::json::parse(read_text(
        test::small_models() / (is_t5 ? "t5_tiny/config.json" : "clip_tiny/config.json")));
    json.merge_patch(nlohmann::json::parse(patch));
    const test::TemporaryFolder folder;
    const auto path = folder.path() / "config.json";
    write_text(path, json.dump());
    const std::string problem = problem_of([&, t5 = is_t5] {
        if (t5) {
            read_t5_config(path);
        } else {
            read_clip_config(path);
        }
    });
    EXPECT_THAT(problem, HasSubstr(path.string()));
    EXPECT_THAT(problem, HasSubstr(expected));
}

INSTANTIATE_TEST_SUITE_P(
    Keys, EncoderConfig,
    testing::Values(
        std::tuple("t5", R"({"feed_forward_proj": "relu"})", "feed_forward_proj = \"relu\": must"),
        std::tuple("t5", R"({"feed_forward_proj": null})", "feed_forward_proj = (missing)"),
        std::tuple("t5", R"({"d_model": null})", "d_model = (missing): must be a whole number"),
        std::tuple("t5", R"({"d_model": "64"})", "d_model = \"64\""),
        std::tuple("t5", R"({"num_layers": 0})", "num_layers = 0"),
        std::tuple("t5", R"({"num_layers": 100000})", "num_layers = 100000"),
        std::tuple("t5", R"({"d_ff": -3})", "d_ff = -3"),
        std::tuple("t5", R"({"model_type": "bert"})", "model_type = \"bert\": must be t5"),
        std::tuple("t5", R"({"layer_norm_epsilon": 0})", "layer_norm_epsilon = 0: must be above 0"),
        std::tuple("t5", R"({"relative_attention_num_buckets": 7})", "buckets = 7"),
        std::tuple("t5", R"({"relative_attention_max_distance": 8})", "max_distance = 8"),
        std::tuple("clip", R"({"hidden_act": "swish"})", "hidden_act = \"swish\": must be"),
        std::tuple("clip", R"({"num_attention_heads": 5})", "must divide hidden_size 64"),
        std::tuple("clip", R"({"eos_token_id": "</s>"})", "eos_token_id = \"</s>\""),
        std::tuple("clip", R"({"text_config": 3})", "text_config = 3: must be an object"),
        std::tuple("clip", R"({"model_type": "t5"})", "model_type = \"t5\": must be clip")));

TEST(AutoencoderWeights, ConfigGivesShiftAndScale) {
    const test::TemporaryFolder folder;
    const auto path = folder.path() / "config.json";
    const AutoencoderConfig config{.channels = {32, 32, 64, 64}, .num_res_blocks = 1};
    write_text(path, R"({"latent_channels": 16, "shift_factor": 0.25, "scaling_factor": 2})");
    EXPECT_EQ(read_autoencoder_config(path, config).shift, 0.25);
    EXPECT_EQ(read_autoencoder_config(path, config).scale, 2);
    write_text(path, R"({"latent_channels": 4})");
    EXPECT_THAT(problem_of([&] { read_autoencoder_config(path, config); }),
                HasSubstr("latent_channels = 4: the tensors beside it have 16"));
    write_text(path, R"({"layers_per_block": 2})");
    EXPECT_THAT(problem_of([&] { read_autoencoder_config(path, config); }),
                HasSubstr("layers_per_block = 2: the tensors beside it have 1"));
    write_text(path, R"({"scaling_factor": 0})");
    EXPECT_THAT(problem_of([&] { read_autoencoder_config(path, config); }),
                HasSubstr("scaling_factor = 0: must be above 0"));
}

TEST(AutoencoderWeights, OtherAutoencodersAreRefused) {
    const test::TemporaryFolder folder;
    const auto path = folder.path() / "ae.safetensors";
    const auto problem = [&](const test::Tensors& tensors) {
        test::write_tensors(path, tensors);
        return problem_of([&] {
            const SafetensorsSet weights(path);
            bind_autoencoder(autoencoder_config_of(weights), weights);
        });
    };
    test::Tensors tensors = test::autoencoder_tensors();
    EXPECT_EQ(problem(tensors), "");
    tensors["quant_conv.weight"] = at::ones({32, 32, 1, 1});
    EXPECT_THAT(problem(tensors), HasSubstr("tensor quant_conv.weight: is not part of this auto"));
    tensors.erase("quant_conv.weight");
    const at::Tensor conv_in = tensors.at("decoder.conv_in.weight");
    tensors["decoder.conv_in.weight"] = conv_in.narrow(1, 0, 4).contiguous();
    EXPECT_THAT(problem(tensors), HasSubstr("latents have 4 channels: must be 16"));
    tensors.erase("decoder.conv_in.weight");
    EXPECT_THAT(problem(tensors), HasSubstr("has no tensor decoder.conv_in.weight"));
}

}  // namespace
}  // namespace flux::encoders
