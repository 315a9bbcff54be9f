// Full-size models against the names and shapes of the shapes fixture: every tensor is bound and
// checked on sparse files, whose data is never read.
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <nlohmann/json.hpp>

#include "flux/base/dtype.h"
#include "flux/base/error.h"
#include "flux/base/file.h"
#include "flux/base/shape.h"
#include "flux/encoders/clip_text.h"
#include "flux/encoders/flux_autoencoder.h"
#include "flux/encoders/t5_encoder.h"
#include "flux/model/mmdit.h"
#include "support/fixture.h"
#include "support/reference.h"

namespace flux::test {
namespace {

using Json = nlohmann::json;

constexpr double kMaxResidentGib = 2.0;

double peak_resident_gib() {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    return static_cast<double>(usage.ru_maxrss) / (1024.0 * 1024.0);  // given in KiB
}

/// A safetensors file with these tensors and a hole for data.
SafetensorsSet write_sparse(const std::filesystem::path& path, const Json& tensors) {
    Json header = Json::object();
    uint64_t end = 0;
    for (const auto& [name, tensor] : tensors.items()) {
        const std::string words = tensor.at("dtype");  // "float32 (some copies bf16/fp16)"
        const auto dtype = dtype_from_long_name(words.substr(0, words.find(' ')));
        if (!dtype) {
            fail("shapes: {}: dtype = {}", name, words);
        }
        const auto shape = tensor.at("shape").get<std::vector<int64_t>>();
        const uint64_t begin = end;
        end += static_cast<uint64_t>(checked_numel(shape).value()) * c10::elementSize(*dtype);
        header[name] = {
            {"dtype", short_name(*dtype)}, {"shape", shape}, {"data_offsets", {begin, end}}};
    }
    const std::string text = header.dump();
    const uint64_t size = text.size();
    write_text(path, std::string(reinterpret_cast<const char*>(&size), sizeof(size)) + text);
    std::filesystem::resize_file(path, sizeof(size) + text.size() + end);
    return SafetensorsSet(path);
}

/// The transformer has no file mapping of its own: its parameters carry the published names.
void expect_transformer(const SafetensorsSet& weights) {
    const bool guided = weights.has("guidance_in.in_layer.weight");
    const auto units = model::make_units(model::flavor(guided ? "flux-dev" : "flux-schnell"));
    const bool published = weights.has("double_blocks.0.img_attn.norm.query_norm.scale");
    size_t count = 0;
    for (const units::Parameter& parameter : encoders::all_parameters(units)) {
        std::string name = parameter.name;
        if (!published && name.ends_with("_norm.scale")) {
            name.replace(name.size() - 5, 5, "weight");
        }
        ASSERT_TRUE(weights.has(name)) << name;
        EXPECT_EQ(weights.info(name).shape, parameter.shape) << name;
        ++count;
    }
    EXPECT_EQ(count, weights.names().size());
}

/// Binds the model that these tensors belong to; returns how many of them it uses.
size_t bind_model(const SafetensorsSet& weights) {
    if (weights.has("double_blocks.0.img_attn.qkv.weight")) {
        expect_transformer(weights);
        return weights.names().size();
    }
    if (weights.has("encoder.conv_in.weight")) {
        return encoders::bind_autoencoder(encoders::autoencoder_config_of(weights), weights).size();
    }
    if (weights.has("shared.weight")) {
        return encoders::bind_t5(encoders::t5_config_of(weights), weights).size() +
               (weights.has("encoder.embed_tokens.weight") ? 1 : 0);
    }
    return encoders::bind_clip(encoders::clip_config_of(weights), weights).size();
}

TEST(ParityShapes, EveryTensorOfTheFullSizeModelsIsBound) {
    const Fixture fixture("shapes");
    const TemporaryFolder folder;
    ASSERT_FALSE(fixture.json().at("models").empty());
    for (const auto& [name, model] : fixture.json().at("models").items()) {
        SCOPED_TRACE(name);
        const SafetensorsSet weights =
            write_sparse(folder.path() / "model.safetensors", model.at("tensors"));
        ASSERT_EQ(weights.names().size(), model.at("tensor_count"));
        const bool tied = weights.has("shared.weight");
        int64_t parameters = 0, text_half = 0;
        for (const std::string& tensor : weights.names()) {
            const bool counts = !(tied && tensor == "encoder.embed_tokens.weight") &&
                                !tensor.ends_with("position_ids");
            parameters += counts ? checked_numel(weights.info(tensor).shape).value() : 0;
            text_half += counts && tensor.starts_with("text_model.") ? 1 : 0;
        }
        EXPECT_EQ(parameters, model.at("parameter_count"));
        EXPECT_EQ(bind_model(weights),
                  text_half > 0 ? static_cast<size_t>(text_half) : weights.names().size());
    }
    EXPECT_LT(peak_resident_gib(), kMaxResidentGib);
}

}  // namespace
}  // namespace flux::test
