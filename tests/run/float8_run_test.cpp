// FP8 in the real program, emulated: it learns as without, and says what it computes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "flux/base/file.h"
#include "job_words.h"
#include "support/process.h"
#include "support/reference.h"

namespace flux::test {
namespace {

using testing::HasSubstr;
using testing::Not;

const std::string kDebug = std::string(FLUX_SOURCE_DIR) + "/configs/debug.toml";

/// The default job on smaller pictures, in few steps.
Words short_job(const std::filesystem::path& folder) {
    return {"--job.config_file",
            kDebug,
            "--job.dump_folder=" + folder.string(),
            "--training.device=cpu",
            "--training.steps=120",
            "--training.img_size=32",
            "--training.batch_size=8",
            "--model.hidden_size=64",
            "--model.num_heads=2",
            "--model.axes_dim=8,12,12",
            "--model.depth=1",
            "--model.depth_single_blocks=2",
            "--lr_scheduler.warmup_steps=10",
            "--eval.at_start=false",
            "--eval.save_img_folder=",
            "--checkpoint.no_enable_checkpoint"};
}

double last_validation(const std::filesystem::path& folder) {
    return std::stod(metric(folder, "val_loss").back().second);
}

TEST(RunFloat8, LearnsAsWithoutIt) {
    const TemporaryFolder folder;
    const auto plain = folder.path() / "plain";
    const auto result = run_flux_train(short_job(plain));
    ASSERT_EQ(result.exit_code, 0) << result.err;
    EXPECT_THAT(result.err, Not(HasSubstr("FP8")));
    const double expected = last_validation(plain);
    for (const std::string recipe : {"tensorwise", "rowwise"}) {
        const auto run = folder.path() / recipe;
        const auto float8 =
            run_flux_train(short_job(run) + Words{"--model.converters=float8", "--float8.emulate",
                                                  "--float8.recipe_name=" + recipe});
        ASSERT_EQ(float8.exit_code, 0) << float8.err;
        EXPECT_THAT(float8.err, HasSubstr("12 of 12 linear layers of the blocks in FP8 " + recipe +
                                          " (emulated)"));
        const double found = last_validation(run);
        std::printf("measured: validation loss %.4f, %s %.4f\n", expected, recipe.c_str(), found);
        EXPECT_NE(found, expected);
        EXPECT_NEAR(found, expected, 0.02 * expected);
    }
}

TEST(RunFloat8, BenchTellsOfIt) {
    const TemporaryFolder folder;
    const auto result = run_flux_train(
        Words{"bench", "step", "--steps=1", "--warmup=0"} + short_job(folder.path() / "run") +
        Words{"--model.converters=float8", "--float8.emulate", "--float8.filter_fqns=linear2"});
    ASSERT_EQ(result.exit_code, 0) << result.err;
    const auto line = nlohmann::json::parse(result.out.substr(result.out.find('{')));
    EXPECT_THAT(line.at("path").get<std::string>(),
                HasSubstr("10 of 12 linear layers of the blocks in FP8 tensorwise (emulated)"));
}

TEST(RunFloat8, WhatCannotBeIsRefusedAtTheStart) {
    const TemporaryFolder folder;
    const auto expect = [&](const Words& words, const std::vector<std::string>& messages) {
        const auto result = run_flux_train(short_job(folder.path() / "run") + words);
        EXPECT_EQ(result.exit_code, 2) << result.err;
        for (const std::string& message : messages) {
            EXPECT_THAT(result.err, HasSubstr(message));
        }
    };
    const Words on{"--model.converters=float8"};
    expect(on, {"command line: model.converters = [\"float8\"]: the CPU does not compute in FP8",
                "float8.emulate = true"});
    expect({"--float8.recipe_name=rowwise"},
           {"command line: float8.recipe_name = \"rowwise\"", "model.converters = [\"float8\"]"});
    expect(on + Words{"--float8.emulate", "--float8.filter_fqns=mlp,outputs"},
           {"command line: float8.filter_fqns: \"outputs\" is in the name of no layer"});
    expect(on + Words{"--float8.emulate", "--float8.recipe_name=rowwise_with_gw_hp"},
           {"is not built yet", "tensorwise"});
    expect({"--model.converters=mx"}, {"is not built yet", "float8"});
    EXPECT_FALSE(std::filesystem::exists(folder.path() / "run"));
}

}  // namespace
}  // namespace flux::test
