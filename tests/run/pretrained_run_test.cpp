// The real program with small pretrained encoders read from files.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "encoders/small_models.h"
#include "support/process.h"
#include "support/reference.h"

namespace flux::test {
namespace {

using testing::HasSubstr;

class RunPretrained : public testing::Test {
protected:
    RunPretrained() {
        for (const char* name : {"t5_tokenizer", "clip_tokenizer"}) {
            std::filesystem::create_directories(folder_.path() / name);
        }
        write_t5_tokenizer(folder_.path() / "t5_tokenizer");
        write_clip_tokenizer(folder_.path() / "clip_tokenizer");
        write_tensors(folder_.path() / "ae.safetensors", autoencoder_tensors());
    }

    ProcessResult train(const std::vector<std::string>& options) const {
        std::vector<std::string> words{
            "--job.config_file",
            std::string(FLUX_SOURCE_DIR) + "/configs/debug.toml",
            "--job.dump_folder=" + (folder_.path() / "run").string(),
            "--training.steps=3",
            "--training.batch_size=2",
            "--training.img_size=32",
            "--training.device=cpu",
            "--metrics.log_freq=1",
            "--eval.dataset=",
            "--model.depth=1",
            "--model.depth_single_blocks=1",
            "--model.vec_in_dim=64",
            "--encoder.context_in_dim=64",
            "--encoder.max_t5_encoding_len=16",
            "--encoder.t5_encoder=" + (small_models() / "t5_tiny_sharded").string(),
            "--encoder.clip_encoder=" + (small_models() / "clip_tiny").string(),
            "--encoder.t5_tokenizer=" + (folder_.path() / "t5_tokenizer").string(),
            "--encoder.clip_tokenizer=" + (folder_.path() / "clip_tokenizer").string(),
            "--encoder.autoencoder_path=" + (folder_.path() / "ae.safetensors").string()};
        words.insert(words.end(), options.begin(), options.end());
        return run_flux_train(words);
    }

    TemporaryFolder folder_;
};

TEST_F(RunPretrained, TrainsThreeSteps) {
    const ProcessResult result = train({});
    ASSERT_EQ(result.exit_code, 0) << result.err;
    EXPECT_THAT(result.err, HasSubstr("T5 encoder from "));
    const auto losses = metric(folder_.path() / "run", "loss");
    ASSERT_EQ(losses.size(), 3u);
    for (const auto& [step, loss] : losses) {
        EXPECT_TRUE(std::isfinite(std::stod(loss))) << step;
    }
}

TEST_F(RunPretrained, RefusesWhatDoesNotFitBeforeItWritesAnything) {
    ProcessResult result = train({"--encoder.context_in_dim=4096"});
    EXPECT_EQ(result.exit_code, 2);
    EXPECT_THAT(result.err,
                HasSubstr("its encodings have 64 channels, but the transformer expects "
                          "4096: choose another encoder or set encoder.context_in_dim"));
    result = train({"--encoder.t5_encoder=/nowhere/t5"});
    EXPECT_EQ(result.exit_code, 2);
    EXPECT_THAT(result.err, HasSubstr("encoder.t5_encoder = \"/nowhere/t5\": no such folder or "
                                      "file: scripts/download_encoders.sh"));
    EXPECT_FALSE(std::filesystem::exists(folder_.path() / "run"));
}

}  // namespace
}  // namespace flux::test
