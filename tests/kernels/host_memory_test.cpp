#include "flux/kernels/host_memory.h"

#include <ATen/ops/full.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

namespace flux::kernels {
namespace {

/// Of pages that the system handed out.
int64_t page_faults() {
    rusage use{};
    ::getrusage(RUSAGE_SELF, &use);
    return use.ru_minflt;
}

TEST(HostMemory, StaysWithTheProcess) {
#ifndef __GLIBC__
    GTEST_SKIP() << "needs glibc";
#endif
    constexpr int64_t kBytes = int64_t{64} << 20, kPage = 4096;
    keep_host_memory();
    const auto step = [] {
        for (int i = 0; i < 2; ++i) {
            const at::Tensor tensor = at::full({kBytes / 4}, 1.0f);
        }
    };
    step();
    const int64_t before = page_faults();
    step();
    EXPECT_LT(page_faults() - before, kBytes / kPage / 10);
}

TEST(HostMemory, IsCounted) {
    count_host_memory();
    const int64_t before = host_memory().held;
    {
        const at::Tensor tensor = at::full({1000}, 1.0f);
        EXPECT_EQ(host_memory().held - before, 4000);
        reset_host_peak();
    }
    EXPECT_EQ(host_memory().held, before);
    EXPECT_EQ(host_memory().peak - before, 4000);
}

}  // namespace
}  // namespace flux::kernels
