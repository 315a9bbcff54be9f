#include "flux/train/figures_queue.h"

#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include "flux/kernels/cuda_device.h"

namespace flux::train {
namespace {

at::Tensor scalars(double loss) { return at::tensor({loss, 2.0, 0.0, 0.0, 3.0}, at::kFloat); }

TEST(FiguresQueue, WithoutLagEveryStepIsReadAtOnce) {
    FiguresQueue queue(0, at::kCPU);
    EXPECT_FALSE(queue.take(/*all=*/true));
    for (int64_t step = 1; step < 4; ++step) {
        queue.add({.step = step, .lr = 0.5}, scalars(0.25));
        const auto read = queue.take(/*all=*/false);
        ASSERT_TRUE(read);
        EXPECT_EQ(read->started.step, step);
        EXPECT_EQ(read->started.lr, 0.5);
        EXPECT_EQ(read->loss, 0.25);
        EXPECT_EQ(read->grad_norm, 2);
        EXPECT_FALSE(read->skipped);
        EXPECT_FALSE(read->stop);
        EXPECT_EQ(read->bad, 3);
        EXPECT_TRUE(queue.empty());
    }
}

TEST(FiguresQueue, WithALagStepsComeLateAndInOrder) {
    FiguresQueue queue(2, at::kCPU);
    at::Tensor written_again = scalars(0);  // as a captured step's result is
    int64_t next = 1;
    for (int64_t step = 1; step < 9; ++step) {
        written_again[0] = static_cast<double>(step);
        queue.add({.step = step}, written_again);
        while (const auto read = queue.take(/*all=*/false)) {
            EXPECT_EQ(read->started.step, next);
            EXPECT_EQ(read->loss, static_cast<double>(next));
            EXPECT_EQ(next, step - 2);
            ++next;
        }
    }
    while (const auto read = queue.take(/*all=*/true)) {
        EXPECT_EQ(read->started.step, next++);
    }
    EXPECT_EQ(next, 9);
    EXPECT_TRUE(queue.empty());
}

TEST(FiguresQueue, HasNoRoomForMoreThanItsLag) {
    FiguresQueue queue(1, at::kCPU);
    queue.add({.step = 1}, scalars(1));
    queue.add({.step = 2}, scalars(2));
    EXPECT_THROW(queue.add({.step = 3}, scalars(3)), c10::Error);
}

TEST(GpuFiguresQueue, ReadsWhatTheDeviceComesTo) {
    if (const auto problem = kernels::cuda_problem()) {
        GTEST_SKIP() << "needs a GPU: " << *problem;
    }
    FiguresQueue queue(2, at::Device(at::kCUDA, 0));
    for (int64_t step = 1; step < 7; ++step) {
        queue.add({.step = step},
                  at::full({kStepScalars}, static_cast<double>(step), at::Device(at::kCUDA, 0)));
        if (const auto read = queue.take(/*all=*/step == 6)) {
            EXPECT_EQ(read->loss, static_cast<double>(read->started.step));
        }
    }
}

}  // namespace
}  // namespace flux::train
