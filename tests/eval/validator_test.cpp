// What a validation pass counts, at which times and with which noise.
#include "flux/eval/validator.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/full.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "flux/base/error.h"
#include "flux/data/shapes.h"
#include "flux/flow/flow_matching.h"
#include "flux/kernels/keyed_draw.h"
#include "support/problem.h"

namespace flux::eval {
namespace {

using testing::AllOf;
using testing::HasSubstr;

const at::Device kCpu(at::kCPU);

/// The built-in encoders, and a small model whose output is not the zero of a fresh one.
class ValidatorTest : public testing::Test {
protected:
    static model::FluxConfig dimensions() {
        model::FluxConfig config = model::flavor("flux-tiny");
        config.hidden_size = 32;
        config.num_heads = 2;
        config.axes_dim = {4, 6, 6};
        config.depth = 1;
        config.depth_single_blocks = 1;
        return config;
    }
    static encoders::Conditioning built_in() {
        config::Encoder settings;
        settings.max_t5_encoding_len = 8;
        return {settings,
                /*test_mode=*/true,
                {dimensions().context_in_dim, dimensions().vec_in_dim},
                kCpu};
    }
    static data::ShapesDataset pictures(bool validation, int64_t samples) {
        return data::ShapesDataset(
            {.img_size = 32, .seed = 1, .validation = validation, .subset_size = samples});
    }

    ValidatorTest() {
        uint64_t index = 0;
        for (units::FlatShard& shard : model_.parameters().shards()) {
            for (const units::Segment& segment : shard.segments) {
                at::Tensor part = shard.param.narrow(0, segment.offset, segment.numel);
                kernels::keyed_fill_(part, kernels::Distribution::kNormal, {7, Purpose::kInit},
                                     index++, 0);
                part.mul_(0.1);
            }
        }
        model_.parameters().parameters_changed();
    }

    ValidationResult validate(const data::Dataset& dataset, const ValidatorSettings& settings,
                              int64_t step = 0) {
        return *Validator(dataset, conditioning_, settings).run(model_, step);
    }

    encoders::Conditioning conditioning_ = built_in();
    model::Mmdit model_{dimensions(), {}, units::RecomputePolicy::none()};
    data::ShapesDataset set_ = pictures(true, 21);
};

TEST_F(ValidatorTest, TakesEverySampleOnceAtItsTimestep) {
    const ValidationResult result = validate(set_, {.batch_size = 4, .seed = 3});
    EXPECT_EQ(result.samples(), 21);
    EXPECT_EQ(result.count, (std::array<int64_t, 8>{3, 3, 3, 3, 3, 2, 2, 2}));
    const ValidationResult whole = validate(set_, {.batch_size = 64, .seed = 3});
    EXPECT_NEAR(whole.sample_mean(), result.sample_mean(), 1e-6 * result.sample_mean());
}

TEST_F(ValidatorTest, AllTimestepsTakesEverySampleAtEach) {
    const ValidatorSettings at_all{.batch_size = 4, .all_timesteps = true, .seed = 3};
    const ValidationResult result = validate(set_, at_all);
    EXPECT_EQ(result.samples(), 8 * 21);
    EXPECT_THAT(result.count, testing::Each(21));
    EXPECT_NEAR(result.sample_mean(), result.mean_of_timestep_means(), 1e-9);
    // Row 0 names timestep 0: there both measure the same, with the same noise.
    const data::ShapesDataset first = pictures(true, 1);
    EXPECT_EQ(validate(first, at_all).loss_sum[0], validate(first, {.seed = 3}).loss_sum[0]);
    // The times differ, and so do the losses.
    const ValidationResult one = validate(first, at_all);
    EXPECT_NE(one.loss_sum[1], one.loss_sum[6]);
}

TEST_F(ValidatorTest, StepsTakeTheFirstBatches) {
    const ValidationResult part = validate(set_, {.batch_size = 4, .steps = 2, .seed = 3});
    EXPECT_EQ(part.samples(), 8);
    const ValidationResult same = validate(pictures(true, 8), {.batch_size = 4, .seed = 3});
    EXPECT_EQ(part.loss_sum, same.loss_sum);
    EXPECT_EQ(validate(set_, {.batch_size = 4, .steps = 100, .seed = 3}).samples(), 21);
}

TEST_F(ValidatorTest, NoisePerPassFollowsTheStep) {
    const auto mean = [&](config::EvalNoise noise, int64_t step) {
        return validate(set_, {.batch_size = 4, .noise = noise, .seed = 3}, step).sample_mean();
    };
    using Noise = config::EvalNoise;
    EXPECT_EQ(mean(Noise::kKeyed, 5), mean(Noise::kKeyed, 6));
    EXPECT_NE(mean(Noise::kPerPass, 5), mean(Noise::kPerPass, 6));
    EXPECT_EQ(mean(Noise::kPerPass, 5), mean(Noise::kPerPass, 5));  // a run that is resumed
}

TEST_F(ValidatorTest, GridsMeasureAtTheirTimes) {
    const at::Tensor rows = at::arange(2, at::kLong);
    encoders::MicroBatch batch;
    batch.latents = kernels::keyed_normal({5, Purpose::kVaeNoise}, rows, {16, 4, 4});
    batch.noise = kernels::keyed_normal({5, Purpose::kNoise}, rows, {16, 4, 4});
    const std::vector<std::string> captions{"a red circle", "a blue cross"};
    batch.text = conditioning_.encode_text(captions);
    const std::pair<config::TimestepGrid, double> grids[] = {
        {config::TimestepGrid::kEighths, 3 / 8.0}, {config::TimestepGrid::kMidpoints, 3.5 / 8.0}};
    for (const auto& [grid, time] : grids) {
        EXPECT_EQ(flow::validation_time(3, grid), time);
        const at::Tensor losses =
            validation_losses(model_, batch, at::full({2}, 3, at::kLong), grid);
        batch.timesteps = at::full({2}, time, at::kFloat);
        const encoders::FlowProblem problem = encoders::pose(model_.path(), batch);
        EXPECT_TRUE(losses.equal(
            flow::per_sample_loss(model_.path(), model_.predict(problem.input), problem.target)));
    }
    const auto mean = [&](config::TimestepGrid grid) {
        return validate(set_, {.timestep_grid = grid, .seed = 3}).sample_mean();
    };
    EXPECT_NE(mean(config::TimestepGrid::kEighths), mean(config::TimestepGrid::kMidpoints));
}

std::string problem_of(const data::Dataset& dataset, const encoders::Conditioning& conditioning) {
    return test::problem_of([&] { const Validator validator(dataset, conditioning, {}); });
}

TEST_F(ValidatorTest, ASetWithoutTimestepsNeedsAllOfThem) {
    const data::ShapesDataset without = pictures(false, 5);
    EXPECT_THAT(problem_of(without, conditioning_),
                AllOf(HasSubstr("has no timestep"), HasSubstr("flux_train data coco"),
                      HasSubstr("eval.all_timesteps")));
    EXPECT_EQ(validate(without, {.all_timesteps = true}).samples(), 8 * 5);
}

/// Storage that holds no sample which can be read.
class Unreadable : public data::Dataset {
public:
    explicit Unreadable(int64_t size) : size_(size) {}
    int64_t size() const override { return size_; }
    data::PayloadShape payload() const override { return data::PictureShape(32); }
    data::Sample read(int64_t row, uint32_t /*epoch*/) const override {
        fail("{}: no picture", describe(row));  // as all sets name the row
    }
    std::string caption(int64_t /*row*/) const override { return ""; }
    uint64_t fingerprint() const override { return 0; }
    std::string describe(int64_t row) const override { return fmt::format("row {}", row); }
    std::string source(int64_t /*row*/) const override { return "nowhere"; }

private:
    int64_t size_;
};

TEST_F(ValidatorTest, ASetThatGivesNothingIsRefusedBeforeTraining) {
    EXPECT_THAT(problem_of(Unreadable(0), conditioning_), HasSubstr("none of its 0 samples"));
    EXPECT_THAT(
        problem_of(Unreadable(3), conditioning_),
        testing::EndsWith("none of its 3 samples can be used; the first: row 0: no picture"));
}

}  // namespace
}  // namespace flux::eval
