// Validation losses against the eval_tiny fixture.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "flux/encoders/latent_scaling.h"
#include "flux/eval/validator.h"
#include "support/tiny_model.h"

namespace flux::test {
namespace {

encoders::MicroBatch rows_of(const Fixture& fixture, const std::string& name, int64_t begin,
                             int64_t end) {
    const auto get = [&](const char* tensor) {
        return fixture.tensor(name + "." + tensor).narrow(0, begin, end - begin);
    };
    const encoders::LatentScaling scaling{fixture.json().at("autoencoder_shift"),
                                          fixture.json().at("autoencoder_scale")};
    encoders::MicroBatch batch;
    batch.latents = encoders::draw_latents({get("mean"), get("logvar")}, get("eps"), scaling);
    batch.noise = get("noise");
    batch.text = {get("t5"), get("clip")};
    return batch;
}

void expect_near(double actual, double expected, double relative, const std::string& what) {
    EXPECT_NEAR(actual, expected, relative * expected) << what;
}

TEST(ParityEval, LossesAndMeans) {
    const Fixture fixture("eval_tiny");
    auto model = tiny_model(Fixture("mmdit_tiny"));
    ASSERT_FALSE(fixture.json().at("cases").empty());
    for (const auto& [name, item] : fixture.json().at("cases").items()) {
        const at::Tensor timesteps = fixture.tensor(name + ".timestep");
        eval::ValidationResult result;
        for (size_t b = 0; b < item.at("batches").size(); ++b) {
            const int64_t begin = item.at("batches")[b][0], end = item.at("batches")[b][1];
            const at::Tensor k = timesteps.narrow(0, begin, end - begin);
            const at::Tensor losses = eval::validation_losses(
                *model, rows_of(fixture, name, begin, end), k, config::TimestepGrid::kEighths);
            double sum = 0;
            for (int64_t i = 0; i < losses.size(0); ++i) {
                const auto loss = losses[i].item<double>();
                expect_near(loss, item.at("per_sample_loss")[static_cast<size_t>(begin + i)], 5e-5,
                            name);
                result.add(k[i].item<int64_t>(), loss);
                sum += loss;
            }
            expect_near(sum, item.at("batch_loss_sums")[b], 2e-5, name + " batch sum");
        }
        expect_near(result.sample_mean(), item.at("sample_mean"), 2e-5, name + " mean");
        expect_near(result.mean_of_timestep_means(), item.at("mean_of_timestep_means"), 2e-5,
                    name + " mean of means");
        for (const auto& [k, count] : item.at("per_timestep_count").items()) {
            EXPECT_EQ(result.count[std::stoul(k)], count.get<int64_t>()) << name << " " << k;
            expect_near(result.timestep_mean(std::stoul(k)), item.at("per_timestep_mean").at(k),
                        5e-5, name + " " + k);
        }
    }
}

}  // namespace
}  // namespace flux::test
