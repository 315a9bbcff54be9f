// scripts/bench_all.sh: one table, whatever fails, and nothing else.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "flux/base/file.h"
#include "run/job_words.h"
#include "support/process.h"
#include "support/reference.h"

namespace flux::test {
namespace {

using testing::HasSubstr;

class RunBenchAll : public testing::Test {
protected:
    RunBenchAll() {
        std::filesystem::create_directory(folder_.path() / "tmp");
        std::filesystem::create_directory(folder_.path() / "disk");
        write_text(config_, tiny_config());
    }

    int run(std::vector<std::string> words, const Environment& more = {}) {
        words.insert(words.end(),
                     {"--config", config_.string(), "--disk", (folder_.path() / "disk").string()});
        Environment environment{{"FLUX_TRAIN", flux_train_binary().string()},
                                {"OMP_NUM_THREADS", "1"},
                                {"TMPDIR", (folder_.path() / "tmp").string()}};
        environment.insert(environment.end(), more.begin(), more.end());
        std::filesystem::remove(log_);
        const int code = wait_for(start_program(
            std::string(FLUX_SOURCE_DIR) + "/scripts/bench_all.sh", words, log_, environment));
        for (const char* scratch : {"tmp", "disk"}) {
            EXPECT_TRUE(std::filesystem::is_empty(folder_.path() / scratch)) << scratch;
        }
        return code;
    }
    std::string said() const { return read_text(log_); }

    TemporaryFolder folder_;
    std::filesystem::path config_ = folder_.path() / "tiny.toml";
    std::filesystem::path log_ = folder_.path() / "log";
};

TEST_F(RunBenchAll, QuickFormHasALineForEverything) {
    const auto table = folder_.path() / "table.md";
    ASSERT_EQ(run({"--quick", "--out", table.string()}), 0) << said();
    const std::string text = read_text(table);
    for (const char* line :
         {"- machine: ", "- program: flux_train ", "quick form", "| what | figure | aim | met |",
          "| a step, float32, s |", "| a step, bfloat16, TFLOP/s |", "double block, float32",
          "single block, bfloat16", "twice the blocks", "twice the batch", "share of a plain read",
          "| async save of ", "| stored encodings, GB/s |", "all_gather of the largest unit",
          "start to the end of the first step", "| the same, memory |", "| GPU: "}) {
        EXPECT_THAT(text, HasSubstr(line));
    }
    EXPECT_THAT(text, testing::Not(HasSubstr("FAILED")));
    EXPECT_EQ(run({"--quick", "--out", table.string()}), 2);
    EXPECT_THAT(said(), HasSubstr("exists already"));
}

TEST_F(RunBenchAll, AFailedPartIsALineAndTheOthersRun) {
    const auto broken = folder_.path() / "broken";
    write_text(broken,
               "#!/bin/sh\n"
               "if [ \"$2\" = data ]; then echo no data here >&2; exit 3; fi\n"
               "exec '" +
                   flux_train_binary().string() + "' \"$@\"\n");
    std::filesystem::permissions(broken, std::filesystem::perms::owner_all);
    EXPECT_EQ(run({"--quick", "--only", "data,start,gpu", "--skip", "gpu"},
                  {{"FLUX_TRAIN", broken.string()}}),
              1);
    EXPECT_THAT(said(), HasSubstr("no data here"));
    EXPECT_THAT(said(), HasSubstr("| data | FAILED |"));
    EXPECT_THAT(said(), HasSubstr("start to the end of the first step"));
    EXPECT_THAT(said(), testing::Not(HasSubstr("GPU")));
    EXPECT_EQ(run({"--only", "step", "--skip", "step"}), 2);
    EXPECT_THAT(said(), HasSubstr("leave nothing to run"));
    EXPECT_EQ(run({"--out", "/no/such/table.md"}), 2);
    EXPECT_THAT(said(), HasSubstr("--out /no/such/table.md: its folder"));
    EXPECT_EQ(run({"--only", "nothing"}), 2);
    EXPECT_THAT(said(), HasSubstr("nothing: no such part; there are step peers"));
}

TEST_F(RunBenchAll, IsWellFormed) {
    if (std::system("command -v shellcheck >/dev/null") != 0) {
        GTEST_SKIP() << "needs shellcheck";
    }
    const std::string script = std::string(FLUX_SOURCE_DIR) + "/scripts/bench_all.sh";
    EXPECT_EQ(std::system(("shellcheck -x '" + script + "'").c_str()), 0);
}

}  // namespace
}  // namespace flux::test
