// Six optimizer steps against the train_tiny fixture, through train_step() itself.
#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "flux/encoders/latent_scaling.h"
#include "flux/optim/lr_schedule.h"
#include "flux/train/train_step.h"
#include "support/tensor_match.h"
#include "support/tiny_model.h"

namespace flux::test {
namespace {

encoders::MicroBatch micro_batch(const Fixture& fixture, int64_t step, int64_t first,
                                 int64_t rows) {
    const auto get = [&](const std::string& name) {
        return fixture.tensor("step" + std::to_string(step) + "." + name).narrow(0, first, rows);
    };
    const encoders::LatentScaling scaling{fixture.json().at("autoencoder_shift"),
                                          fixture.json().at("autoencoder_scale")};
    encoders::MicroBatch batch;
    batch.latents = encoders::draw_latents({get("mean"), get("logvar")}, get("eps"), scaling);
    batch.noise = get("noise");
    batch.timesteps = get("timesteps");
    batch.text = {
        encoders::replace_rows(get("t5"), get("drop"), fixture.tensor("empty_t5").unsqueeze(0)),
        encoders::replace_rows(get("clip"), get("drop"),
                               fixture.tensor("empty_clip").unsqueeze(0))};
    return batch;
}

/// The run of the fixture and what it is compared with.
struct TinyRun {
    explicit TinyRun(at::ScalarType dtype = at::kFloat)
        : model(tiny_model(tiny, dtype)),
          optimizer(optimizer_settings(), model->parameters().shards(), model->path()) {}

    config::Optimizer optimizer_settings() const {
        const auto& json = fixture.json().at("optimizer");
        config::Optimizer settings;
        settings.beta1 = json.at("betas").at(0);
        settings.beta2 = json.at("betas").at(1);
        settings.eps = json.at("eps");
        settings.weight_decay = json.at("weight_decay");
        settings.lr = json.at("lr");
        return settings;
    }

    /// Runs one step in `parts` micro-batches.
    train::StepResult step(int64_t number, double lr, double max_norm, int64_t parts = 1) {
        const int64_t rows = fixture.tensor("step0.timesteps").size(0);
        int64_t part = 0;
        return train::train_step(
            {*model, optimizer},
            {.global_batch_size = rows, .micro_batches = parts, .max_norm = max_norm}, lr, [&] {
                const int64_t first = rows * part / parts;
                ++part;
                return micro_batch(fixture, number, first, rows * part / parts - first);
            });
    }

    int64_t steps() const { return fixture.json().at("steps"); }

    Fixture fixture{"train_tiny"};
    Fixture tiny{"mmdit_tiny"};
    std::unique_ptr<model::Mmdit> model;
    optim::AdamW optimizer;
};

void expect_step(const train::StepResult& result, const nlohmann::json& expected, int64_t step,
                 double loss_tolerance, double norm_tolerance) {
    const auto index = static_cast<size_t>(step);
    const double loss = expected.at("loss").at(index);
    const double norm = expected.at("grad_norm_preclip").at(index);
    EXPECT_NEAR(result.loss.item<double>(), loss, loss_tolerance * loss) << "step " << step;
    EXPECT_NEAR(result.grad_norm.item<double>(), norm, norm_tolerance * norm) << "step " << step;
}

void expect_final_weights(const TinyRun& run) {
    int64_t elements = 0, far = 0;
    const auto names = run.fixture.names_after("final.");
    ASSERT_FALSE(names.empty());
    for (const std::string& name : names) {
        const at::Tensor actual = run.model->parameters().parameter(published_name(run.tiny, name));
        const at::Tensor difference = (actual - run.fixture.tensor("final." + name)).abs();
        EXPECT_LE(difference.max().item<double>(), 2e-3) << name;
        const auto far_here = (difference > 2e-5).sum().item<int64_t>();
        EXPECT_LE(far_here, std::max<int64_t>(1, difference.numel() / 100)) << name;
        elements += difference.numel();
        far += far_here;
    }
    EXPECT_LE(static_cast<double>(far), 1e-3 * static_cast<double>(elements));
}

at::Tensor moment(const TinyRun& run, const std::vector<at::Tensor>& flat,
                  const std::string& name) {
    const auto& shards = run.model->parameters().shards();
    for (size_t i = 0; i < shards.size(); ++i) {
        for (const units::Segment& segment : shards[i].segments) {
            if (segment.name == name) {
                return flat[i].narrow(0, segment.offset, segment.numel).view(segment.shape);
            }
        }
    }
    return {};
}

TEST(ParityTrain, SixSteps) {
    TinyRun run;
    const auto& json = run.fixture.json();
    for (int64_t step = 0; step < run.steps(); ++step) {
        const double lr = json.at("lr_used").at(static_cast<size_t>(step));
        expect_step(run.step(step, lr, json.at("grad_clip").at("max_norm")), json, step, 2e-5,
                    1e-4);
    }
    expect_final_weights(run);
    for (const std::string& name : run.fixture.names_after("final_exp_avg.")) {
        const std::string published = published_name(run.tiny, name);
        EXPECT_TRUE(relative_l2_within(name, moment(run, run.optimizer.exp_avg(), published),
                                       run.fixture.tensor("final_exp_avg." + name), 1e-3));
        EXPECT_TRUE(relative_l2_within(name, moment(run, run.optimizer.exp_avg_sq(), published),
                                       run.fixture.tensor("final_exp_avg_sq." + name), 1e-3));
    }
}

TEST(ParityTrain, LearningRatesOfTheRun) {
    TinyRun run;
    const auto& json = run.fixture.json();
    config::LrScheduler settings;
    settings.warmup_steps = json.at("lr_scheduler").at("warmup_steps");
    settings.decay_ratio = json.at("lr_scheduler").at("decay_ratio").get<double>();
    const optim::LrSchedule schedule(settings, json.at("optimizer").at("lr"), run.steps());
    for (int64_t step = 0; step < run.steps(); ++step) {
        const double expected = json.at("lr_used").at(static_cast<size_t>(step));
        EXPECT_NEAR(schedule(step), expected, 1e-9 * expected);
    }
}

TEST(ParityTrain, MicroBatchesGiveTheSameSteps) {
    TinyRun run;
    const auto& json = run.fixture.json();
    for (int64_t step = 0; step < run.steps(); ++step) {
        const double lr = json.at("lr_used").at(static_cast<size_t>(step));
        expect_step(run.step(step, lr, json.at("grad_clip").at("max_norm"), 3), json, step, 2e-5,
                    1e-4);
    }
    expect_final_weights(run);
}

TEST(ParityTrain, ClippedAndUnclippedStepsMixed) {
    TinyRun run;
    const auto& json = run.fixture.json();
    for (int64_t step = 0; step < run.steps(); ++step) {
        const double lr = json.at("lr_used").at(static_cast<size_t>(step));
        expect_step(run.step(step, lr, 2.0), json.at("run_with_max_norm_2"), step, 2e-5, 1e-4);
    }
    for (const auto& [name, expected] :
         json.at("run_with_max_norm_2").at("final_sum_abs").items()) {
        const at::Tensor value = run.model->parameters().parameter(published_name(run.tiny, name));
        EXPECT_NEAR(value.abs().to(at::kDouble).sum().item<double>(), expected.get<double>(),
                    2e-5 * static_cast<double>(value.numel()))
            << name;
    }
}

TEST(ParityTrain, DecayingSchedules) {
    const Fixture fixture("train_tiny");
    ASSERT_FALSE(fixture.json().at("loss_under_other_schedules").empty());
    for (const auto& [name, expected] : fixture.json().at("loss_under_other_schedules").items()) {
        TinyRun run;
        SCOPED_TRACE(name);
        for (int64_t step = 0; step < run.steps(); ++step) {
            const double lr = expected.at("lr_used").at(static_cast<size_t>(step));
            expect_step(run.step(step, lr, fixture.json().at("grad_clip").at("max_norm")), expected,
                        step, 2e-5, 1e-4);
        }
    }
}

TEST(ParityTrain, Bfloat16LikeFsdpMixedPrecision) {
    TinyRun run(at::kBFloat16);
    const auto& json = run.fixture.json();
    for (int64_t step = 0; step < run.steps(); ++step) {
        const double lr = json.at("lr_used").at(static_cast<size_t>(step));
        expect_step(run.step(step, lr, json.at("grad_clip").at("max_norm")),
                    json.at("bf16_fsdp_run"), step, 3e-2, 1e-1);
    }
}

}  // namespace
}  // namespace flux::test
