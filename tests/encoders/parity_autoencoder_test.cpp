// The Flux autoencoder against the vae_tiny fixture, from files in both published layouts.
#include <ATen/TensorOperators.h>
#include <ATen/ops/clamp.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "flux/base/error.h"
#include "flux/encoders/flux_autoencoder.h"
#include "support/fixture.h"
#include "support/reference.h"
#include "support/tensor_match.h"

namespace flux::test {
namespace {

using encoders::FluxAutoencoder;

/// Names in the diffusers layout by names in the original one, for modules of one kind.
using Modules = std::vector<std::pair<std::string, std::string>>;

/// All modules of an autoencoder with `scales` scales of `blocks` blocks.
Modules diffusers_modules(int scales, int blocks) {
    Modules modules;
    const auto resnet = [&](const std::string& from, const std::string& to) {
        for (const char* part : {".norm1", ".conv1", ".norm2", ".conv2"}) {
            modules.emplace_back(from + part, to + part);
        }
        modules.emplace_back(from + ".nin_shortcut", to + ".conv_shortcut");
    };
    for (const std::string half : {"encoder", "decoder"}) {
        modules.emplace_back(half + ".conv_in", half + ".conv_in");
        modules.emplace_back(half + ".conv_out", half + ".conv_out");
        modules.emplace_back(half + ".norm_out", half + ".conv_norm_out");
        resnet(half + ".mid.block_1", half + ".mid_block.resnets.0");
        resnet(half + ".mid.block_2", half + ".mid_block.resnets.1");
        const std::string from = half + ".mid.attn_1", to = half + ".mid_block.attentions.0";
        modules.emplace_back(from + ".norm", to + ".group_norm");
        modules.emplace_back(from + ".q", to + ".to_q");
        modules.emplace_back(from + ".k", to + ".to_k");
        modules.emplace_back(from + ".v", to + ".to_v");
        modules.emplace_back(from + ".proj_out", to + ".to_out.0");
    }
    for (int i = 0; i < scales; ++i) {
        const std::string down = fmt::format("encoder.down.{}", i);
        const std::string down_to = fmt::format("encoder.down_blocks.{}", i);
        const std::string up = fmt::format("decoder.up.{}", i);
        const std::string up_to = fmt::format("decoder.up_blocks.{}", scales - 1 - i);
        for (int j = 0; j <= blocks; ++j) {
            resnet(fmt::format("{}.block.{}", down, j), fmt::format("{}.resnets.{}", down_to, j));
            resnet(fmt::format("{}.block.{}", up, j), fmt::format("{}.resnets.{}", up_to, j));
        }
        modules.emplace_back(down + ".downsample.conv", down_to + ".downsamplers.0.conv");
        modules.emplace_back(up + ".upsample.conv", up_to + ".upsamplers.0.conv");
    }
    return modules;
}

class ParityAutoencoder : public testing::Test {
protected:
    /// The fixture's weights as a file; `rename` empty: in the original layout.
    SafetensorsSet write_weights(const std::map<std::string, std::string>& rename = {}) const {
        std::vector<TensorSpec> specs;
        std::vector<at::Tensor> tensors;
        for (const std::string& name : fixture_.names_after("param.")) {
            at::Tensor tensor = fixture_.tensor("param." + name);
            const size_t dot = name.rfind('.');
            const auto module = rename.find(name.substr(0, dot));
            std::string to = name;
            if (!rename.empty()) {
                EXPECT_NE(module, rename.end()) << name;
                to = module->second + name.substr(dot);
                if (to.find(".to_") != std::string::npos && tensor.dim() == 4) {
                    tensor = tensor.flatten(1);
                }
            }
            specs.push_back({to, tensor.scalar_type(), tensor.sizes().vec()});
            tensors.push_back(tensor);
        }
        const auto path = folder_.path() / "ae.safetensors";
        SafetensorsWriter writer(path, specs);
        for (const at::Tensor& tensor : tensors) {
            writer.write(tensor);
        }
        writer.commit();
        return SafetensorsSet(path);
    }

    void expect_fp32(const FluxAutoencoder& autoencoder) const {
        const auto& config = fixture_.json().at("config");
        const encoders::LatentScaling scaling{config.at("shift_factor"), config.at("scale_factor")};
        const auto posterior = autoencoder.encode(fixture_.tensor("image"));
        EXPECT_TRUE(max_abs_within("mean", posterior.mean, fixture_.tensor("mean"), 1e-4));
        EXPECT_TRUE(max_abs_within("logvar", posterior.logvar, fixture_.tensor("logvar"), 1e-4));
        const at::Tensor latent =
            encoders::draw_latents(posterior, fixture_.tensor("eps"), scaling);
        EXPECT_TRUE(max_abs_within("latent", latent, fixture_.tensor("latent"), 1e-4));
        const at::Tensor decoded =
            autoencoder.decode(encoders::unscale_latents(fixture_.tensor("latent"), scaling));
        EXPECT_TRUE(max_abs_within("decoded", decoded, fixture_.tensor("decoded"), 2e-4));
        const at::Tensor bytes = ((at::clamp(decoded, -1, 1) + 1.0) * 127.5).to(at::kByte);
        const at::Tensor off =
            (bytes.to(at::kInt) - fixture_.tensor("decoded_u8").to(at::kInt)).abs();
        EXPECT_LE(off.max().item<int>(), 1);
        EXPECT_LT((off > 0).to(at::kDouble).mean().item<double>(), 0.005);
    }

    Fixture fixture_{"vae_tiny"};
    TemporaryFolder folder_;
};

TEST_F(ParityAutoencoder, ShapesGiveItsDimensions) {
    const auto& expected = fixture_.json().at("config");
    const auto config = encoders::autoencoder_config_of(write_weights());
    ASSERT_EQ(expected.at("ch_mult").size(), config.channels.size());
    for (size_t i = 0; i < config.channels.size(); ++i) {
        EXPECT_EQ(config.channels[i],
                  expected.at("ch").get<int64_t>() * expected.at("ch_mult").at(i).get<int64_t>());
    }
    EXPECT_EQ(config.num_res_blocks, expected.at("num_res_blocks"));
    EXPECT_EQ(config.z_channels, expected.at("z_channels"));
}

TEST_F(ParityAutoencoder, OriginalLayout) {
    const SafetensorsSet weights = write_weights();
    expect_fp32(FluxAutoencoder(encoders::autoencoder_config_of(weights), weights, {}));
}

TEST_F(ParityAutoencoder, DiffusersLayout) {
    const auto& config = fixture_.json().at("config");
    const Modules modules =
        diffusers_modules(config.at("ch_mult").size(), config.at("num_res_blocks").get<int>());
    const SafetensorsSet weights = write_weights({modules.begin(), modules.end()});
    EXPECT_TRUE(weights.has("decoder.up_blocks.0.upsamplers.0.conv.weight"));
    expect_fp32(FluxAutoencoder(encoders::autoencoder_config_of(weights), weights, {}));
}

TEST_F(ParityAutoencoder, Bfloat16) {
    const SafetensorsSet weights = write_weights();
    const FluxAutoencoder autoencoder(encoders::autoencoder_config_of(weights), weights,
                                      {.dtype = at::kBFloat16});
    const auto posterior = autoencoder.encode(fixture_.tensor("image"));
    EXPECT_TRUE(
        relative_l2_within("mean_bf16", posterior.mean, fixture_.tensor("mean_bf16"), 4e-2));
    EXPECT_TRUE(
        relative_l2_within("logvar_bf16", posterior.logvar, fixture_.tensor("logvar_bf16"), 4e-2));
    const auto& config = fixture_.json().at("config");
    const encoders::LatentScaling scaling{config.at("shift_factor"), config.at("scale_factor")};
    const at::Tensor latent = fixture_.tensor("latent").to(at::kBFloat16);
    EXPECT_TRUE(relative_l2_within("decoded_bf16",
                                   autoencoder.decode(encoders::unscale_latents(latent, scaling)),
                                   fixture_.tensor("decoded_bf16"), 4e-2));
}

}  // namespace
}  // namespace flux::test
