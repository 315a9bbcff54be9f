// `bench data` as a user runs it, on shards that the program wrote itself.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>
#include <string>

#include "flux/base/file.h"
#include "support/process.h"
#include "support/reference.h"

namespace flux::test {
namespace {

using testing::HasSubstr;

TEST(RunBenchData, MeasuresEveryStage) {
    const TemporaryFolder folder;
    const std::string shards = (folder.path() / "shards").string();
    const std::string json = (folder.path() / "figures.json").string();
    ASSERT_EQ(
        run_flux_train({"data", "shapes", "--out", shards, "--samples", "20", "--img_size", "64"})
            .exit_code,
        0);
    const std::vector<std::string> tokenizers{"byte_pairs", "unigram"};
    for (const std::string& name : tokenizers) {
        std::filesystem::create_directory(folder.path() / name);
        std::filesystem::copy_file(
            std::string(FLUX_SOURCE_DIR) + "/tests/fuzz/corpus/tokenizer/" + name + ".json",
            folder.path() / name / "tokenizer.json");
    }
    const std::vector<std::string> words{"bench",      "data",
                                         "--tar",      shards,
                                         "--clip",     (folder.path() / "byte_pairs").string(),
                                         "--t5",       (folder.path() / "unigram").string(),
                                         "--rows",     "16",
                                         "--img_size", "48",
                                         "--repeats",  "1",
                                         "--workers",  "2",
                                         "--json",     json};
    const ProcessResult result = run_flux_train(words);
    ASSERT_EQ(result.exit_code, 0) << result.err;
    EXPECT_THAT(result.out, HasSubstr("% of memcpy"));
    std::set<std::string> names;
    for (const auto& figure : nlohmann::json::parse(read_text(json))) {
        names.insert(figure["name"].get<std::string>());
        EXPECT_GT(figure["median"].get<double>(), 0) << figure["name"];
    }
    EXPECT_THAT(names, testing::ElementsAre("clip", "decode", "image_total", "loader_0", "loader_1",
                                            "loader_2", "memcpy", "resize_crop_normalise",
                                            "stored_rows", "t5"));
    const ProcessResult again = run_flux_train(words);
    EXPECT_EQ(again.exit_code, 1);
    EXPECT_THAT(again.err, HasSubstr("exists already"));
}

TEST(RunBenchData, RefusesWhatMakesNoSense) {
    const auto expect = [](std::vector<std::string> words, int code, const std::string& message) {
        const ProcessResult result = run_flux_train(words);
        EXPECT_EQ(result.exit_code, code);
        EXPECT_THAT(result.err, HasSubstr(message));
    };
    expect({"bench", "dota"}, 2, "there are step, unit, checkpoint, data");
    expect({"bench", "data", "--rows", "0"}, 2, "nothing to measure");
    expect({"bench", "data", "--clip", "x"}, 2, "take the captions of --tar");
    expect({"bench", "data", "--repeats", "0"}, 2, "must be 1 to 1000");
    expect({"bench", "data", "--tar", "/no/such.tar", "--rows", "0"}, 2, "/no/such.tar");
}

const std::vector<std::string> kSmall{"--job.config_file",
                                      std::string(FLUX_SOURCE_DIR) + "/configs/bench_cpu.toml",
                                      "--model.hidden_size=32",
                                      "--model.num_heads=2",
                                      "--model.axes_dim=4,6,6",
                                      "--model.depth=1",
                                      "--model.depth_single_blocks=1",
                                      "--training.img_size=32",
                                      "--encoder.max_t5_encoding_len=3"};

std::vector<std::string> bench(const std::string& tool, const std::vector<std::string>& more) {
    std::vector<std::string> words{"bench", tool};
    words.insert(words.end(), kSmall.begin(), kSmall.end());
    words.insert(words.end(), more.begin(), more.end());
    return words;
}

TEST(RunBenchStep, PrintsOneLineOfFiguresAndLeavesNothing) {
    const TemporaryFolder folder;
    const std::string dump = (folder.path() / "run").string();
    for (const std::string fused : {"true", "false"}) {
        const auto result = run_flux_train(
            bench("step", {"--steps", "3", "--warmup", "1", "--job.dump_folder=" + dump,
                           "--kernels.fused=" + fused}));
        ASSERT_EQ(result.exit_code, 0) << result.err;
        const auto line = nlohmann::json::parse(result.out.substr(result.out.find('{')));
        EXPECT_EQ(line.at("step_s").size(), 3u);
        EXPECT_GE(line.at("step_s_median"), line.at("step_s_min"));
        EXPECT_GT(line.at("samples_per_s"), 0.0);
        EXPECT_GT(line.at("params"), 10'000);
        EXPECT_GT(line.at("peak_gib"), 0.0);
        EXPECT_THAT(line.at("path").get<std::string>(),
                    HasSubstr(fused == "true" ? "fused" : "twins"));
        EXPECT_TRUE(line.at("loss").is_number());
    }
    EXPECT_FALSE(std::filesystem::exists(dump));
}

TEST(RunBenchUnit, MeasuresBlocksAndTheirOperations) {
    const TemporaryFolder folder;
    const std::string json = (folder.path() / "units.json").string();
    const auto result = run_flux_train(bench("unit", {"--repeats", "1", "--json", json}));
    ASSERT_EQ(result.exit_code, 0) << result.err;
    const auto again = run_flux_train(bench("unit", {"--repeats", "1", "--json", json}));
    EXPECT_EQ(again.exit_code, 1);
    EXPECT_THAT(again.err, HasSubstr("exists already"));
    const auto blocks = nlohmann::json::parse(read_text(json));
    ASSERT_EQ(blocks.size(), 2u);
    for (const auto& block : blocks) {
        EXPECT_GT(block.at("seconds"), 0.0);
        EXPECT_GT(block.at("floor_s"), 0.0);
        EXPECT_GE(block.at("operations").size(), 7u);
    }
}

TEST(RunBenchUnit, BadNumbersAreNamed) {
    const auto result = run_flux_train(bench("unit", {"--repeats", "0"}));
    EXPECT_EQ(result.exit_code, 2);
    EXPECT_THAT(result.err, HasSubstr("--repeats 0: must be"));
}

}  // namespace
}  // namespace flux::test
