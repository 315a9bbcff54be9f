// The CLIP and T5 text encoders against the clip_tiny and t5_tiny fixtures.
#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "flux/encoders/clip_text.h"
#include "flux/encoders/t5_encoder.h"
#include "support/fixture.h"
#include "support/reference.h"
#include "support/tensor_match.h"

namespace flux::test {
namespace {

using encoders::Placement;

/// The weights of a Hugging Face folder, in one file or in shards.
SafetensorsSet weights_of(const std::filesystem::path& folder) {
    const auto index = folder / "model.safetensors.index.json";
    return SafetensorsSet(std::filesystem::exists(index) ? index : folder / "model.safetensors");
}

TEST(ParityClipText, FollowsBothPoolingRules) {
    const Fixture fixture("clip_tiny");
    ASSERT_FALSE(fixture.json().at("cases").empty());
    for (const auto& [name, item] : fixture.json().at("cases").items()) {
        const auto folder = model_fixtures() / item.at("folder").get<std::string>();
        const auto config = encoders::read_clip_config(folder / "config.json");
        const SafetensorsSet weights = weights_of(folder);
        const at::Tensor ids = fixture.tensor(name + ".input_ids");
        const auto fp32 = encoders::ClipText(config, weights, {}).forward(ids);
        EXPECT_TRUE(max_abs_within(name + ".last_hidden_state", fp32.hidden,
                                   fixture.tensor(name + ".last_hidden_state"), 5e-5));
        EXPECT_TRUE(max_abs_within(name + ".pooler_output", fp32.pooled,
                                   fixture.tensor(name + ".pooler_output"), 5e-5));
        const auto bf16 =
            encoders::ClipText(config, weights, {.dtype = at::kBFloat16}).forward(ids);
        EXPECT_EQ(bf16.hidden.scalar_type(), at::kBFloat16);
        EXPECT_TRUE(relative_l2_within(name + ".last_hidden_state_bf16", bf16.hidden,
                                       fixture.tensor(name + ".last_hidden_state_bf16"), 2.5e-2));
        EXPECT_TRUE(relative_l2_within(name + ".pooler_output_bf16", bf16.pooled,
                                       fixture.tensor(name + ".pooler_output_bf16"), 2.5e-2));
    }
}

TEST(ParityClipText, ReadsFilesWithoutThePrefix) {
    const Fixture fixture("clip_tiny");
    const std::string name = fixture.json().at("cases").begin().key();
    const auto folder =
        model_fixtures() / fixture.json().at("cases").at(name).at("folder").get<std::string>();
    const SafetensorsSet weights = weights_of(folder);
    const std::string prefix = "text_model.";
    std::vector<TensorSpec> specs;
    for (const std::string& tensor : weights.names()) {
        ASSERT_TRUE(tensor.starts_with(prefix)) << tensor;
        const TensorInfo& info = weights.info(tensor);
        specs.push_back({tensor.substr(prefix.size()), info.dtype, info.shape});
    }
    const TemporaryFolder temporary;
    SafetensorsWriter writer(temporary.path() / "model.safetensors", specs);
    for (const std::string& tensor : weights.names()) {
        writer.write(weights.tensor(tensor));
    }
    writer.commit();
    const encoders::ClipText clip(encoders::read_clip_config(folder / "config.json"),
                                  weights_of(temporary.path()), {});
    EXPECT_TRUE(max_abs_within("pooler_output",
                               clip.forward(fixture.tensor(name + ".input_ids")).pooled,
                               fixture.tensor(name + ".pooler_output"), 5e-5));
}

TEST(ParityT5Encoder, OneFileAndShardsGiveTheReferencesEncoding) {
    const Fixture fixture("t5_tiny");
    ASSERT_FALSE(fixture.json().at("folders").empty());
    for (const std::string name : fixture.json().at("folders")) {
        const auto folder = model_fixtures() / name;
        const auto config = encoders::read_t5_config(folder / "config.json");
        const SafetensorsSet weights = weights_of(folder);
        const at::Tensor ids = fixture.tensor("input_ids");
        EXPECT_TRUE(max_abs_within(name, encoders::T5Encoder(config, weights, {}).forward(ids),
                                   fixture.tensor("last_hidden_state"), 1e-4));
        const at::Tensor bf16 =
            encoders::T5Encoder(config, weights, {.dtype = at::kBFloat16}).forward(ids);
        EXPECT_EQ(bf16.scalar_type(), at::kBFloat16);
        EXPECT_TRUE(relative_l2_within(name + " bf16", bf16,
                                       fixture.tensor("last_hidden_state_bf16"), 3e-2));
    }
}

TEST(ParityT5Encoder, ShapesAloneGiveTheSameDimensions) {
    const Fixture fixture("t5_tiny");
    for (const std::string name : fixture.json().at("folders")) {
        const auto read = encoders::read_t5_config(model_fixtures() / name / "config.json");
        const auto derived = encoders::t5_config_of(weights_of(model_fixtures() / name));
        EXPECT_EQ(derived.vocab_size, read.vocab_size);
        EXPECT_EQ(derived.d_model, read.d_model);
        EXPECT_EQ(derived.d_kv, read.d_kv);
        EXPECT_EQ(derived.d_ff, read.d_ff);
        EXPECT_EQ(derived.num_layers, read.num_layers);
        EXPECT_EQ(derived.num_heads, read.num_heads);
        EXPECT_EQ(derived.relative_attention_num_buckets, read.relative_attention_num_buckets);
    }
}

TEST(ParityT5Encoder, BucketsOfRelativePositionsAreExact) {
    const Fixture fixture("t5_tiny");
    const std::string folder = fixture.json().at("folders").at(0);
    const auto config = encoders::read_t5_config(model_fixtures() / folder / "config.json");
    const std::string prefix = "relative_position_bucket_row";
    const auto rows = fixture.names_after(prefix);
    ASSERT_FALSE(rows.empty());
    for (const std::string& row : rows) {
        const at::Tensor expected = fixture.tensor(prefix + row);
        const at::Tensor buckets = encoders::relative_position_buckets(expected.size(0), config);
        EXPECT_TRUE(same_bits("row " + row, buckets[std::stoll(row)], expected));
    }
}

}  // namespace
}  // namespace flux::test
