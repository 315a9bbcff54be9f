// The same units on one process and sharded over several real ones: equal gradients, the stated
// number of bytes, and memory that follows 1/N.
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/randn.h>
#include <gtest/gtest.h>

#include "flux/kernels/keyed_draw.h"
#include "support/counting_allocator.h"
#include "support/group.h"
#include "units/toy_units.h"

namespace flux::units {
namespace {

using namespace std::chrono_literals;
using test::CountingAllocator;

constexpr size_t kUnits = 6;
constexpr int64_t kWidth = 20;
constexpr int64_t kRowsOfAll = 8;

struct Schedule {
    const char* name;
    int replicate;
    int shard;
    int64_t slabs;
    int64_t prefetch;
    double recompute;
    int64_t micro_batches;
    at::ScalarType reduce = at::kFloat;
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
            const at::Tensor actual = part.of(shard.grad);
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

/// What one step sends, by the one formula there is.
dist::Traffic expected_traffic(const StoreSettings& settings, const Schedule& schedule) {
    const auto units = toy_units(kUnits, kWidth);
    std::vector<std::span<const Parameter>> lists;
    for (const auto& unit : units) {
        lists.emplace_back(unit->parameters());
    }
    return step_traffic(make_layout(lists, settings, schedule.shard), settings,
                        {schedule.replicate, schedule.shard}, schedule.micro_batches);
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

    StoreSettings settings;
    settings.slabs = schedule.slabs;
    settings.prefetch = schedule.prefetch;
    settings.reduce_dtype = schedule.reduce;
    settings.mesh = &mesh;
    UnitRunner<ToyState> runner(toy_units(kUnits, kWidth), settings,
                                RecomputePolicy{schedule.recompute});
    runner.store().initialize(3);
    const dist::Traffic before = mesh.traffic();
    run_schedule(runner, schedule.micro_batches);
    const dist::Traffic after = mesh.traffic(), expected = expected_traffic(settings, schedule);
    const double tolerance = schedule.reduce == at::kFloat ? 1e-6 : 2e-2;
    expect_parts(runner.store(), alone.store(), tolerance);
    EXPECT_EQ(after.all_gather - before.all_gather, expected.all_gather);
    EXPECT_EQ(after.reduce_scatter - before.reduce_scatter, expected.reduce_scatter);
    EXPECT_EQ(after.all_reduce - before.all_reduce, expected.all_reduce);
    EXPECT_NEAR(runner.store().grad_norm().item<double>(), alone.store().grad_norm().item<double>(),
                tolerance * alone.store().grad_norm().item<double>());
    mesh.barrier();
}

INSTANTIATE_TEST_SUITE_P(
    All, DistSharded,
    testing::Values(Schedule{"Fsdp2", 1, 2, 3, 2, 1.0, 1},
                    Schedule{"Fsdp2KeepsGraphs", 1, 2, 2, 1, 0.0, 1},
                    Schedule{"Fsdp2NeverReshards", 1, 2, 0, 2, 1.0, 1},
                    Schedule{"Fsdp2OneSlab", 1, 2, 1, 0, 0.5, 1},
                    Schedule{"Fsdp4Accumulates", 1, 4, 3, 2, 1.0, 2},
                    Schedule{"Fsdp2Bfloat16Reduction", 1, 2, 3, 2, 1.0, 2, at::kBFloat16},
                    Schedule{"Hsdp2x2", 2, 2, 3, 2, 1.0, 2},
                    Schedule{"Hsdp2x2Bfloat16Reduction", 2, 2, 3, 2, 1.0, 2, at::kBFloat16},
                    Schedule{"Replicated2", 2, 1, 0, 2, 0.0, 2}),
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
    CountingAllocator::install();
    const int64_t before = CountingAllocator::held();
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
    const int64_t peak = CountingAllocator::peak() - before;
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
