// The diffusers folder: what lies in it, how it is cut into files, and what an export holds in
// memory. That the library reads it is shown by tests/train/parity_diffusers_test.cpp.
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "example.h"
#include "flux/base/file.h"
#include "flux/base/safetensors_set.h"
#include "flux/checkpoint/diffusers.h"
#include "flux/checkpoint/export.h"
#include "flux/kernels/host_memory.h"
#include "flux/model/mmdit.h"
#include "support/problem.h"
#include "support/reference.h"
#include "support/tensor_match.h"

namespace flux::checkpoint::test {
namespace {

using flux::test::problem_of;
using flux::test::same_bits;
using flux::test::TemporaryFolder;
using testing::AllOf;
using testing::HasSubstr;

model::FluxConfig small_model() {
    return {.vec_in_dim = 20,
            .context_in_dim = 28,
            .hidden_size = 24,
            .num_heads = 2,
            .depth = 1,
            .depth_single_blocks = 4,
            .axes_dim = {4, 4, 4},
            .guidance_embed = true};
}

/// Every parameter of the model, each element with a value of its own.
std::vector<Piece> weights_of(const model::FluxConfig& config) {
    std::vector<Piece> pieces;
    double first = 0;
    for (const auto& unit : model::make_units(config)) {
        for (const auto& parameter : unit->parameters()) {
            const int64_t count = parameter.numel();
            pieces.push_back({.name = parameter.name,
                              .kind = kParam,
                              .shape = parameter.shape,
                              .begin = 0,
                              .end = count,
                              .data = at::arange(first, first + static_cast<double>(count),
                                                 at::TensorOptions().dtype(at::kFloat))});
            first += static_cast<double>(count);
        }
    }
    return pieces;
}

class ExportDiffusers : public testing::Test {
protected:
    at::Tensor published(const std::string& name) const {
        for (const Piece& piece : pieces_) {
            if (piece.name == name) {
                return piece.data.view(piece.shape);
            }
        }
        ADD_FAILURE() << name;
        return {};
    }

    model::FluxConfig model_ = small_model();
    std::vector<Piece> pieces_ = weights_of(model_);
    TemporaryFolder folder_;
    std::filesystem::path checkpoint_ = save_split(folder_.path(), example_run(3), pieces_, 3);
    std::filesystem::path out_ = folder_.path() / "transformer";
};

TEST_F(ExportDiffusers, SplitsAndSwapsAsTheLibraryKeepsThem) {
    export_diffusers(checkpoint_, model_, {.out_folder = out_});
    EXPECT_EQ(find_diffusers_weights(out_), out_ / kDiffusersSingle);
    EXPECT_EQ(find_diffusers_weights(folder_.path()), out_ / kDiffusersSingle);
    const SafetensorsFile file(out_ / kDiffusersSingle);
    EXPECT_EQ(file.metadata().at("format"), "pt");
    const auto expect = [&](const std::string& name, const at::Tensor& expected) {
        EXPECT_TRUE(same_bits(name, file.tensor(name), expected));
    };
    const at::Tensor qkv = published("double_blocks.0.txt_attn.qkv.bias");
    expect("transformer_blocks.0.attn.add_k_proj.bias", qkv.narrow(0, 24, 24));
    const at::Tensor wide = published("single_blocks.1.linear1.weight");
    expect("single_transformer_blocks.1.attn.to_v.weight", wide.narrow(0, 48, 24));
    expect("single_transformer_blocks.1.proj_mlp.weight", wide.narrow(0, 72, 96));
    const at::Tensor last = published("final_layer.adaLN_modulation.1.weight");
    expect("norm_out.linear.weight", at::cat({last.narrow(0, 24, 24), last.narrow(0, 0, 24)}));
    expect("time_text_embed.guidance_embedder.linear_2.bias",
           published("guidance_in.out_layer.bias"));
    EXPECT_EQ(file.tensors().size(), size_t{20 + 32 + 4 * 14});
}

TEST_F(ExportDiffusers, TellsTheDimensions) {
    export_diffusers(checkpoint_, model_, {.out_folder = out_ / ""});
    const auto config = nlohmann::json::parse(read_text(out_ / kDiffusersConfig));
    EXPECT_EQ(config.at("_class_name"), "FluxTransformer2DModel");
    EXPECT_EQ(config.at("attention_head_dim"), 12);
    EXPECT_EQ(config.at("num_single_layers"), 4);
    EXPECT_EQ(config.at("guidance_embeds"), true);
    EXPECT_EQ(config.at("axes_dims_rope"), (std::vector<int>{4, 4, 4}));
    check_diffusers_config(out_, model_);
    model::FluxConfig other = model_;
    other.axes_dim = {2, 2, 8};
    EXPECT_THAT(problem_of([&] { check_diffusers_config(out_, other); }),
                AllOf(HasSubstr("axes_dims_rope = [4,4,4]"), HasSubstr("model.axes_dim")));
}

TEST_F(ExportDiffusers, CutsIntoShardsOfBoundedSize) {
    constexpr int64_t kMost = 20'000;
    export_diffusers(checkpoint_, model_,
                     {.out_folder = out_, .dtype = at::kBFloat16, .most_shard_bytes = kMost});
    const auto index = nlohmann::json::parse(read_text(out_ / kDiffusersIndex));
    const SafetensorsSet set(out_ / kDiffusersIndex);  // index and shards agree, or it throws
    int64_t total = 0, elements = 0;
    size_t shards = 0, more_than_one = 0;
    for (const auto& entry : std::filesystem::directory_iterator(out_)) {
        if (entry.path().extension() != ".safetensors") {
            continue;
        }
        ++shards;
        const SafetensorsFile file(entry.path());
        const auto bytes = static_cast<int64_t>(file.tensors().back().end);
        more_than_one += file.tensors().size() > 1 ? 1 : 0;
        EXPECT_TRUE(bytes <= kMost || file.tensors().size() == 1) << entry.path();
        total += bytes;
    }
    for (const Piece& piece : pieces_) {
        elements += piece.end;
    }
    EXPECT_GT(shards, size_t{3});
    EXPECT_GT(more_than_one, size_t{0});
    EXPECT_EQ(total, 2 * elements);
    EXPECT_EQ(index.at("metadata").at("total_size"), total);
    EXPECT_TRUE(std::filesystem::exists(
        out_ / fmt::format("diffusion_pytorch_model-{:05}-of-{:05}.safetensors", shards, shards)));
}

TEST_F(ExportDiffusers, LeavesNothingBehindAndReplacesNothing) {
    const auto problem = [&](const model::FluxConfig& model, c10::ScalarType dtype = at::kFloat) {
        return problem_of(
            [&] { export_diffusers(checkpoint_, model, {.out_folder = out_, .dtype = dtype}); });
    };
    EXPECT_THAT(problem(model_, at::kHalf), HasSubstr("does not fit into float16"));
    EXPECT_FALSE(std::filesystem::exists(out_));
    EXPECT_FALSE(std::filesystem::exists(out_.string() + ".tmp"));
    std::filesystem::create_directory(out_);
    EXPECT_THAT(problem(model_), HasSubstr("transformer: exists already and is not replaced"));
    EXPECT_TRUE(std::filesystem::is_empty(out_));
    model::FluxConfig narrow = model_;
    narrow.mlp_ratio = 2;
    EXPECT_THAT(problem(narrow),
                AllOf(HasSubstr("model.mlp_ratio = 2"), HasSubstr("--format single")));
    narrow = model_;
    narrow.theta = 500;
    EXPECT_THAT(problem(narrow), HasSubstr("model.theta = 500"));
}

TEST_F(ExportDiffusers, HoldsTwoTensorsInMemory) {
    flux::kernels::count_host_memory();
    int64_t largest = 0, all = 0;
    for (const Piece& piece : pieces_) {
        largest = std::max(largest, piece.end * 4);
        all += piece.end * 4;
    }
    ASSERT_GT(all, 8 * largest);
    constexpr int64_t kScalars = 4096;  // the ends of a tensor's range
    for (const auto dtype : {at::kFloat, at::kBFloat16}) {
        for (const bool single : {true, false}) {
            flux::kernels::reset_host_peak();
            const int64_t before = flux::kernels::host_memory().held;
            const auto out = folder_.path() / fmt::format("{}-{}", c10::toString(dtype), single);
            if (single) {
                export_model(checkpoint_, out, dtype);
            } else {
                export_diffusers(checkpoint_, model_,
                                 {.out_folder = out, .dtype = dtype, .most_shard_bytes = 30'000});
            }
            const int64_t peak = flux::kernels::host_memory().peak - before;
            std::printf("measured: %s, %s: peak %.2f of the largest tensor (fp32), %.3f of all\n",
                        single ? "single" : "diffusers", c10::toString(dtype),
                        static_cast<double>(peak) / static_cast<double>(largest),
                        static_cast<double>(peak) / static_cast<double>(all));
            EXPECT_GT(peak, 0);
            EXPECT_LE(peak, 2 * largest + kScalars);
        }
    }
}

}  // namespace
}  // namespace flux::checkpoint::test
