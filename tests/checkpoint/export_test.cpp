#include "flux/checkpoint/export.h"

#include <ATen/ops/full.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "example.h"
#include "flux/base/file.h"
#include "flux/base/safetensors.h"
#include "support/problem.h"
#include "support/reference.h"
#include "support/tensor_match.h"

namespace flux::checkpoint::test {
namespace {

using flux::test::problem_of;
using flux::test::same_bits;
using flux::test::TemporaryFolder;
using testing::HasSubstr;

TEST(ExportModel, HoldsTheParametersUnderTheirNames) {
    const TemporaryFolder folder;
    const auto pieces = example_pieces(3);
    const auto checkpoint = save_split(folder.path(), example_run(3), pieces, 3);
    for (const auto dtype : {at::kFloat, at::kBFloat16, at::kHalf}) {
        const auto out = folder.path() / (std::string(c10::toString(dtype)) + ".safetensors");
        export_model(checkpoint, out, dtype);
        const SafetensorsFile file(out);
        EXPECT_EQ(file.metadata().at("format"), "pt");
        EXPECT_EQ(file.tensors().size(), pieces.size() / 3);
        for (const Piece& piece : pieces) {
            if (piece.kind == kParam) {
                const at::Tensor expected = piece.data.view(piece.shape).to(dtype);
                EXPECT_TRUE(same_bits(piece.name, file.tensor(piece.name), expected));
            }
        }
    }
}

TEST(ExportModel, RefusesValuesThatDoNotFit) {
    const TemporaryFolder folder;
    auto pieces = example_pieces(1);
    pieces[4].data[7] = 70000.0f;
    const auto checkpoint = save(folder.path(), example_run(1), pieces, 0);
    pieces[4].data[7] = -70000.0f;
    const auto negative = save(folder.path(), example_run(2), pieces, 0);
    const auto out = folder.path() / "model.safetensors";
    EXPECT_THAT(problem_of([&] { export_model(checkpoint, out, at::kHalf); }),
                HasSubstr("tensor qkv.weight: value 70000 does not fit into float16"));
    EXPECT_THAT(problem_of([&] { export_model(negative, out, at::kHalf); }),
                HasSubstr("value -70000"));
    EXPECT_FALSE(std::filesystem::exists(out));
    export_model(checkpoint, out, at::kBFloat16);
    EXPECT_TRUE(std::filesystem::exists(out));
}

TEST(ExportModel, ReplacesNothing) {
    const TemporaryFolder folder;
    const auto checkpoint = save(folder.path(), example_run(1), example_pieces(1), 0);
    const auto manifest = checkpoint / "checkpoint.json";
    const std::string before = read_text(manifest);
    for (const std::filesystem::path& taken :
         {manifest, std::filesystem::path("/dev/null"), checkpoint}) {
        EXPECT_THAT(problem_of([&] { export_model(checkpoint, taken, at::kFloat); }),
                    HasSubstr("exists already and is not replaced: choose another name"));
    }
    EXPECT_EQ(read_text(manifest), before);
}

TEST(ExportModel, NeedsACheckpoint) {
    const TemporaryFolder folder;
    EXPECT_THAT(problem_of([&] { export_model(folder.path(), folder.path() / "x", at::kFloat); }),
                HasSubstr("has no checkpoint.json"));
}

}  // namespace
}  // namespace flux::checkpoint::test
