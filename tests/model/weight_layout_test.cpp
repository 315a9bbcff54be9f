// The two layouts of the weights: every element of the model has exactly one place in each.
#include "flux/model/weight_layout.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "flux/model/mmdit.h"
#include "support/problem.h"

namespace flux::model {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class WeightLayouts : public testing::TestWithParam<std::string> {};

TEST_P(WeightLayouts, HoldEveryElementOnce) {
    const FluxConfig config = flavor(GetParam());
    std::set<std::string> names;
    for (const auto& unit : make_units(config)) {
        for (const auto& parameter : unit->parameters()) {
            for (const auto layout : {WeightLayout::kPublished, WeightLayout::kDiffusers}) {
                std::map<int64_t, int64_t> ranges;
                for (const StoredTensor& tensor :
                     stored_tensors(layout, parameter.name, parameter.shape, config.hidden_size)) {
                    EXPECT_TRUE(layout == WeightLayout::kPublished ||
                                names.insert(tensor.name).second)
                        << tensor.name << " twice";
                    int64_t elements = 1, placed = 0;
                    for (const int64_t size : tensor.shape) {
                        elements *= size;
                    }
                    for (const FlatRange& range : tensor.from) {
                        ranges.emplace(range.begin, range.end);
                        placed += range.end - range.begin;
                    }
                    EXPECT_EQ(elements, placed) << tensor.name;
                }
                int64_t next = 0;
                for (const auto& [begin, end] : ranges) {
                    EXPECT_EQ(begin, next) << parameter.name;
                    next = end;
                }
                EXPECT_EQ(next, parameter.numel()) << parameter.name;
            }
        }
    }
    // 10 of the embedders, 4 of the last layer, 32 a double block, 14 a single block.
    const int64_t guidance = config.guidance_embed ? 4 : 0;
    EXPECT_EQ(names.size(), static_cast<size_t>(16 + guidance + 32 * config.depth +
                                                14 * config.depth_single_blocks));
}

INSTANTIATE_TEST_SUITE_P(Flavors, WeightLayouts,
                         testing::Values("flux-schnell", "flux-dev", "flux-debug", "flux-tiny"),
                         [](const auto& test_case) {
                             std::string name = test_case.param;
                             name[name.find('-')] = '_';
                             return name;
                         });

TEST(WeightLayout, CutsWhatDiffusersKeepsApart) {
    const auto cut =
        stored_tensors(WeightLayout::kDiffusers, "single_blocks.7.linear1.weight", {14, 2}, 2);
    ASSERT_EQ(cut.size(), size_t{4});
    EXPECT_EQ(cut[0].name, "single_transformer_blocks.7.attn.to_q.weight");
    EXPECT_THAT(cut[2].from, ElementsAre(FlatRange{8, 12}));
    EXPECT_EQ(cut[3].name, "single_transformer_blocks.7.proj_mlp.weight");
    EXPECT_THAT(cut[3].shape, ElementsAre(8, 2));
    EXPECT_THAT(cut[3].from, ElementsAre(FlatRange{12, 28}));
    const auto scale = stored_tensors(WeightLayout::kDiffusers,
                                      "double_blocks.12.txt_attn.norm.key_norm.scale", {24}, 72);
    ASSERT_EQ(scale.size(), size_t{1});
    EXPECT_EQ(scale[0].name, "transformer_blocks.12.attn.norm_added_k.weight");
}

TEST(WeightLayout, SwapsTheHalvesOfTheLastModulation) {
    const auto swapped =
        stored_tensors(WeightLayout::kDiffusers, "final_layer.adaLN_modulation.1.bias", {6}, 3);
    ASSERT_EQ(swapped.size(), size_t{1});
    EXPECT_EQ(swapped[0].name, "norm_out.linear.bias");
    EXPECT_THAT(swapped[0].shape, ElementsAre(6));
    EXPECT_THAT(swapped[0].from, ElementsAre(FlatRange{3, 6}, FlatRange{0, 3}));
}

TEST(WeightLayout, RefusesWhatIsNoWeightOfTheModel) {
    for (const std::string name :
         {"img_in", "x.weight", "double_blocks", "double_blocks.weight", "double_blocks.1.weight",
          "double_blocks.1.linear1.weight", "single_blocks.linear1.weight", ""}) {
        EXPECT_THAT(test::problem_of([&] {
                        stored_tensors(WeightLayout::kDiffusers, name, {6, 3}, 3);
                    }),
                    HasSubstr("tensor " + name))
            << name;
    }
}

}  // namespace
}  // namespace flux::model
