// The same units on one process and sharded over several real ones: equal gradients, the stated
// number of bytes, and memory that follows 1/N.
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randn.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "flux/kernels/host_memory.h"
#include "flux/kernels/keyed_draw.h"
#include "support/group.h"
#include "units/toy_units.h"

namespace flux::units {
namespace {

using namespace std::chrono_literals;

constexpr size_t kUnits = 6;
constexpr int64_t kWidth = 20;
constexpr int64_t kRowsOfAll = 8;

/// What one process sends, counted by hand: a toy unit of width 20 has 400 + 20 elements, padded to
/// 448 + 64 = 512, 2048 bytes in fp32. Of s processes each holds 1 / s of it and sends its part
/// s - 1 times for a gather, as many parts for a scatter; r copies sum 2 (r - 1) / r of a part.
struct Bytes {
    int64_t gathered, scattered, summed;
};

struct Schedule {
    const char* name;
    int replicate;
    int shard;
    int64_t slabs;
    int64_t prefetch;
    double recompute;
    int64_t micro_batches;
    Bytes bytes;
    at::ScalarType reduce = at::kFloat;
    bool host_shards = false;
};

void PrintTo(const Schedule& schedule, std::ostream* out) { *out << schedule.name; }

at::Tensor rows(Purpose purpose) {
    return kernels::keyed_normal({7, purpose}, at::arange(kRowsOfAll, at::kLong), {kWidth});
}

/// Gradients summed over `micro_batches` slices of this process's share of all rows.
void run_schedule(UnitRunner<ToyState>& runner, int64_t micro_batches) {
    dist::Mesh& mesh = runner.store().mesh();
    const int64_t share = kRowsOfAll / mesh.size(), slice = share / micro_batches;
    runner.store().begin_gradients(micro_batches);
    for (int64_t i = 0; i < micro_batches; ++i) {
        const int64_t first = mesh.rank() * share + i * slice;
        runner.forward_for_backward(
            {.x = rows(Purpose::kNoise).narrow(0, first, slice), .shared = {}});
        runner.backward({rows(Purpose::kVaeNoise).narrow(0, first, slice), {}});
    }
    runner.store().finish_gradients();
}

/// Asserts that this process's gradients are its part of `expected`'s.
void expect_parts(const ParameterStore& store, const ParameterStore& expected, double tolerance) {
    for (size_t i = 0; i < store.shards().size(); ++i) {
        const FlatShard& shard = store.shards()[i];
        for (size_t s = 0; s < shard.segments.size(); ++s) {
            const LocalPart part = local_part(shard, shard.segments[s]);
            const at::Tensor actual = gradient_of(shard, part);
            const at::Tensor whole = expected.gradient(shard.segments[s].name).flatten();
            const at::Tensor wanted = whole.slice(0, part.begin, part.end);
            EXPECT_TRUE(
                actual.allclose(wanted, tolerance, tolerance * whole.abs().max().item<double>()))
                << shard.segments[s].name;
            EXPECT_TRUE(part.of(shard.param)
                            .equal(expected.parameter(shard.segments[s].name)
                                       .flatten()
                                       .slice(0, part.begin, part.end)));
        }
    }
}

/// What one step sends, by the formula that plans count with.
dist::Traffic expected_traffic(const StoreSettings& settings, const Schedule& schedule) {
    const auto units = toy_units(kUnits, kWidth);
    std::vector<std::span<const Parameter>> lists;
    for (const auto& unit : units) {
        lists.emplace_back(unit->parameters());
    }
    return step_traffic(make_layout(lists, settings, schedule.shard), settings,
                        {schedule.replicate, schedule.shard}, schedule.micro_batches);
}

StoreSettings settings_of(const Schedule& schedule, dist::Mesh* mesh) {
    return {.slabs = schedule.slabs,
            .prefetch = schedule.prefetch,
            .host_shards = schedule.host_shards,
            .reduce_dtype = schedule.reduce,
            .mesh = mesh};
}

/// Every gradient, and their norm, of one pass.
std::vector<at::Tensor> gradients_of(const Schedule& schedule, dist::Mesh& mesh) {
    UnitRunner<ToyState> runner(toy_units(kUnits, kWidth), settings_of(schedule, &mesh),
                                RecomputePolicy{schedule.recompute});
    runner.store().initialize(3);
    run_schedule(runner, schedule.micro_batches);
    std::vector<at::Tensor> values{runner.store().grad_norm()};
    for (const FlatShard& shard : runner.store().shards()) {
        values.push_back(shard.gradients.front().values);
    }
    return values;
}

class DistSharded : public testing::TestWithParam<Schedule> {};

TEST_P(DistSharded, GradientsAreThoseOfOneProcess) {
    const Schedule& schedule = GetParam();
    if (!test::in_group(schedule.replicate * schedule.shard)) {
        return;
    }
    dist::Store meeting(dist::process_place(), 30s);
    dist::Mesh mesh(meeting, {schedule.replicate, schedule.shard}, at::kCPU, 30s);
    UnitRunner<ToyState> alone(toy_units(kUnits, kWidth), {}, RecomputePolicy::none());
    alone.store().initialize(3);
    run_schedule(alone, schedule.micro_batches);

    const StoreSettings settings = settings_of(schedule, &mesh);
    UnitRunner<ToyState> runner(toy_units(kUnits, kWidth), settings,
                                RecomputePolicy{schedule.recompute});
    runner.store().initialize(3);
    const dist::Traffic before = mesh.traffic();
    run_schedule(runner, schedule.micro_batches);
    const dist::Traffic after = mesh.traffic(), expected = expected_traffic(settings, schedule);
    const double tolerance = schedule.reduce == at::kFloat ? 1e-6 : 2e-2;
    expect_parts(runner.store(), alone.store(), tolerance);
    EXPECT_EQ(after.all_gather - before.all_gather, schedule.bytes.gathered);
    EXPECT_EQ(after.reduce_scatter - before.reduce_scatter, schedule.bytes.scattered);
    EXPECT_EQ(after.all_reduce - before.all_reduce, schedule.bytes.summed);
    EXPECT_EQ(expected.all_gather, schedule.bytes.gathered);
    EXPECT_EQ(expected.reduce_scatter, schedule.bytes.scattered);
    EXPECT_EQ(expected.all_reduce, schedule.bytes.summed);
    EXPECT_NEAR(runner.store().grad_norm().item<double>(), alone.store().grad_norm().item<double>(),
                tolerance * alone.store().grad_norm().item<double>());
    // Every norm gathers the squares of a copy's processes.
    const dist::Traffic with_norm = mesh.traffic();
    EXPECT_EQ(with_norm.all_gather - after.all_gather, 4 * (schedule.shard - 1));
    EXPECT_EQ(with_norm.all_reduce, after.all_reduce);
    mesh.barrier();
}

TEST_P(DistSharded, HostShardsChangeNoBitAndCopiesAgreeOnTheNorm) {
    Schedule schedule = GetParam();
    if (!test::in_group(schedule.replicate * schedule.shard)) {
        return;
    }
    dist::Store meeting(dist::process_place(), 30s);
    dist::Mesh mesh(meeting, {schedule.replicate, schedule.shard}, at::kCPU, 30s);
    const auto here = gradients_of(schedule, mesh);
    schedule.host_shards = !schedule.host_shards;
    const auto away = gradients_of(schedule, mesh);
    for (size_t i = 0; i < here.size(); ++i) {
        EXPECT_TRUE(here[i].equal(away[i])) << "shard " << i;
    }
    const std::string norm = fmt::format("{:a}", here.front().item<double>());
    for (const std::string& other : meeting.exchange("norm", norm, 30s)) {
        EXPECT_EQ(other, norm);
    }
    mesh.barrier();
}

TEST(DistGradNorm, AddsTheSquaresInOneOrderWhateverTheGroup) {
    if (!test::in_group(3)) {
        return;
    }
    dist::Store meeting(dist::process_place(), 30s);
    dist::Mesh mesh(meeting, {1, 3}, at::kCPU, 30s);
    for (int large = 0; large < 3; ++large) {
        // 2^24 + 1 + 1 in fp32 depends on the order.
        at::Tensor squares = at::ones({3});
        squares[large] = 16777216.0;
        FlatShard shard;
        shard.gradients = {{.offset = 0, .values = squares[mesh.rank()].sqrt().view({1})}};
        const at::Tensor norm = global_grad_norm({&shard, 1}, mesh.scatter());
        EXPECT_EQ(norm.item<float>(), squares.sum().sqrt().item<float>());
    }
    mesh.barrier();
}

INSTANTIATE_TEST_SUITE_P(
    All, DistSharded,
    testing::Values(
        // Forward gathers 6 units, backward the 3 that the ring does not hold any more.
        Schedule{"Fsdp2", 1, 2, 3, 2, 1.0, 1, {9 * 1024, 6 * 1024, 0}},
        Schedule{"Fsdp2KeepsGraphs", 1, 2, 2, 1, 0.0, 1, {10 * 1024, 6 * 1024, 0}},
        Schedule{"Fsdp2NeverReshards", 1, 2, 0, 2, 1.0, 1, {6 * 1024, 6 * 1024, 0}},
        Schedule{"Fsdp2OneSlab", 1, 2, 1, 0, 0.5, 1, {11 * 1024, 6 * 1024, 0}},
        // The second micro-batch finds 3 of the 6 in the ring.
        Schedule{"Fsdp4Accumulates", 1, 4, 3, 2, 1.0, 2, {15 * 1536, 12 * 1536, 0}},
        Schedule{
            "Fsdp2Bfloat16Reduction", 1, 2, 3, 2, 1.0, 2, {15 * 1024, 12 * 512, 0}, at::kBFloat16},
        Schedule{"Hsdp2x2", 2, 2, 3, 2, 1.0, 2, {15 * 1024, 12 * 1024, 6 * 1024}},
        Schedule{"Hsdp2x2Bfloat16Reduction",
                 2,
                 2,
                 3,
                 2,
                 1.0,
                 2,
                 {15 * 1024, 12 * 512, 6 * 512},
                 at::kBFloat16},
        Schedule{"Replicated2", 2, 1, 0, 2, 0.0, 2, {0, 0, 6 * 2048}}),
    [](const auto& test_case) { return std::string(test_case.param.name); });

TEST(DistShardedStore, APassGivenUpLeavesTheNextOneRight) {
    if (!test::in_group(2)) {
        return;
    }
    dist::Store meeting(dist::process_place(), 30s);
    dist::Mesh mesh(meeting, {1, 2}, at::kCPU, 30s);
    StoreSettings settings;
    settings.slabs = 3;
    settings.prefetch = 2;
    settings.mesh = &mesh;
    UnitRunner<ToyState> alone(toy_units(kUnits, kWidth), {}, RecomputePolicy::none());
    UnitRunner<ToyState> runner(toy_units(kUnits, kWidth), settings, RecomputePolicy::full());
    alone.store().initialize(3);
    runner.store().initialize(3);
    runner.store().start_gather(2);  // and never used
    run_schedule(alone, 1);
    run_schedule(runner, 1);
    expect_parts(runner.store(), alone.store(), 1e-6);
    // One process has no input of its own: the others' results are the same.
    const at::Tensor wanted = alone.forward({.x = rows(Purpose::kNoise), .shared = {}}).x;
    if (mesh.rank() == 0) {
        EXPECT_TRUE(runner.forward({.x = rows(Purpose::kNoise), .shared = {}}).x.allclose(wanted));
    } else {
        runner.accompany_forward();
    }
    mesh.barrier();
}

TEST(DistShardedStore, MemoryFollowsTheShareOfAProcess) {
    if (!test::in_group(4)) {
        return;
    }
    dist::Store meeting(dist::process_place(), 30s);
    dist::Mesh mesh(meeting, {1, 4}, at::kCPU, 30s);
    constexpr int64_t kLarge = 256;
    constexpr size_t kMany = 24;
    kernels::count_host_memory();
    const int64_t before = kernels::host_memory().held;
    StoreSettings settings;
    settings.slabs = 3;
    settings.prefetch = 2;
    settings.mesh = &mesh;
    UnitRunner<ToyState> runner(toy_units(kMany, kLarge), settings, RecomputePolicy::full());
    runner.store().initialize(3);
    const at::Tensor x = at::randn({2, kLarge});
    runner.store().begin_gradients();
    runner.forward_for_backward({.x = x, .shared = {}});
    runner.backward({x, {}});
    runner.store().finish_gradients();
    const int64_t peak = kernels::host_memory().peak - before;
    const int64_t unit = runner.store().shards()[1].size * 4;
    // Values and gradients of the share; three slabs; two gradient slabs with their parts, and
    // what a reduction on a CPU exchanges.
    const int64_t expected =
        2 * unit * static_cast<int64_t>(kMany) / 4 + 3 * unit + 2 * (unit + unit / 4) + 2 * unit;
    std::printf("measured: peak %.2f MiB, 1/4 of values and gradients plus slabs is %.2f MiB\n",
                static_cast<double>(peak) / (1 << 20), static_cast<double>(expected) / (1 << 20));
    // The gradients of a unit at work, activations, and what Gloo's threads have not let go yet.
    EXPECT_LT(peak, expected + 5 * unit);
    EXPECT_LT(peak, 2 * unit * static_cast<int64_t>(kMany));
    mesh.barrier();
}

}  // namespace
}  // namespace flux::units
