// Training on shards that arrive while it goes on, through a cache that holds few of them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>

#include "data/tar_bytes.h"
#include "flux/base/png.h"
#include "run/process_group.h"
#include "support/local_server.h"
#include "support/process.h"
#include "support/reference.h"

namespace flux::test {
namespace {

using testing::HasSubstr;

class RunShards : public testing::Test {
protected:
    /// Six shards of 5 to 10 grey pictures.
    RunShards() {
        std::filesystem::create_directories(folder_.path() / "served");
        for (int shard = 0, number = 0; shard < 6; ++shard) {
            std::string tar;
            for (int i = 0; i < 5 + shard; ++i, ++number) {
                const std::vector<uint8_t> rgb(size_t(3) * 64 * 64,
                                               static_cast<uint8_t>(5 * number));
                const std::string key = fmt::format("{:03}", number);
                tar += tar_member(key + ".png", encode_png(ImageView{rgb.data(), 64, 64})) +
                       tar_member(key + ".txt", "grey number " + key);
            }
            write_text(folder_.path() / fmt::format("served/{}.tar", shard), tar + tar_end());
        }
    }

    std::vector<std::string> job(const std::string& run, const std::string& data,
                                 const std::vector<std::string>& options) const {
        std::vector<std::string> words{"--job.config_file",
                                       std::string(FLUX_SOURCE_DIR) + "/configs/debug.toml",
                                       "--job.dump_folder=" + (folder_.path() / run).string(),
                                       "--training.dataset=webdataset",
                                       "--training.dataset_path=" + data,
                                       "--training.img_size=64",
                                       "--training.batch_size=4",
                                       "--training.steps=25",
                                       "--metrics.log_freq=1",
                                       "--eval.dataset=",
                                       "--checkpoint.interval=5",
                                       "--checkpoint.keep_latest_k=0",
                                       "--model.depth=1",
                                       "--model.depth_single_blocks=1"};
        words.insert(words.end(), options.begin(), options.end());
        if (std::none_of(words.begin(), words.end(), [](const std::string& word) {
                return word.starts_with("--training.shuffle");
            })) {
            words.push_back("--training.shuffle=shards");
        }
        return words;
    }

    ProcessResult train(const std::string& run, const std::string& data,
                        const std::vector<std::string>& options) const {
        return run_flux_train(job(run, data, options));
    }

    TemporaryFolder folder_;
};

TEST_F(RunShards, TwoProcessesTakeTheSamplesOfOne) {
    const std::string data = (folder_.path() / "served").string();
    ASSERT_EQ(train("one", data, {"--training.global_batch_size=4"}).exit_code, 0);
    ProcessGroup group(
        2, job("two", data, {"--training.global_batch_size=4", "--training.batch_size=2"}),
        folder_.path());
    ASSERT_THAT(group.wait(), testing::Each(0)) << group.all_logs();
    const auto one = metric(folder_.path() / "one", "loss");
    const auto two = metric(folder_.path() / "two", "loss");
    ASSERT_EQ(one.size(), 25u);
    ASSERT_EQ(two.size(), 25u);
    for (size_t i = 0; i < one.size(); ++i) {
        const double expected = std::stod(one[i].second);
        EXPECT_NEAR(std::stod(two[i].second), expected, 2e-6 * expected) << "step " << i;
    }
}

TEST_F(RunShards, GoOnAtAnyStepToTheBitFromDiskAndOverHttp) {
    const std::string local = (folder_.path() / "served").string();
    const ProcessResult whole = train("whole", local, {"--checkpoint.enable_checkpoint"});
    ASSERT_EQ(whole.exit_code, 0) << whole.err;
    const auto losses = metric(folder_.path() / "whole", "loss");
    ASSERT_EQ(losses.size(), 25u);
    for (const char* step : {"20", "5"}) {
        const ProcessResult part = train(
            "whole", local,
            {"--checkpoint.enable_checkpoint", std::string("--checkpoint.load_step=") + step});
        ASSERT_EQ(part.exit_code, 0) << part.err;
        EXPECT_EQ(metric(folder_.path() / "whole", "loss"), losses);
    }
    const LocalServer server("python3", "flaky_server.py", local, folder_.path() / "log",
                             {"ok", "503", "drop:500"});
    const ProcessResult remote = train("remote", server.url("{0..5}.tar"), {});
    ASSERT_EQ(remote.exit_code, 0) << remote.err;
    EXPECT_EQ(metric(folder_.path() / "remote", "loss"), losses);
    EXPECT_TRUE(std::filesystem::is_directory(folder_.path() / "remote/cache"));

    const ProcessResult changed =
        train("whole", local, {"--training.shuffle=global", "--checkpoint.load_step=5"});
    EXPECT_EQ(changed.exit_code, 1);
    EXPECT_THAT(changed.err, HasSubstr("the training data has changed"));
}

TEST_F(RunShards, RunsThatNeedAllOfThemShareACache) {
    const LocalServer server("python3", "flaky_server.py", folder_.path() / "served",
                             folder_.path() / "log", {});
    ::setenv("FLUX_CACHE_DIR", (folder_.path() / "shared").c_str(), 1);
    std::string requests;
    for (const char* run : {"one", "two"}) {
        const ProcessResult result =
            train(run, server.url("{0..5}.tar"),
                  {"--training.shuffle=global", "--checkpoint.no_enable_checkpoint"});
        EXPECT_EQ(result.exit_code, 0) << result.err;
        EXPECT_FALSE(std::filesystem::exists(folder_.path() / run / "cache"));
        requests = requests.empty() ? server.log() : requests;
        EXPECT_EQ(server.log(), requests);
    }
    ::unsetenv("FLUX_CACHE_DIR");
}

TEST_F(RunShards, EndsWhenAShardCannotBeHad) {
    const LocalServer server("python3", "flaky_server.py", folder_.path() / "served",
                             folder_.path() / "log", {});
    const ProcessResult result = train("run", server.url("{0..6}.tar"), {});
    EXPECT_EQ(result.exit_code, 1);
    EXPECT_THAT(result.err, HasSubstr("6.tar: HTTP status 404"));
}

}  // namespace
}  // namespace flux::test
