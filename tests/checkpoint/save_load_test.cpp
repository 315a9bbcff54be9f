#include <ATen/ops/arange.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "example.h"
#include "flux/base/file.h"
#include "flux/base/safetensors.h"
#include "flux/checkpoint/folder.h"
#include "support/problem.h"
#include "support/reference.h"
#include "support/tensor_match.h"

namespace flux::checkpoint::test {
namespace {

using flux::test::problem_of;
using flux::test::TemporaryFolder;
using testing::ElementsAre;
using testing::HasSubstr;

std::vector<int64_t> steps_in(const std::filesystem::path& folder) {
    std::vector<int64_t> steps;
    for (const auto& [step, path] : committed(folder)) {
        steps.push_back(step);
    }
    return steps;
}

size_t entries_in(const std::filesystem::path& folder) {
    return static_cast<size_t>(std::distance(std::filesystem::directory_iterator(folder), {}));
}

TEST(Checkpoint, RoundTripsBitForBit) {
    const TemporaryFolder folder;
    const auto path = save(folder.path() / "checkpoint", example_run(5), example_pieces(5), 0);
    EXPECT_EQ(path, folder.path() / "checkpoint" / "step-5");
    EXPECT_EQ(difference(path, example_pieces(5)), "");
    const Checkpoint opened(path);
    const RunState expected = example_run(5);
    EXPECT_EQ(opened.run().step, expected.step);
    EXPECT_EQ(opened.run().samples, expected.samples);
    EXPECT_EQ(opened.run().seed, expected.seed);
    EXPECT_EQ(opened.run().global_batch_size, expected.global_batch_size);
    EXPECT_EQ(opened.run().optimizer_step, expected.optimizer_step);
    EXPECT_EQ(opened.run().skipped_steps, expected.skipped_steps);
    EXPECT_EQ(opened.run().validated_step, expected.validated_step);
    EXPECT_EQ(opened.run().target_reached, expected.target_reached);
    EXPECT_EQ(opened.run().dataset_fingerprint, expected.dataset_fingerprint);
    EXPECT_EQ(opened.run().config_toml, expected.config_toml);
}

TEST(Checkpoint, LoadsAtAnyNumberOfProcesses) {
    const TemporaryFolder folder;
    const auto pieces = example_pieces(1);
    for (const auto& [saved, loaded] : {std::pair{1, 3}, {3, 2}, {3, 1}, {2, 50}, {50, 4}}) {
        const auto path = save_split(folder.path(), example_run(1), pieces, saved);
        for (int rank = 0; rank < loaded; ++rank) {
            auto wanted = part_of(pieces, rank, loaded);
            if (rank > 0) {  // every process names all tensors
                wanted.push_back(pieces[2]);
                wanted.push_back(pieces[8]);
                wanted.push_back(pieces[14]);
            }
            EXPECT_EQ(difference(path, wanted), "") << saved << " -> " << loaded;
        }
    }
}

TEST(Checkpoint, ConvertsToTheTargetsDtype) {
    const TemporaryFolder folder;
    const at::Tensor values = at::arange(6, at::kFloat).mul(0.1);
    const Piece piece{.name = "w", .shape = {2, 3}, .begin = 0, .end = 6, .data = values};
    Checkpoint opened(save(folder.path(), example_run(1), {&piece, 1}, 0));
    const at::Tensor out = at::zeros({2}, at::kBFloat16);
    const Target target{.name = "w", .shape = {2, 3}, .begin = 3, .end = 5, .data = out};
    opened.load_into({&target, 1});
    EXPECT_TRUE(flux::test::same_bits("w", out, values.narrow(0, 3, 2).to(at::kBFloat16)));
}

TEST(Checkpoint, LargeTensorsAreReadInBlocks) {
    const TemporaryFolder folder;
    constexpr int64_t kCount = 700'001;  // several blocks, and one that is not full
    const at::Tensor values = at::arange(kCount, at::kFloat).mul(0.1);
    const Piece piece{.name = "w", .shape = {kCount}, .begin = 0, .end = kCount, .data = values};
    const auto path = save(folder.path(), example_run(1), {&piece, 1}, 0);
    for (const auto dtype : {at::kFloat, at::kBFloat16}) {
        for (const auto& [begin, end] :
             {std::pair<int64_t, int64_t>{0, kCount}, {300'007, 600'011}, {kCount - 1, kCount}}) {
            Checkpoint opened(path);
            for (int i = 0; i < 2; ++i) {  // with its checksum, then without
                const at::Tensor out = at::zeros({end - begin}, dtype);
                opened.read(kParam, "w", begin, out);
                EXPECT_TRUE(flux::test::same_bits("w", out,
                                                  values.narrow(0, begin, end - begin).to(dtype)));
            }
        }
    }
    const auto shard = path / "rank-00000.safetensors";
    damage_byte(shard, std::filesystem::file_size(shard) - 1);
    Checkpoint damaged(path);  // also where the damage is not in the part that is asked for
    EXPECT_THAT(problem_of([&] { damaged.read(kParam, "w", 0, at::zeros({10})); }),
                HasSubstr("tensor w: checksum is"));
    EXPECT_THAT(problem_of([&] { damaged.verify(); }), HasSubstr("tensor w: checksum is"));
}

TEST(Checkpoint, AFileThatIsCutShortWhileItIsOpenIsNamed) {
    const TemporaryFolder folder;
    const auto pieces = example_pieces(1);
    const auto path = save(folder.path(), example_run(1), pieces, 0);
    Checkpoint opened(path);
    const auto shard = path / "rank-00000.safetensors";
    std::filesystem::resize_file(shard, std::filesystem::file_size(shard) - 1);
    EXPECT_THAT(problem_of([&] { opened.load_into(targets_for(pieces)); }),
                testing::AllOf(HasSubstr("tensor exp_avg_sq of tail: "),
                               HasSubstr(shard.string() + ": ends at byte")));
}

TEST(Checkpoint, MixedElementTypesStayAligned) {
    const TemporaryFolder folder;
    std::vector<Piece> pieces;
    for (const auto dtype : {at::kByte, at::kBFloat16, at::kDouble, at::kFloat}) {
        const std::string name = "t" + std::to_string(pieces.size());
        pieces.push_back(
            {.name = name, .shape = {3}, .begin = 0, .end = 3, .data = at::arange(3).to(dtype)});
    }
    EXPECT_EQ(difference(save(folder.path(), example_run(1), pieces, 0), pieces), "");
}

TEST(Checkpoint, WeightsOnlyHoldsNoMoments) {
    const TemporaryFolder folder;
    auto pieces = example_pieces(1);
    const auto all_targets = targets_for(pieces);
    pieces.resize(6);
    const auto path = save(folder.path(), example_run(1), pieces, 0);
    Checkpoint opened(path);
    EXPECT_TRUE(opened.has_kind(kParam));
    EXPECT_FALSE(opened.has_kind(kExpAvg));
    EXPECT_EQ(difference(path, pieces), "");
    EXPECT_THAT(problem_of([&] { opened.load_into(all_targets); }),
                HasSubstr("checkpoint.model_weights_only"));
}

TEST(Checkpoint, OtherModelsAreRefusedBeforeAnythingIsTouched) {
    const TemporaryFolder folder;
    const auto pieces = example_pieces(1);
    Checkpoint opened(save(folder.path(), example_run(1), pieces, 0));
    {
        auto targets = targets_for(pieces);
        targets.back().shape = {1, 1};
        const std::string problem = problem_of([&] { opened.load_into(targets); });
        EXPECT_THAT(problem, HasSubstr("exp_avg_sq of tail"));
        EXPECT_THAT(problem, HasSubstr("[1] in the checkpoint, but [1, 1]"));
        EXPECT_EQ(targets[0].data.abs().sum().item<float>(), 0);
    }
    {
        auto targets = targets_for(pieces);
        targets.push_back(targets[0]);
        targets.back().name = "guidance_in.weight";
        EXPECT_THAT(problem_of([&] { opened.load_into(targets); }),
                    HasSubstr("has no tensor guidance_in.weight"));
    }
    {
        auto targets = targets_for(pieces);
        targets.erase(targets.begin() + 4);
        EXPECT_THAT(problem_of([&] { opened.load_into(targets); }),
                    HasSubstr("holds tensor qkv.weight [3, 4, 5], which this model does not have"));
    }
    EXPECT_EQ(opened.tensor(kParam, "qkv.weight").sizes().vec(), (std::vector<int64_t>{3, 4, 5}));
    EXPECT_THAT(problem_of([&] { opened.tensor(kParam, "none"); }), HasSubstr("none"));
}

TEST(Checkpoint, IncompleteCoverageIsABug) {
    const TemporaryFolder folder;
    const auto temporary = begin_save(folder.path(), 1);
    auto entries = write_shard(temporary, 0, part_of(example_pieces(1), 0, 2));
    EXPECT_THROW(merge(entries), c10::Error);  // the second process's part is missing
    const auto twice = write_shard(temporary, 1, part_of(example_pieces(1), 0, 2));
    entries.insert(entries.end(), twice.begin(), twice.end());
    EXPECT_THROW(merge(entries), c10::Error);
}

TEST(CheckpointFolder, FindsTheNewestOrTheWantedStep) {
    const TemporaryFolder folder;
    EXPECT_FALSE(find_latest(folder.path() / "missing", -1));
    EXPECT_FALSE(find_latest(folder.path(), -1));
    EXPECT_THAT(problem_of([&] { find_latest(folder.path(), 3); }), HasSubstr("none"));
    for (const int64_t step : {9, 10, 2}) {
        save(folder.path(), example_run(step), example_pieces(step), 0);
    }
    std::filesystem::create_directory(folder.path() / "step-99");  // no manifest
    std::filesystem::create_directory(folder.path() / "step-x");
    EXPECT_EQ(find_latest(folder.path(), -1), folder.path() / "step-10");
    EXPECT_EQ(find_latest(folder.path(), 9), folder.path() / "step-9");
    EXPECT_THAT(problem_of([&] { find_latest(folder.path(), 3); }),
                HasSubstr("holds no such checkpoint; complete ones: 2, 9, 10"));
}

TEST(CheckpointFolder, KeepsTheLatestK) {
    const TemporaryFolder folder;
    for (int64_t step = 1; step <= 4; ++step) {
        save(folder.path(), example_run(step), example_pieces(step), 0);
    }
    EXPECT_THAT(steps_in(folder.path()), ElementsAre(1, 2, 3, 4));
    save(folder.path(), example_run(5), example_pieces(5), 3);
    EXPECT_THAT(steps_in(folder.path()), ElementsAre(3, 4, 5));
    save(folder.path(), example_run(2), example_pieces(2), 1);  // the one just written stays
    EXPECT_THAT(steps_in(folder.path()), ElementsAre(2));
    EXPECT_EQ(entries_in(folder.path()), 1u);
}

TEST(CheckpointFolder, TheSameStepIsReplaced) {
    const TemporaryFolder folder;
    save(folder.path(), example_run(5), example_pieces(5), 0);
    save(folder.path(), example_run(5), example_pieces(6), 0);
    EXPECT_EQ(difference(folder.path() / "step-5", example_pieces(6)), "");
    EXPECT_EQ(entries_in(folder.path()), 1u);
}

TEST(CheckpointFolder, LeftoversAreIgnoredThenCleaned) {
    const TemporaryFolder folder;
    save(folder.path(), example_run(5), example_pieces(5), 0);
    const auto leftover = begin_save(folder.path(), 7);
    write_shard(leftover, 0, example_pieces(7));
    EXPECT_EQ(find_latest(folder.path(), -1), folder.path() / "step-5");
    // A save of step 5 that was killed between its two renames: the former one counts.
    std::filesystem::rename(folder.path() / "step-5", folder.path() / "step-5.replaced");
    EXPECT_EQ(difference(find_latest(folder.path(), -1).value(), example_pieces(5)), "");
    save(folder.path(), example_run(6), example_pieces(6), 0);
    EXPECT_THAT(steps_in(folder.path()), ElementsAre(5, 6));
    EXPECT_EQ(entries_in(folder.path()), 2u);
    EXPECT_EQ(difference(folder.path() / "step-5", example_pieces(5)), "");
}

}  // namespace
}  // namespace flux::checkpoint::test
