// What a run shows of itself besides metrics.jsonl, as other programs see it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "flux/base/file.h"
#include "support/process.h"
#include "support/python.h"
#include "support/reference.h"

namespace flux::test {
namespace {

using nlohmann::json;
using testing::HasSubstr;

class RunMetrics : public testing::Test {
protected:
    std::filesystem::path run() const { return folder_.path() / "run"; }

    /// A small run with validation and two pictures every third step.
    std::vector<std::string> words(const std::vector<std::string>& options) const {
        std::vector<std::string> all{"--job.config_file",
                                     std::string(FLUX_SOURCE_DIR) + "/configs/debug.toml",
                                     "--job.dump_folder=" + run().string(),
                                     "--training.steps=6",
                                     "--training.batch_size=2",
                                     "--training.img_size=32",
                                     "--model.depth=1",
                                     "--model.depth_single_blocks=1",
                                     "--eval.batch_size=8",
                                     "--eval.freq_steps=3",
                                     "--eval.save_img_count=2",
                                     "--eval.denoising_steps=1",
                                     "--checkpoint.interval=4",
                                     "--checkpoint.keep_latest_k=0",
                                     "--metrics.log_freq=1"};
        all.insert(all.end(), options.begin(), options.end());
        return all;
    }

    ProcessResult train(const std::vector<std::string>& options) const {
        return run_flux_train(words(options));
    }

    TemporaryFolder folder_;
};

TEST_F(RunMetrics, TensorboardShowsEachStepOnceAfterAResume) {
    FLUX_SKIP_WITHOUT_PYTHON_MODULE("tensorboard");
    const std::vector<std::string> events{"--metrics.enable_tensorboard"};
    ASSERT_EQ(train(events).exit_code, 0);
    const ProcessResult resumed =
        train({"--metrics.enable_tensorboard", "--checkpoint.load_step=4", "--training.steps=8"});
    ASSERT_EQ(resumed.exit_code, 0) << resumed.err;
    const json read = ask_python("read_events.py", {(run() / "tb").string()});
    json expected;
    for (const auto& [step, loss] : metric(run(), "loss")) {
        expected.push_back({step, std::stof(loss)});
    }
    EXPECT_EQ(expected.size(), 8U);
    EXPECT_EQ(read["scalars"]["train/loss"], expected);
    EXPECT_EQ(read["scalars"]["validation/val_loss_t3"].size(), 4U);  // at 0, 3, 6 and the end
    EXPECT_EQ(read["images"]["pictures/00"].size(), 4U);
    EXPECT_THAT(read["texts"]["config"].back()[1].get<std::string>(), HasSubstr("    steps = 8\n"));
    ASSERT_EQ(train({"--job.restart", "--training.steps=1"}).exit_code, 0);
    EXPECT_FALSE(std::filesystem::exists(run() / "tb"));
    EXPECT_TRUE(std::filesystem::exists(run() / "earlier-1/tb"));
}

TEST_F(RunMetrics, NamesALogFolderThatCannotBeWritten) {
    ASSERT_EQ(train({"--training.steps=4"}).exit_code, 0);
    write_text(run() / "tb", "a file in the way");
    const ProcessResult result = train({"--metrics.enable_tensorboard"});
    EXPECT_EQ(result.exit_code, 1);
    EXPECT_THAT(result.err, HasSubstr("/tb: "));
    EXPECT_THAT(result.err, HasSubstr("--metrics.save_tb_folder"));
}

}  // namespace
}  // namespace flux::test
