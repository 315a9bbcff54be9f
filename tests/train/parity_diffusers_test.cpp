// The diffusers folder against the library itself: it loads what we export with every name
// required, predicts what we predict, and what it saves loads here. Needs a Python with torch,
// diffusers and safetensors: FLUX_DIFFUSERS_PYTHON names it, otherwise the tests skip.
#include <ATen/ops/linspace.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "flux/base/file.h"
#include "flux/base/safetensors.h"
#include "flux/checkpoint/export.h"
#include "flux/checkpoint/save.h"
#include "flux/train/init_from.h"
#include "flux/train/train_state.h"
#include "support/reference.h"
#include "support/tensor_match.h"
#include "support/tiny_model.h"

namespace flux::train {
namespace {

using test::Fixture;
using test::TemporaryFolder;

void write_input(const std::filesystem::path& path, const model::MmditInput& input) {
    std::vector<std::pair<std::string, at::Tensor>> tensors{
        {"img", input.img},         {"txt", input.txt},         {"pooled", input.pooled},
        {"img_ids", input.img_ids}, {"txt_ids", input.txt_ids}, {"timesteps", input.timesteps}};
    if (input.guidance.defined()) {
        tensors.emplace_back("guidance", input.guidance);
    }
    std::vector<TensorSpec> specs;
    for (const auto& [name, tensor] : tensors) {
        specs.push_back({name, tensor.scalar_type(), tensor.sizes().vec()});
    }
    SafetensorsWriter writer(path, specs);
    for (const auto& [name, tensor] : tensors) {
        writer.write(tensor);
    }
    writer.commit();
}

class ParityDiffusers : public testing::TestWithParam<bool> {};

TEST_P(ParityDiffusers, TheLibraryPredictsTheSame) {
    const char* python = std::getenv("FLUX_DIFFUSERS_PYTHON");
    if (python == nullptr) {
        GTEST_SKIP() << "needs a Python with torch and diffusers: set FLUX_DIFFUSERS_PYTHON";
    }
    const Fixture fixture("mmdit_tiny");
    const auto tiny = test::tiny_model(fixture);
    model::FluxConfig config = tiny->config();
    config.qk_norm_eps = 1e-6;  // the library's
    config.guidance_embed = GetParam();
    model::Mmdit model(config, {}, units::RecomputePolicy::none());
    model.parameters().initialize(5);  // the guidance embedder, which the fixture does not have
    for (const std::string& name : fixture.names_after("param.")) {
        const std::string published = test::published_name(fixture, name);
        model.parameters().parameter(published).copy_(tiny->parameters().parameter(published));
    }
    model.parameters().parameters_changed();
    model::MmditInput input = test::tiny_input(fixture);
    if (config.guidance_embed) {
        input.guidance = at::linspace(1, 4, input.img.size(0), at::kFloat);
    }

    const TemporaryFolder folder;
    const auto exported = folder.path() / "transformer";
    const auto step =
        checkpoint::save(folder.path(), {}, checkpoint_pieces(model.parameters(), nullptr), 0);
    checkpoint::export_diffusers(step, config,
                                 {.out_folder = exported, .most_shard_bytes = 300'000});
    write_input(folder.path() / "input.safetensors", input);
    const std::string log = folder.path() / "log";
    const std::string command =
        std::string(python) + " " FLUX_SOURCE_DIR "/tests/support/run_diffusers.py " +
        exported.string() + " " + (folder.path() / "input.safetensors").string() + " " +
        folder.path().string() + " > " + log + " 2>&1";
    ASSERT_EQ(std::system(command.c_str()), 0) << read_text(log);

    const at::Tensor theirs =
        SafetensorsFile(folder.path() / "output.safetensors").tensor("output");
    const at::Tensor ours = model.predict(input);
    std::printf("measured: largest difference of predictions up to %.3g: %.2g\n",
                ours.abs().max().item<double>(), (ours - theirs).abs().max().item<double>());
    EXPECT_TRUE(test::max_abs_within("prediction", theirs, ours, 2e-5));

    model::Mmdit again(config, {}, units::RecomputePolicy::none());
    InitialWeights(folder.path() / "saved", config).load_into(again.parameters());
    for (const auto& shard : model.parameters().shards()) {
        for (const auto& segment : shard.segments) {
            EXPECT_TRUE(test::same_bits(segment.name, again.parameters().parameter(segment.name),
                                        model.parameters().parameter(segment.name)));
        }
    }
}

INSTANTIATE_TEST_SUITE_P(Models, ParityDiffusers, testing::Bool(), [](const auto& test_case) {
    return test_case.param ? "WithGuidance" : "WithoutGuidance";
});

}  // namespace
}  // namespace flux::train
