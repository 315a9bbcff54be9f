#include "run/dist_job.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <thread>

#include "support/process.h"

namespace flux::test {

Words small_job(const std::filesystem::path& folder, int64_t steps) {
    return {"--job.config_file=" + std::string(FLUX_SOURCE_DIR) + "/configs/debug.toml",
            "--job.dump_folder=" + folder.string(),
            "--model.hidden_size=64",
            "--model.num_heads=4",
            "--model.axes_dim=4,6,6",
            "--model.depth=2",
            "--model.depth_single_blocks=3",
            "--training.steps=" + std::to_string(steps),
            "--training.global_batch_size=8",
            "--lr_scheduler.warmup_steps=5",
            "--lr_scheduler.decay_ratio=0",
            "--eval.dataset=",
            "--metrics.log_freq=1",
            "--checkpoint.interval=1000000",
            "--dataloader.num_workers=1"};
}

std::vector<double> losses(const std::filesystem::path& folder) {
    std::vector<double> values;
    for (const auto& [step, text] : metric(folder, "loss")) {
        values.push_back(std::stod(text));
    }
    return values;
}

void await_step(const std::filesystem::path& folder, size_t steps) {
    for (int i = 0; i < 3000 && losses(folder).size() < steps; ++i) {
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    ASSERT_GE(losses(folder).size(), steps);
}

size_t errors_in(const std::string& logs) {
    size_t count = 0;
    for (size_t at = logs.find(" error "); at != std::string::npos;
         at = logs.find(" error ", at + 1)) {
        ++count;
    }
    return count;
}

}  // namespace flux::test
