// What the processes of a job agree on in every step.
#include "flux/train/train_step.h"

#include <ATen/ops/equal.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <limits>

#include "flux/model/mmdit.h"
#include "flux/optim/ema.h"
#include "support/group.h"
#include "support/tiny_model.h"
#include "train/small_step.h"

namespace flux::train {
namespace {

using namespace std::chrono_literals;

model::FluxConfig dimensions() { return test::small_dimensions(1, 1); }

/// This process's part of the weights and of both moments.
std::vector<at::Tensor> state_of(model::Mmdit& model, optim::AdamW& optimizer) {
    std::vector<at::Tensor> state;
    for (size_t i = 0; i < model.parameters().shards().size(); ++i) {
        state.push_back(model.parameters().shards()[i].param.detach().clone());
        state.push_back(optimizer.exp_avg()[i].clone());
        state.push_back(optimizer.exp_avg_sq()[i].clone());
    }
    return state;
}

bool same(const std::vector<at::Tensor>& a, const std::vector<at::Tensor>& b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                      [](const at::Tensor& x, const at::Tensor& y) { return at::equal(x, y); });
}

TEST(DistTrainStep, ANumberOfOneProcessThatIsNotFiniteSkipsTheStepOfAll) {
    if (!test::in_group(4)) {
        return;
    }
    dist::Store meeting(dist::process_place(), 30s);
    dist::Mesh mesh(meeting, {.replicate = 2, .shard = 2}, at::kCPU, 30s);
    units::StoreSettings store;
    store.slabs = 2;
    store.prefetch = 1;
    store.mesh = &mesh;
    model::Mmdit model(dimensions(), store, {1.0});
    model.parameters().initialize(3);
    optim::AdamW optimizer({}, model.parameters().shards());
    const auto step = [&](int64_t number, int broken_rank) {
        return train_step(
            {model, optimizer},
            {.global_batch_size = 2 * mesh.size(),
             .stop_requested = number == 2 && mesh.rank() == 1,
             .bad_samples = [&] { return int64_t{mesh.rank()}; }},
            1e-3, [&] {
                auto batch = drawn_batch(dimensions(), (number * mesh.size() + mesh.rank()) * 2);
                if (mesh.rank() == broken_rank) {
                    batch.latents.view(-1)[7] = std::numeric_limits<float>::infinity();
                }
                return batch;
            });
    };
    constexpr int kNone = -1;
    EXPECT_EQ(step(0, kNone).skipped.item<double>(), 0);
    const auto before = state_of(model, optimizer);
    const StepResult broken = step(1, 3);
    EXPECT_EQ(broken.skipped.item<double>(), 1);
    EXPECT_TRUE(same(state_of(model, optimizer), before));
    EXPECT_EQ(broken.bad.item<double>(), 0 + 1 + 2 + 3);
    EXPECT_EQ(broken.stop.item<double>(), 0);
    const StepResult next = step(2, kNone);
    EXPECT_EQ(next.skipped.item<double>(), 0);
    EXPECT_FALSE(same(state_of(model, optimizer), before));
    EXPECT_EQ(next.stop.item<double>(), 1);
    mesh.barrier();
}

/// Whether units read the shards' values rounded, those of all processes of the mesh.
bool reads_rounded_shards(units::ParameterStore& store) {
    bool same = true;
    for (size_t unit = 0; unit < store.shards().size(); ++unit) {
        const units::FlatShard& shard = store.shards()[unit];
        const at::Tensor own = shard.param.to(at::kBFloat16);
        const at::Tensor all = at::zeros({shard.size}, own.options());
        store.mesh().gather().all_gather(all, own).wait();
        store.acquire(unit);
        for (size_t i = 0; i < shard.segments.size(); ++i) {
            const units::Segment& segment = shard.segments[i];
            same = same && store.tensors(unit)[i].flatten().equal(
                               all.narrow(0, segment.offset, segment.numel));
        }
    }
    return same;
}

/// Steps, one of them skipped and one of a rehearsal; then values that others write.
void expect_copies_to_follow(kernels::Path path, dist::Mesh* mesh) {
    units::StoreSettings settings;
    settings.compute_dtype = at::kBFloat16;
    settings.mesh = mesh;
    model::Mmdit model(dimensions(), settings, {0.0}, {.path = path});
    units::ParameterStore& store = model.parameters();
    store.initialize(3);
    optim::AdamW optimizer({}, store.shards(), path);
    const int rank = mesh == nullptr ? 0 : mesh->rank(), processes = mesh == nullptr ? 1 : 2;
    const auto step = [&](int64_t number, bool broken, bool rehearsal) {
        return train_step(
            {model, optimizer}, {.global_batch_size = 2 * processes, .rehearsal = rehearsal}, 1e-2,
            [&] {
                auto batch = drawn_batch(dimensions(), (number * processes + rank) * 2);
                if (broken) {
                    batch.latents.view(-1)[7] = std::numeric_limits<float>::infinity();
                }
                return batch;
            });
    };
    optim::Ema ema(0.9, store.shards());
    ema.begin(store.shards());
    for (int64_t number = 0; number < 6; ++number) {
        const bool broken = number == 2, rehearsal = number == 4;
        const auto before = state_of(model, optimizer);
        std::vector<at::Tensor> copies;
        for (const at::Tensor& copy : store.copies()) {
            copies.push_back(copy.clone());
        }
        const StepResult result = step(number, broken, rehearsal);
        EXPECT_EQ(result.skipped.item<double>(), broken || rehearsal ? 1 : 0);
        EXPECT_EQ(same(state_of(model, optimizer), before), broken || rehearsal);
        EXPECT_EQ(same(store.copies(), copies), broken || rehearsal);
        EXPECT_TRUE(reads_rounded_shards(store)) << number;
        ema.update(store.shards(), result.skipped);
        if (number == 3) {
            EXPECT_TRUE(
                optim::with_average(&ema, store, [&] { return reads_rounded_shards(store); }));
            EXPECT_TRUE(reads_rounded_shards(store));
        }
    }
    store.shards()[1].param.mul_(2);
    store.parameters_changed();
    step(6, true, false);  // with copies that are older than the values
    EXPECT_TRUE(reads_rounded_shards(store));
}

TEST(TrainStep, CopiesInTheComputeDtypeFollowTheValues) {
    expect_copies_to_follow(kernels::Path::kTwin, nullptr);
    expect_copies_to_follow(kernels::Path::kFused, nullptr);
}

TEST(DistTrainStep, CopiesInTheComputeDtypeFollowTheValues) {
    if (!test::in_group(2)) {
        return;
    }
    dist::Store meeting(dist::process_place(), 30s);
    dist::Mesh mesh(meeting, {.replicate = 1, .shard = 2}, at::kCPU, 30s);
    expect_copies_to_follow(kernels::Path::kFused, &mesh);
    mesh.barrier();
}

}  // namespace
}  // namespace flux::train
