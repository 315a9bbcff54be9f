// The plan against real steps: bytes sent, by the counters of every process, and memory, by a
// counting allocator; then the arithmetic of links, time and largest batches.
#include "flux/train/plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <optional>

#include "flux/base/error.h"
#include "flux/kernels/host_memory.h"
#include "flux/model/flops.h"
#include "flux/model/mmdit.h"
#include "flux/optim/ema.h"
#include "flux/train/job.h"
#include "flux/train/train_step.h"
#include "support/group.h"
#include "support/problem.h"
#include "support/tiny_model.h"
#include "train/small_step.h"

namespace flux::train {
namespace {

using namespace std::chrono_literals;
using testing::AllOf;
using testing::HasSubstr;

constexpr int64_t kTextTokens = 32;
constexpr int64_t kLatentSide = 32;

struct Case {
    const char* name;
    int replicate;
    int shard;
    int64_t slabs = 3;
    double recompute = 1.0;
    int64_t micro_batches = 1;
    at::ScalarType reduce = at::kFloat;
    bool overlaps = true;
    bool host_shards = false;
    bool averages = false;
};

void PrintTo(const Case& value, std::ostream* out) { *out << value.name; }

PlanSettings settings_of(const Case& test_case) {
    PlanSettings settings;
    settings.model = test::small_dimensions(3, 5);
    settings.store.slabs = test_case.slabs;
    settings.store.prefetch = std::max<int64_t>(0, test_case.slabs - 1);
    settings.store.reduce_dtype = test_case.reduce;
    settings.store.overlap_reduction = test_case.overlaps;
    settings.store.host_shards = test_case.host_shards;
    settings.averages = test_case.averages;
    settings.recompute.fraction = test_case.recompute;
    settings.mesh = {test_case.replicate, test_case.shard};
    settings.batch_size = 8;
    settings.micro_batches = test_case.micro_batches;
    settings.image_tokens = kLatentSide * kLatentSide / 4;
    settings.text_tokens = kTextTokens;
    return settings;
}

void expect_near(const char* what, int64_t measured, int64_t planned, double tolerance) {
    const auto real = static_cast<double>(measured), stated = static_cast<double>(planned);
    std::printf("measured: %s %.4f MB, planned %.4f MB (%+.2f %%)\n", what, 1e-6 * real,
                1e-6 * stated, measured == 0 ? 0 : 100 * (stated / real - 1));
    EXPECT_NEAR(stated, real, tolerance * real) << what;
}

class DistPlan : public testing::TestWithParam<Case> {};

TEST_P(DistPlan, AgreesWithTheCountersOfAStep) {
    if (!test::in_group(GetParam().replicate * GetParam().shard)) {
        return;
    }
    kernels::count_host_memory();
    PlanSettings settings = settings_of(GetParam());
    dist::Store meeting(dist::process_place(), 30s);
    dist::Mesh mesh(meeting, settings.mesh, at::kCPU, 30s);
    settings.store.mesh = &mesh;
    const int64_t before = kernels::host_memory().held;
    kernels::reset_host_peak();
    model::Mmdit model(settings.model, settings.store, settings.recompute);
    model.parameters().initialize(3);
    optim::AdamW optimizer({}, model.parameters().shards());
    std::optional<optim::Ema> ema;
    if (settings.averages) {
        ema.emplace(0.9, model.parameters().shards());
    }
    int64_t sample = mesh.rank() * settings.batch_size;
    dist::Traffic sent;
    for (int step = 0; step < 2; ++step) {
        const dist::Traffic at_start = mesh.traffic();
        train_step({model, optimizer, ema ? &*ema : nullptr},
                   {.global_batch_size = settings.batch_size * settings.micro_batches * mesh.size(),
                    .micro_batches = settings.micro_batches},
                   1e-3, [&] {
                       sample += settings.batch_size * mesh.size();
                       return drawn_batch(settings.model, sample,
                                          {.samples = settings.batch_size,
                                           .height = kLatentSide,
                                           .width = kLatentSide,
                                           .text_tokens = kTextTokens});
                   });
        sent = mesh.traffic();
        sent.all_gather -= at_start.all_gather;
        sent.reduce_scatter -= at_start.reduce_scatter;
        sent.all_reduce -= at_start.all_reduce;
    }
    const dist::Traffic planned = plan_traffic(settings);
    EXPECT_EQ(sent.all_gather, planned.all_gather);
    EXPECT_EQ(sent.reduce_scatter, planned.reduce_scatter);
    EXPECT_EQ(sent.all_reduce, planned.all_reduce);
    expect_near("sent in a step", sent.total(), planned.total(), 0.0);
    const MemoryPlan memory = plan_memory(settings);  // on a CPU the device's is the host's
    expect_near("memory", kernels::host_memory().peak - before, memory.device() + memory.host(),
                0.03);
    mesh.barrier();
}

INSTANTIATE_TEST_SUITE_P(
    Meshes, DistPlan,
    testing::Values(Case{"Alone", 1, 1}, Case{"AloneKeepsGraphs", 1, 1, 0, 0.0},
                    Case{"Fsdp2", 1, 2}, Case{"Fsdp2Selective", 1, 2, 3, 0.5},
                    Case{"Fsdp2KeepsGraphs", 1, 2, 3, 0.0}, Case{"Fsdp2NeverReshards", 1, 2, 0},
                    Case{"Fsdp2NoOverlap", 1, 2, 1, 1.0, 1, at::kFloat, false},
                    Case{"Fsdp2Bfloat16Reduction", 1, 2, 3, 1.0, 2, at::kBFloat16},
                    Case{"Replicated2", 2, 1, 0, 1.0}, Case{"Fsdp4Accumulates", 1, 4, 3, 1.0, 3},
                    Case{"Hsdp2x2", 2, 2},
                    Case{"AloneHostShards", 1, 1, 0, 1.0, 1, at::kFloat, true, true},
                    Case{"Hsdp2x2HostShards", 2, 2, 3, 1.0, 2, at::kBFloat16, true, true},
                    Case{"Fsdp2Averages", 1, 2, 3, 1.0, 1, at::kFloat, true, false, true},
                    Case{"AloneHostShardsAverages", 1, 1, 0, 1.0, 1, at::kFloat, true, true, true},
                    Case{"Hsdp2x2Bfloat16Reduction", 2, 2, 3, 1.0, 2, at::kBFloat16}),
    [](const auto& test_case) { return std::string(test_case.param.name); });

PlanSettings schnell(dist::MeshShape mesh, int64_t batch) {
    PlanSettings settings;
    settings.model = model::flavor("flux-schnell");
    settings.store = {.compute_dtype = at::kBFloat16,
                      .device = at::Device(at::kCUDA, 0),
                      .slabs = 3,
                      .prefetch = 2};
    settings.recompute = units::RecomputePolicy::full();
    settings.mesh = mesh;
    settings.batch_size = batch;
    settings.image_tokens = 256;
    settings.text_tokens = 256;
    settings.text_dtype = at::kBFloat16;
    return settings;
}

TEST(Plan, ShardsAreAsManyPartsAsProcesses) {
    const MemoryPlan alone = plan_memory(schnell({1, 1}, 1));
    const MemoryPlan eighth = plan_memory(schnell({1, 8}, 1));
    const auto whole = static_cast<double>(alone.parameters);
    EXPECT_NEAR(8 * static_cast<double>(eighth.parameters), whole, 1e-5 * whole);  // padding
    EXPECT_GE(8 * eighth.parameters, alone.parameters);
    EXPECT_EQ(eighth.optimizer, 2 * eighth.parameters);
    EXPECT_EQ(alone.gradient_slabs, 0);
    EXPECT_EQ(alone.activations, eighth.activations);
    EXPECT_NEAR(whole, 4 * 11.891e9, 4 * 0.001e9);
    const MemoryPlan copies = plan_memory(schnell({2, 8}, 1));
    EXPECT_EQ(copies.device(), eighth.device());  // fp32 gradients need no room to travel
}

TEST(CheckMemory, AsksTheMemoryThatTheShardsLieIn) {
    constexpr int64_t kGiB = 1 << 30;
    const auto message = [](const PlanSettings& settings, const Machine& machine) {
        return test::problem_of([&] { check_memory(settings, machine); });
    };
    // 177 GiB of weights, gradients and moments; pinned for a GPU 241, a power of two each unit.
    Machine machine{.device = "NVIDIA H200", .device_bytes = 140 * kGiB, .host_bytes = 256 * kGiB};
    PlanSettings settings = schnell({1, 1}, 1);
    EXPECT_THAT(message(settings, machine),
                AllOf(HasSubstr("NVIDIA H200 has 140.0 GiB"), HasSubstr("enable_cpu_offload")));
    settings.store.host_shards = true;
    EXPECT_EQ(message(settings, machine), "");
    machine.host_bytes = 128 * kGiB;
    EXPECT_THAT(message(settings, machine),
                AllOf(HasSubstr("241."), HasSubstr("machine's memory"), HasSubstr("128.0 GiB")));
    // Eight processes hold no more together than one.
    settings.mesh = {1, 8};
    machine.processes = 8;
    machine.host_bytes = 256 * kGiB;
    EXPECT_EQ(message(settings, machine), "");
    settings.mesh = {8, 1};
    EXPECT_THAT(message(settings, machine), HasSubstr("machine's memory"));
}

TEST(CheckMemory, ProcessesOnTheCpuShareItsMemory) {
    constexpr int64_t kGiB = 1 << 30;
    PlanSettings settings = schnell({2, 1}, 1);
    settings.store.device = at::kCPU;
    Machine machine{.device = "CPU", .device_bytes = 300 * kGiB, .host_bytes = 300 * kGiB};
    EXPECT_NO_THROW(check_memory(settings, machine));
    machine.processes = 2;
    EXPECT_THROW(check_memory(settings, machine), Error);
}

TEST(Plan, OffloadedShardsLieInHostMemory) {
    PlanSettings settings = schnell({1, 8}, 1);
    const MemoryPlan here = plan_memory(settings);
    settings.store.host_shards = true;
    const MemoryPlan away = plan_memory(settings);
    EXPECT_EQ(away.parameters + away.gradients + away.optimizer, 0);
    EXPECT_GT(away.host_shards, 4 * here.parameters);  // pinned blocks are powers of two
    EXPECT_LT(away.host_shards, 6 * here.parameters);
    EXPECT_EQ(away.slabs, here.slabs);
    settings.store.device = at::kCPU;  // nothing is pinned
    EXPECT_EQ(plan_memory(settings).host_shards, 4 * here.parameters);
}

TEST(Plan, AnAverageIsOneShardMore) {
    PlanSettings settings = schnell({2, 8}, 1);
    settings.saves = config::AsyncMode::kAsync;
    const MemoryPlan without = plan_memory(settings);
    settings.averages = true;
    const MemoryPlan with = plan_memory(settings);
    EXPECT_EQ(without.average, 0);
    EXPECT_EQ(with.device(), without.device() + with.parameters);
    EXPECT_EQ(3 * with.host_staging, 4 * without.host_staging);
    settings.store.host_shards = true;
    const MemoryPlan away = plan_memory(settings);
    settings.averages = false;
    EXPECT_EQ(away.average, 0);
    EXPECT_EQ(away.host_shards, plan_memory(settings).host_shards + with.parameters);
}

TEST(Plan, PinnedMemoryIsCountedInPowersOfTwo) {
    // A single block of schnell in fp32, weight and bias: 3072 -> 9216 (modulation), 3072 -> 21504,
    // 15360 -> 3072, two norms of 128; 38 of them against one.
    constexpr int64_t kBlock =
        4 * (3072 * 9216 + 9216 + 3072 * 21504 + 21504 + 15360 * 3072 + 3072 + 2 * 128);
    constexpr int64_t kKiB = 1 << 10, kMiB = 1 << 20;
    constexpr int64_t kPinnedTensors = (128 + 256 + 256) * kMiB + (64 + 128 + 16 + 1) * kKiB;
    PlanSettings with = schnell({1, 1}, 1), without = with;
    without.model.depth_single_blocks = 1;
    const auto of_a_block = [&](config::AsyncMode saves, bool host_shards) {
        with.saves = without.saves = saves;
        with.store.host_shards = without.store.host_shards = host_shards;
        return (plan_memory(with).host() - plan_memory(without).host()) / 37;
    };
    using Mode = config::AsyncMode;
    EXPECT_EQ(of_a_block(Mode::kDisabled, false), 0);
    EXPECT_EQ(of_a_block(Mode::kAsync, false), 3 * kBlock);
    EXPECT_EQ(of_a_block(Mode::kAsyncPinned, false), 3 * kPinnedTensors);
    EXPECT_EQ(of_a_block(Mode::kDisabled, true), 2 * 1024 * kMiB + 2 * kBlock);
    EXPECT_EQ(of_a_block(Mode::kAsyncPinned, true), 2 * 1024 * kMiB + 5 * kBlock);
}

TEST(Plan, LargestBatchIsTheLastThatFits) {
    PlanSettings settings = schnell({1, 8}, 1);
    const int64_t bytes = int64_t{60} << 30;
    const int64_t largest = largest_batch(settings, bytes);
    ASSERT_GE(largest, 1);
    settings.batch_size = largest;
    EXPECT_LE(plan_memory(settings).device(), bytes);
    settings.batch_size = largest + 1;
    EXPECT_GT(plan_memory(settings).device(), bytes);
    EXPECT_EQ(largest_batch(settings, int64_t{20} << 30), 0);
}

TEST(Plan, EncodersArePublishedSizes) {
    const encoders::Placement placement{.dtype = at::kBFloat16, .device = at::Device(at::kCUDA, 0)};
    const auto t5 = encoders::t5_cost(4096, 256, placement);
    const auto clip = encoders::clip_cost(768, placement);
    ASSERT_TRUE(t5 && clip);
    EXPECT_EQ(t5->name, "T5 v1.1 XXL");
    EXPECT_EQ(t5->weights.parameters, 4762310656);
    EXPECT_EQ(clip->weights.parameters, 123060480);
    EXPECT_EQ(encoders::autoencoder_cost(256, placement).weights.parameters, 83819683);
    EXPECT_FALSE(encoders::t5_cost(4000, 256, placement));
    EXPECT_FALSE(encoders::clip_cost(512, placement));
    encoders::Placement away = placement;
    away.offload = true;
    const auto offloaded = encoders::t5_cost(4096, 256, away);
    EXPECT_EQ(offloaded->weights.host, t5->weights.device);
    EXPECT_LT(offloaded->weights.device, t5->weights.device / 4);
}

TEST(Plan, TimeFollowsLinksAndPeak) {
    const PlanSettings settings = schnell({2, 8}, 32);
    const Links links{.intra_node_gbs = 360, .inter_node_gbs = 40, .gpus_per_node = 8};
    const double flops = 4e14;
    const TimePlan time = plan_time(settings, links, flops);
    EXPECT_NEAR(time.model_flops, 32 * model::training_flops(settings.model, 256, 256),
                1e-9 * time.model_flops);
    // All of the blocks, but for what the embedders and the final layer do.
    PlanSettings inputs_alone = settings;
    inputs_alone.recompute.keeps_results = false;
    const double whole = plan_time(inputs_alone, links, flops).recompute;
    EXPECT_NEAR(whole, time.model_flops / 3 / flops, 1e-2 * whole);
    // 512 tokens of 19 products 12288 -> 3072 and of 38 15360 -> 3072, 256 in the last of them, 32
    // samples.
    const double kept = 2.0 * 32 * 512 * 3072 * (19 * 12288.0 + 37.5 * 15360.0);
    EXPECT_NEAR(time.recompute, whole - kept / flops, 1e-9 * whole);
    const dist::Traffic traffic = plan_traffic(settings);
    EXPECT_NEAR(time.all_gather, static_cast<double>(traffic.all_gather) / 360e9, 1e-9);
    EXPECT_NEAR(time.all_reduce, static_cast<double>(traffic.all_reduce) / 40e9, 1e-9);
    EXPECT_NEAR(time.worst(), time.compute + time.exchange(), 1e-12);
    // Sharding over both machines: their eight adapters serve the one ring.
    const TimePlan across = plan_time(schnell({1, 16}, 32), links, flops);
    const dist::Traffic more = plan_traffic(schnell({1, 16}, 32));
    EXPECT_NEAR(across.all_gather, static_cast<double>(more.all_gather) / 320e9, 1e-9);
    PlanSettings half = settings;
    half.recompute.fraction = 0.5;
    EXPECT_NEAR(plan_time(half, links, flops).recompute, time.recompute / 2, 0.05 * time.recompute);
}

TEST(Plan, ResultsAreKeptAsConfiguredWhereOperationsAreFused) {
    config::JobConfig config;
    EXPECT_TRUE(recompute_policy(config).keeps_results);
    config.kernels.fused = false;
    EXPECT_FALSE(recompute_policy(config).keeps_results);
    config.kernels.fused = true;
    config.activation_checkpoint.keep_results = false;
    EXPECT_FALSE(recompute_policy(config).keeps_results);
    EXPECT_EQ(recompute_policy(config).fraction, 1);
    config.activation_checkpoint.mode = config::RecomputeMode::kSelective;
    EXPECT_EQ(recompute_policy(config).fraction, 0.5);
    config.activation_checkpoint.mode = config::RecomputeMode::kNone;
    EXPECT_EQ(recompute_policy(config).fraction, 0);
}

TEST(Plan, KnowsGpusAndTheNearestName) {
    for (const std::string& name : gpu_model_names()) {
        const GpuModel gpu = gpu_model(name);
        EXPECT_GT(gpu.tflops, 900);
        EXPECT_GT(gpu.memory_gib, 79);
        EXPECT_GT(gpu.intra_node_gbs, gpu.inter_node_gbs);
    }
    EXPECT_THAT(test::problem_of<ConfigError>([] { gpu_model("h10"); }),
                HasSubstr("did you mean h100"));
}

}  // namespace
}  // namespace flux::train
