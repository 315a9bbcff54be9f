#include "flux/train/step_path.h"

#include <ATen/Context.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "flux/kernels/device_graph.h"
#include "flux/kernels/fused.h"
#include "flux/train/device.h"

namespace flux::train {
namespace {

TEST(StepPath, SaysWhatRuns) {
    ResolvedJob job;
    job.config.activation_checkpoint.mode = config::RecomputeMode::kNone;
    const bool all = kernels::fuses_attention_on_cpu(at::kFloat);
    EXPECT_EQ(step_path(job), all ? "float32, fused, no recompute, eager"
                                  : "float32, fused but for attention, no recompute, eager");
    job.dtype = at::kBFloat16;
    EXPECT_EQ(step_path(job).find("products in float32") != std::string::npos,
              kernels::widens_products(at::kBFloat16));
    job.dtype = at::kFloat;
    job.config.activation_checkpoint.mode = config::RecomputeMode::kFull;
    EXPECT_THAT(step_path(job), testing::HasSubstr(", recompute, "));
    job.config.activation_checkpoint.mode = config::RecomputeMode::kSelective;
    job.model.depth = 4;
    job.model.depth_single_blocks = 6;
    job.config.activation_checkpoint.selective_ac_option = "4";
    EXPECT_THAT(step_path(job), testing::HasSubstr(", recompute of 3 of 12 units, "));
    job.config.activation_checkpoint.selective_ac_option = "13";
    EXPECT_THAT(step_path(job), testing::HasSubstr(", no recompute, "));
    job.config.activation_checkpoint.mode = config::RecomputeMode::kFull;
    job.config.activation_checkpoint.keep_results = false;
    EXPECT_THAT(step_path(job), testing::HasSubstr(", recompute from inputs alone, "));
    job.config.activation_checkpoint.keep_results = true;
    job.config.kernels.fused = false;
    EXPECT_EQ(step_path(job), "float32, twins, recompute from inputs alone, eager");
    job.device = c10::Device(at::kCUDA, 0);
    job.dtype = at::kBFloat16;
    EXPECT_EQ(step_path(job), "bfloat16, twins, recompute from inputs alone, no TF32, eager");
    job.config.kernels.tf32 = true;
    EXPECT_EQ(step_path(job), "bfloat16, twins, recompute from inputs alone, TF32, eager");
}

TEST(StepPath, GraphsAreForGpusThatHoldTheShards) {
    ResolvedJob job;
    job.config.training.compile = true;
    EXPECT_FALSE(captures_steps(job));
    testing::internal::CaptureStderr();
    say_step_path(job);
    EXPECT_THAT(testing::internal::GetCapturedStderr(),
                testing::HasSubstr("there are no CUDA graphs on a CPU"));
    job.device = c10::Device(at::kCUDA, 0);
    EXPECT_EQ(captures_steps(job), kernels::DeviceGraph::knows_gpus());
    job.config.training.enable_cpu_offload = true;
    EXPECT_FALSE(captures_steps(job));
    job.config.training.enable_cpu_offload = false;
    job.config.training.compile = false;
    EXPECT_FALSE(captures_steps(job));
}

TEST(StepPath, HostMemoryBesideHostMemorySparesNothing) {
    ResolvedJob job;
    job.config.training.enable_cpu_offload = true;
    testing::internal::CaptureStderr();
    say_step_path(job);
    EXPECT_THAT(testing::internal::GetCapturedStderr(),
                testing::HasSubstr("training.enable_cpu_offload: on a CPU"));
}

TEST(AllowTf32, TellsTheLibrariesOfTheGpu) {
    for (const bool allowed : {true, false}) {
        allow_tf32(allowed);
        EXPECT_EQ(at::globalContext().allowTF32CuBLAS(), allowed);
        EXPECT_EQ(at::globalContext().allowTF32CuDNN(), allowed);
    }
}

}  // namespace
}  // namespace flux::train
