#include "flux/metrics/meter.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <thread>
#include <vector>

namespace flux::metrics {
namespace {

void sleep_ms(int milliseconds) {
    std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds));
}

TEST(WorkTimer, CountsOnlyWhatItsScopesEnclose) {
    WorkTimer timer;
    EXPECT_EQ(timer.seconds(), 0);
    {
        const auto scope = timer.measure();
        sleep_ms(20);
    }
    const double after_scope = timer.seconds();
    EXPECT_GE(after_scope, 0.02);
    sleep_ms(20);
    EXPECT_EQ(timer.seconds(), after_scope);
    timer.reset();
    EXPECT_EQ(timer.seconds(), 0);
}

TEST(ThroughputMeter, LeavesOutWorkBetweenSteps) {
    ThroughputMeter meter;
    for (int step = 0; step < 2; ++step) {
        const auto whole = meter.step();
        {
            const auto waiting = meter.data_wait();
            sleep_ms(10);
        }
        sleep_ms(10);
        meter.add_samples(8);
        meter.add_flops(16e9);
    }
    sleep_ms(200);  // a validation
    const auto reading = meter.take();
    EXPECT_GE(reading.seconds, 0.04);
    EXPECT_LT(reading.seconds, 0.2);
    EXPECT_DOUBLE_EQ(reading.samples_per_s, 16 / reading.seconds);
    EXPECT_DOUBLE_EQ(reading.flops_per_s, 32e9 / reading.seconds);
    EXPECT_GT(reading.data_wait, 0.1);
    EXPECT_LT(reading.data_wait, 0.95);
    EXPECT_EQ(meter.take().samples_per_s, 0) << "take() begins anew";
}

TEST(ProcessSeconds, GoesOnWithTheClock) {
    const double before = process_seconds();
    EXPECT_GE(before, 0);
    EXPECT_LT(before, 600);
    sleep_ms(20);
    EXPECT_NEAR(process_seconds() - before, 0.02, 0.5);
    EXPECT_GE(process_seconds() - before, 0.02);
}

TEST(HostMemory, GrowsWithWhatTheProcessUses) {
    const MemoryUse before = host_memory();
    EXPECT_GT(before.gib, 0);
    EXPECT_GT(before.percent, 0);
    EXPECT_LT(before.percent, 100);
    const std::vector<char> block(256 << 20, 1);
    EXPECT_NEAR(host_memory().gib - before.gib, 0.25, 0.05) << block.back();
}

TEST(MemoryUse, GivesGibAndPercent) {
    const MemoryUse use = memory_use(size_t{3} << 30, size_t{12} << 30);
    EXPECT_DOUBLE_EQ(use.gib, 3);
    EXPECT_DOUBLE_EQ(use.percent, 25);
    EXPECT_EQ(memory_use(1, 0).percent, 0);
}

TEST(PeakTflops, KnowsDevicesByTheirDriversNames) {
    EXPECT_EQ(peak_tflops("NVIDIA H100 80GB HBM3"), 989);
    EXPECT_EQ(peak_tflops("NVIDIA H200"), 989);
    EXPECT_EQ(peak_tflops("NVIDIA B200"), 2250);
    EXPECT_EQ(peak_tflops("NVIDIA GB200"), 2500);
    EXPECT_EQ(peak_tflops("NVIDIA GB300"), 2500);
    EXPECT_EQ(peak_tflops("AMD Instinct MI300X"), 1307);
    EXPECT_EQ(peak_tflops("NVIDIA A100-SXM4-80GB"), 312);
    EXPECT_EQ(peak_tflops("NVIDIA GeForce RTX 4090"), std::nullopt);
    EXPECT_EQ(peak_tflops("cpu"), std::nullopt);
}

}  // namespace
}  // namespace flux::metrics
