// A run's first weights from published ones: both layouts, one file or shards, on one process and
// on several; and what is refused.
#include "flux/train/init_from.h"

#include <ATen/ops/arange.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "flux/base/file.h"
#include "flux/checkpoint/export.h"
#include "flux/checkpoint/save.h"
#include "flux/kernels/keyed_draw.h"
#include "flux/train/train_state.h"
#include "support/group.h"
#include "support/problem.h"
#include "support/reference.h"
#include "support/tensor_match.h"
#include "support/tiny_model.h"

namespace flux::train {
namespace {

using namespace std::chrono_literals;
using test::same_bits;
using test::TemporaryFolder;
using testing::AllOf;
using testing::HasSubstr;

model::FluxConfig small_model() {
    return {.vec_in_dim = 20,
            .context_in_dim = 28,
            .hidden_size = 24,
            .num_heads = 2,
            .depth = 2,
            .depth_single_blocks = 2,
            .axes_dim = {4, 4, 4}};
}

using Weights = std::map<std::string, at::Tensor>;

/// Published names; every tensor has other values.
Weights draw_weights(const model::FluxConfig& config) {
    Weights weights;
    uint64_t index = 0;
    for (const auto& unit : model::make_units(config)) {
        for (const auto& parameter : unit->parameters()) {
            weights[parameter.name] =
                kernels::keyed_normal({17 + index++, Purpose::kNoise}, at::arange(1, at::kLong),
                                      {parameter.numel()})
                    .view(parameter.shape);
        }
    }
    return weights;
}

void write_file(const std::filesystem::path& path, const Weights& weights) {
    std::vector<TensorSpec> specs;
    for (const auto& [name, tensor] : weights) {
        specs.push_back({name, tensor.scalar_type(), tensor.sizes().vec()});
    }
    SafetensorsWriter writer(path, specs);
    for (const auto& [name, tensor] : weights) {
        writer.write(tensor);
    }
    writer.commit();
}

/// As a sharded folder of the diffusers library.
void write_diffusers(const std::filesystem::path& folder, const model::FluxConfig& config,
                     const Weights& weights) {
    std::vector<checkpoint::Piece> pieces;
    for (const auto& [name, tensor] : weights) {
        pieces.push_back({.name = name,
                          .shape = tensor.sizes().vec(),
                          .begin = 0,
                          .end = tensor.numel(),
                          .data = tensor.flatten()});
    }
    const TemporaryFolder run;
    checkpoint::export_diffusers(checkpoint::save(run.path(), {}, pieces, 0), config,
                                 {.out_folder = folder, .most_shard_bytes = 30'000});
}

/// Asserts that a store holds its part of `weights`.
void expect_weights(const units::ParameterStore& store, const Weights& weights) {
    int64_t compared = 0;
    for (const units::FlatShard& shard : store.shards()) {
        for (const units::Segment& segment : shard.segments) {
            const units::LocalPart part = units::local_part(shard, segment);
            const at::Tensor expected = weights.at(segment.name).flatten().to(at::kFloat);
            EXPECT_TRUE(same_bits(segment.name, part.of(shard.param),
                                  expected.slice(0, part.begin, part.end)));
            compared += part.numel();
        }
    }
    EXPECT_GT(compared, 0);
}

void expect_loads(const std::filesystem::path& path, const model::FluxConfig& config,
                  const Weights& weights) {
    model::Mmdit model(config, {}, units::RecomputePolicy::none());
    InitialWeights(path, config).load_into(model.parameters());
    expect_weights(model.parameters(), weights);
}

class InitFrom : public testing::Test {
protected:
    /// What opening `weights` as `config`'s says.
    std::string problem(const Weights& weights, const model::FluxConfig& config) const {
        write_file(path_, weights);
        return problem(path_, config);
    }
    std::string problem(const std::filesystem::path& path, const model::FluxConfig& config) const {
        return test::problem_of([&] { InitialWeights(path, config); });
    }

    TemporaryFolder folder_;
    std::filesystem::path path_ = folder_.path() / "weights.safetensors";
    model::FluxConfig config_ = small_model();
    Weights weights_ = draw_weights(config_);
};

TEST_F(InitFrom, OneFileOfAnyFloatingType) {
    for (const auto dtype : {at::kFloat, at::kBFloat16, at::kHalf, at::kDouble}) {
        Weights rounded;
        for (const auto& [name, tensor] : weights_) {
            rounded[name] = tensor.to(dtype);
        }
        write_file(path_, rounded);
        expect_loads(path_, config_, rounded);
    }
}

TEST_F(InitFrom, ShardsOfPublishedNames) {
    Weights first = weights_, second;
    second.insert(first.extract("final_layer.linear.weight"));
    second.insert(first.extract("double_blocks.1.img_attn.qkv.weight"));
    write_file(folder_.path() / "a.safetensors", first);
    write_file(folder_.path() / "b.safetensors", second);
    std::ofstream index(folder_.path() / "model.safetensors.index.json");
    index << "{\"weight_map\": {";
    for (const auto& [name, tensor] : weights_) {
        index << '"' << name << "\": \"" << (second.contains(name) ? "b" : "a") << ".safetensors\""
              << (name == weights_.rbegin()->first ? "}}" : ", ");
    }
    index.close();
    expect_loads(folder_.path() / "model.safetensors.index.json", config_, weights_);
}

TEST_F(InitFrom, AFolderOfTheDiffusersLibrary) {
    const auto folder = folder_.path() / "pipeline" / "transformer";
    write_diffusers(folder, config_, weights_);
    expect_loads(folder, config_, weights_);
    expect_loads(folder.parent_path(), config_, weights_);
    expect_loads(folder / "diffusion_pytorch_model.safetensors.index.json", config_, weights_);
    model::FluxConfig other = config_;
    other.axes_dim = {2, 2, 8};  // no tensor's shape shows it
    EXPECT_THAT(problem(folder, other), HasSubstr("axes_dims_rope"));
}

TEST_F(InitFrom, EveryElementOfADistilledModel) {
    config_.guidance_embed = true;
    const Weights weights = draw_weights(config_);
    write_file(path_, weights);
    expect_loads(path_, config_, weights);
    write_diffusers(folder_.path() / "transformer", config_, weights);
    expect_loads(folder_.path(), config_, weights);
}

TEST_F(InitFrom, NamesTheTensorThatDoesNotFit) {
    Weights weights = weights_;
    weights.erase("single_blocks.1.linear2.bias");
    EXPECT_THAT(
        problem(weights, config_),
        AllOf(HasSubstr(path_.string()), HasSubstr("single_blocks.1.linear2.bias: is missing"),
              HasSubstr("model.depth")));
    weights = weights_;
    weights["lora.up"] = weights["img_in.bias"];
    EXPECT_THAT(problem(weights, config_),
                HasSubstr("tensor lora.up: this model does not have it"));
    weights = weights_;
    weights["img_in.weight"] = weights["img_in.weight"].flatten();
    EXPECT_THAT(problem(weights, config_),
                HasSubstr("tensor img_in.weight: shape = [1536]: this model has [24, 64]"));
    weights = weights_;
    weights["img_in.bias"] = weights["img_in.bias"].to(at::kLong);
    EXPECT_THAT(problem(weights, config_), HasSubstr("tensor img_in.bias: dtype = I64"));
    model::FluxConfig deeper = config_;
    deeper.depth = 3;
    EXPECT_THAT(problem(weights_, deeper), HasSubstr("(and 23 more): is missing"));
}

TEST_F(InitFrom, TheGuidanceEmbedderDecidesWhichModelItIs) {
    model::FluxConfig distilled = config_;
    distilled.guidance_embed = true;
    EXPECT_THAT(
        problem(draw_weights(distilled), config_),
        AllOf(HasSubstr("holds guidance_in."), HasSubstr("set model.guidance_embed = true")));
    EXPECT_THAT(problem(weights_, distilled), HasSubstr("set model.guidance_embed = false"));
}

TEST_F(InitFrom, PathsAreSaid) {
    EXPECT_THAT(problem(folder_.path() / "none", config_),
                AllOf(HasSubstr("training.init_from = "), HasSubstr("no such file or folder")));
    EXPECT_THAT(
        problem(folder_.path(), config_),
        AllOf(HasSubstr("diffusion_pytorch_model.safetensors"), HasSubstr("checkpoint export")));
    write_text(path_, "nothing of the kind");
    EXPECT_THAT(problem(path_, config_), HasSubstr(path_.string()));
}

/// FSDP, HSDP and copies: replicate x shard.
class DistInitFrom : public testing::TestWithParam<std::pair<int, int>> {};

TEST_P(DistInitFrom, EachProcessReadsItsPart) {
    const auto [replicate, shard] = GetParam();
    if (!test::in_group(replicate * shard)) {
        return;
    }
    dist::Store meeting(dist::process_place(), 30s);
    dist::Mesh mesh(meeting, {replicate, shard}, at::kCPU, 30s);
    const model::FluxConfig config = small_model();
    const Weights weights = draw_weights(config);
    const TemporaryFolder folder;
    write_file(folder.path() / "weights.safetensors", weights);
    write_diffusers(folder.path() / "transformer", config, weights);
    for (const char* name : {"weights.safetensors", "transformer"}) {
        units::StoreSettings settings;
        settings.mesh = &mesh;
        model::Mmdit model(config, settings, units::RecomputePolicy::none());
        InitialWeights(folder.path() / name, config).load_into(model.parameters());
        expect_weights(model.parameters(), weights);
    }
    mesh.barrier();
}

INSTANTIATE_TEST_SUITE_P(Meshes, DistInitFrom,
                         testing::Values(std::pair(1, 2), std::pair(2, 1), std::pair(2, 2)),
                         [](const auto& test_case) {
                             return "Replicate" + std::to_string(test_case.param.first) + "Shard" +
                                    std::to_string(test_case.param.second);
                         });

}  // namespace
}  // namespace flux::train
