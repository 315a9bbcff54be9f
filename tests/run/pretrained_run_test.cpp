// The real program with small pretrained encoders read from files.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "encoders/small_models.h"
#include "flux/data/encoding_dataset.h"
#include "run/job_words.h"
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

    Words model() const {
        return {"--job.config_file",     std::string(FLUX_SOURCE_DIR) + "/configs/debug.toml",
                "--training.device=cpu", "--metrics.log_freq=1",
                "--eval.dataset=",       "--checkpoint.enable_checkpoint=false",
                "--model.depth=1",       "--model.depth_single_blocks=1",
                "--model.vec_in_dim=64", "--encoder.context_in_dim=64"};
    }

    Words encoders() const {
        return {"--encoder.max_t5_encoding_len=16",
                "--encoder.t5_encoder=" + (small_models() / "t5_tiny_sharded").string(),
                "--encoder.clip_encoder=" + (small_models() / "clip_tiny").string(),
                "--encoder.t5_tokenizer=" + (folder_.path() / "t5_tokenizer").string(),
                "--encoder.clip_tokenizer=" + (folder_.path() / "clip_tokenizer").string(),
                "--encoder.autoencoder_path=" + (folder_.path() / "ae.safetensors").string()};
    }

    ProcessResult train(const Words& options) const {
        return run_flux_train(model() + encoders() +
                              Words{"--job.dump_folder=" + (folder_.path() / "run").string(),
                                    "--training.steps=3", "--training.batch_size=2",
                                    "--training.img_size=32"} +
                              options);
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

/// Photographs of many sizes: resized, cropped, encoded with a posterior that is drawn from.
TEST_F(RunPretrained, PreprocessedPhotographsGiveTheLossesOfTheRawEpoch) {
    FLUX_SKIP_WITHOUT_REFERENCE();
    const Words photographs{
        "--training.dataset=webdataset",
        "--training.dataset_path=" + (*reference_dir() / "data/webdataset/cc12m_test").string(),
        "--training.img_size=64", "--training.seed=5"};
    const std::filesystem::path out = folder_.path() / "encoded";
    ProcessResult result =
        run_flux_train(Words{"preprocess"} + model() + encoders() + photographs +
                       Words{"--preprocessing.output_dataset_path=" + out.string()});
    ASSERT_EQ(result.exit_code, 0) << result.err;
    const int64_t rows = data::EncodingDataset({.path = out.string()}).size();
    const int64_t steps = rows / 4;
    ASSERT_GE(steps, 4);

    const auto losses = [&](const char* name, const Words& options) {
        const auto run = folder_.path() / name;
        result =
            run_flux_train(model() + photographs +
                           Words{"--job.dump_folder=" + run.string(), "--training.batch_size=4",
                                 "--training.steps=" + std::to_string(steps),
                                 "--training.classifier_free_guidance_prob=0.3"} +
                           options);
        EXPECT_EQ(result.exit_code, 0) << result.err;
        return metric(run, "loss");
    };
    const auto raw = losses("raw", encoders());
    const auto stored =
        losses("stored", stored_encodings(out) + Words{"--encoder.autoencoder_shift=0.1159",
                                                       "--encoder.autoencoder_scale=0.3611"});
    ASSERT_EQ(raw.size(), static_cast<size_t>(steps));
    ASSERT_EQ(stored.size(), raw.size());
    for (size_t i = 0; i < raw.size(); ++i) {
        EXPECT_NEAR(std::stod(stored[i].second), std::stod(raw[i].second), 1e-3) << "step " << i;
    }
}

}  // namespace
}  // namespace flux::test
