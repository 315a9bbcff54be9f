// A small run whose metrics tests look at.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "support/process.h"
#include "support/reference.h"

namespace flux::test {

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

    /// The same, to be ended from outside: validation and pictures at its beginning alone.
    std::vector<std::string> endless(std::vector<std::string> options) const {
        options.insert(options.end(), {"--training.steps=1000000", "--eval.freq_steps=1000000",
                                       "--checkpoint.interval=1000000"});
        return words(options);
    }

    ProcessResult train(const std::vector<std::string>& options) const {
        return run_flux_train(words(options));
    }

    TemporaryFolder folder_;
};

}  // namespace flux::test
