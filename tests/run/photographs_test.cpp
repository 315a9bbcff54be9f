// Real photographs from a tar shard, as the README's next step after the default job.
#include <gtest/gtest.h>

#include "support/process.h"
#include "support/reference.h"

namespace flux::test {
namespace {

TEST(RunPhotographs, LossFalls) {
    FLUX_SKIP_WITHOUT_REFERENCE();
    const TemporaryFolder folder;
    const ProcessResult result = run_flux_train(
        {"--job.config_file", std::string(FLUX_SOURCE_DIR) + "/configs/debug.toml",
         "--job.dump_folder=" + (folder.path() / "run").string(), "--training.dataset=webdataset",
         "--training.dataset_path=" + (*reference_dir() / "data/webdataset/cc12m_test").string(),
         "--training.img_size=256", "--training.steps=150", "--metrics.log_freq=1",
         "--eval.dataset="});
    ASSERT_EQ(result.exit_code, 0) << result.err;
    const auto losses = metric(folder.path() / "run", "loss");
    ASSERT_EQ(losses.size(), 150u);
    double first = 0, last = 0;
    for (size_t i = 0; i < 10; ++i) {
        first += std::stod(losses[i].second);
        last += std::stod(losses[losses.size() - 1 - i].second);
    }
    std::printf("mean loss of the first ten steps %.4f, of the last ten %.4f\n", first / 10,
                last / 10);
    EXPECT_LE(last, 0.85 * first);
}

}  // namespace
}  // namespace flux::test
