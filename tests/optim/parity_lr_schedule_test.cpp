#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>

#include "flux/optim/lr_schedule.h"
#include "support/fixture.h"

namespace flux::test {
namespace {

config::LrScheduler scheduler_of(const nlohmann::json& item) {
    static const std::map<std::string, config::DecayType> kTypes{
        {"linear", config::DecayType::kLinear},
        {"sqrt", config::DecayType::kSqrt},
        {"cosine", config::DecayType::kCosine}};
    config::LrScheduler settings;
    settings.warmup_steps = item.at("warmup_steps");
    settings.decay_type = kTypes.at(item.at("decay_type"));
    settings.lr_min = item.at("lr_min");
    if (!item.at("decay_ratio").is_null()) {
        settings.decay_ratio = item.at("decay_ratio").get<double>();
    }
    return settings;
}

TEST(ParityLrSchedule, EverySequence) {
    const Fixture fixture("train_tiny");
    const auto& group = fixture.json().at("lr_sequences");
    ASSERT_FALSE(group.at("sequences").empty());
    for (const auto& [name, item] : group.at("sequences").items()) {
        const optim::LrSchedule schedule(scheduler_of(item), group.at("base_lr"),
                                         item.at("training_steps"));
        const auto expected = item.at("lr").get<std::vector<double>>();
        for (size_t step = 0; step < expected.size(); ++step) {
            EXPECT_NEAR(schedule(static_cast<int64_t>(step)), expected[step],
                        1e-9 * std::abs(expected[step]) + 1e-18)
                << name << " step " << step;
        }
    }
}

}  // namespace
}  // namespace flux::test
