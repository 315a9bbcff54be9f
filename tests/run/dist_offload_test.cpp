// The real program with its shards in host memory, beside the slabs: the same run to the bit.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "run/process_group.h"
#include "support/reference.h"

namespace flux {
namespace {

using testing::Each;

void train(const std::filesystem::path& folder, const std::string& name,
           const std::string& option) {
    test::ProcessGroup group(4,
                             {"--job.config_file=" FLUX_SOURCE_DIR "/configs/debug.toml",
                              "--job.dump_folder=" + (folder / name).string(), "--training.steps=8",
                              "--training.global_batch_size=4", "--training.batch_size=1",
                              "--eval.dataset=", "--metrics.log_freq=1",
                              "--parallelism.data_parallel_replicate_degree=2", option},
                             folder);
    ASSERT_THAT(group.wait(), Each(0)) << group.all_logs();
}

TEST(DistRunEquality, ShardsInHostMemoryChangeNoBit) {
    const test::TemporaryFolder folder;
    ASSERT_NO_FATAL_FAILURE(train(folder.path(), "here", "--training.enable_cpu_offload=false"));
    ASSERT_NO_FATAL_FAILURE(train(folder.path(), "away", "--training.enable_cpu_offload=true"));
    for (const char* key : {"loss", "grad_norm"}) {
        const auto here = test::metric(folder.path() / "here", key);
        EXPECT_EQ(here.size(), size_t{8});
        EXPECT_EQ(test::metric(folder.path() / "away", key), here);
    }
}

}  // namespace
}  // namespace flux
