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
    expect({"bench", "dota"}, 2, "there are data");
    expect({"bench", "data", "--rows", "0"}, 2, "nothing to measure");
    expect({"bench", "data", "--clip", "x"}, 2, "take the captions of --tar");
    expect({"bench", "data", "--repeats", "0"}, 2, "must be 1 to 1000");
    expect({"bench", "data", "--tar", "/no/such.tar", "--rows", "0"}, 2, "/no/such.tar");
}

}  // namespace
}  // namespace flux::test
