// Training on pictures of several shapes, each step on one of them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "data/tar_bytes.h"
#include "flux/base/png.h"
#include "support/process.h"
#include "support/reference.h"

namespace flux::test {
namespace {

using testing::HasSubstr;

std::vector<std::string> job(const std::filesystem::path& run, const std::filesystem::path& data,
                             const std::vector<std::string>& options) {
    std::vector<std::string> words{"--job.config_file",
                                   std::string(FLUX_SOURCE_DIR) + "/configs/debug.toml",
                                   "--job.dump_folder=" + run.string(),
                                   "--training.dataset=webdataset",
                                   "--training.dataset_path=" + data.string(),
                                   "--metrics.log_freq=1",
                                   "--eval.dataset=",
                                   "--checkpoint.interval=5",
                                   "--checkpoint.keep_latest_k=0",
                                   "--model.depth=1",
                                   "--model.depth_single_blocks=1"};
    words.insert(words.end(), options.begin(), options.end());
    return words;
}

class RunBuckets : public testing::Test {
protected:
    /// Pictures of four sizes with a colour of their own.
    RunBuckets() {
        const std::vector<std::pair<int, int>> sizes = {{80, 80}, {128, 72}, {72, 128}, {140, 60}};
        std::string tar;
        for (size_t i = 0; i < 48; ++i) {
            const auto [width, height] = sizes[i % 4];
            const std::vector<uint8_t> rgb(size_t(3) * width * height, static_cast<uint8_t>(5 * i));
            const std::string key = fmt::format("{:03}", i);
            tar += tar_member(key + ".png", encode_png(ImageView{rgb.data(), width, height})) +
                   tar_member(key + ".txt", "grey number " + key);
        }
        write_text(folder_.path() / "a.tar", tar + tar_end());
    }

    ProcessResult train(const std::string& run, const std::vector<std::string>& options) const {
        std::vector<std::string> words{"--training.img_size=64", "--training.buckets=16",
                                       "--training.global_batch_size=4"};
        words.insert(words.end(), options.begin(), options.end());
        return run_flux_train(job(folder_.path() / run, folder_.path() / "a.tar", words));
    }

    TemporaryFolder folder_;
};

TEST_F(RunBuckets, TrainsAndGoesOnAtAnyStepToTheBit) {
    const std::vector<std::string> options = {"--training.batch_size=4", "--training.steps=20",
                                              "--checkpoint.enable_checkpoint"};
    const ProcessResult whole = train("whole", options);
    ASSERT_EQ(whole.exit_code, 0) << whole.err;
    EXPECT_THAT(whole.err, HasSubstr("buckets:"));
    const auto losses = metric(folder_.path() / "whole", "loss");
    ASSERT_EQ(losses.size(), 20u);

    for (const char* step : {"15", "5"}) {
        auto again = options;
        again.push_back(std::string("--checkpoint.load_step=") + step);
        const ProcessResult part = train("whole", again);
        ASSERT_EQ(part.exit_code, 0) << part.err;
        EXPECT_THAT(part.err, HasSubstr(std::string("step-") + step));
        EXPECT_EQ(metric(folder_.path() / "whole", "loss"), losses);
    }

    ASSERT_EQ(train("micro", {"--training.batch_size=1", "--training.steps=20"}).exit_code, 0);
    const auto micro = metric(folder_.path() / "micro", "loss");
    for (size_t i = 0; i < losses.size(); ++i) {
        EXPECT_NEAR(std::stod(micro[i].second), std::stod(losses[i].second), 2e-4);
    }

    const ProcessResult changed =
        train("whole", {"--training.batch_size=4", "--training.steps=25", "--training.buckets=0"});
    EXPECT_EQ(changed.exit_code, 1);
    EXPECT_THAT(changed.err, HasSubstr("training.buckets"));
}

TEST_F(RunBuckets, RefusesWhatCannotBe) {
    for (const char* option : {"--training.buckets=32", "--training.buckets=128",
                               "--training.shuffle=none", "--training.dataset=shapes"}) {
        const ProcessResult result =
            train("refused", {"--training.batch_size=4", "--training.steps=2", option});
        EXPECT_EQ(result.exit_code, 2) << option << result.err;
        EXPECT_THAT(result.err, HasSubstr("training.buckets")) << option;
    }
    std::vector<std::string> words =
        job(folder_.path() / "run", folder_.path() / "a.tar",
            {"--training.img_size=64", "--training.buckets=16",
             "--preprocessing.output_dataset_path=" + (folder_.path() / "out").string()});
    words.insert(words.begin(), "preprocess");
    const ProcessResult result = run_flux_train(words);
    EXPECT_EQ(result.exit_code, 2) << result.err;
    EXPECT_THAT(result.err, HasSubstr("encodings are stored in one size"));
}

TEST(RunBucketsReference, TrainsOnPhotographs) {
    FLUX_SKIP_WITHOUT_REFERENCE();
    const TemporaryFolder folder;
    const ProcessResult result =
        run_flux_train(job(folder.path() / "run", *reference_dir() / "data/webdataset/cc12m_test",
                           {"--training.img_size=256", "--training.buckets=64",
                            "--training.batch_size=2", "--training.steps=12"}));
    ASSERT_EQ(result.exit_code, 0) << result.err;
    EXPECT_THAT(result.err, HasSubstr("buckets:"));
    const auto losses = metric(folder.path() / "run", "loss");
    ASSERT_EQ(losses.size(), 12u);
    for (const auto& [step, loss] : losses) {
        EXPECT_TRUE(std::isfinite(std::stod(loss))) << step;
    }
}

}  // namespace
}  // namespace flux::test
