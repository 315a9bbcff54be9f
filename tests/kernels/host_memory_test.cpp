#include "flux/kernels/host_memory.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <new>

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

TEST(HostMemory, OfWhichThereIsTooLittleIsNamed) {
    count_host_memory();
    const at::Tensor tensor = at::full({1 << 28}, int8_t{1}, at::kChar);
    try {
        at::empty({int64_t{1} << 58}, at::kChar);
        FAIL() << "that much memory was there";
    } catch (const std::bad_alloc& problem) {
        EXPECT_THAT(problem.what(), testing::ContainsRegex("268435456.000 GiB for a tensor beside "
                                                           "0.25[0-9] GiB held"));
    }
}

}  // namespace
}  // namespace flux::kernels
