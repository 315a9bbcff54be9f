// Schedules and the Euler loop against the sampling_tiny fixture.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "flux/model/latents.h"
#include "flux/sample/sampler.h"
#include "flux/sample/schedule.h"
#include "support/tensor_match.h"
#include "support/tiny_model.h"

namespace flux::test {
namespace {

std::optional<int64_t> shift_of(const nlohmann::json& item) {
    return item.at("shift").get<bool>()
               ? std::optional(item.at("schedule_image_seq_len_argument").get<int64_t>())
               : std::nullopt;
}

TEST(ParitySampling, Schedules) {
    const Fixture fixture("sampling_tiny");
    const auto& schedules = fixture.json().at("get_schedule").at("schedules");
    ASSERT_FALSE(schedules.empty());
    for (const auto& [name, values] : schedules.items()) {
        int64_t steps = 0, tokens = 0;
        ASSERT_EQ(std::sscanf(name.c_str(), "steps%ld_seq%ld_", &steps, &tokens), 2) << name;
        const bool shifted = name.find("shiftTrue") != name.npos;
        const auto times = sample::schedule(steps, shifted ? std::optional(tokens) : std::nullopt);
        ASSERT_EQ(times.size(), values.size()) << name;
        for (size_t i = 0; i < times.size(); ++i) {
            EXPECT_NEAR(times[i], values[i].get<double>(), 1e-6) << name << " " << i;
        }
    }
}

// Running the first k steps gives the latents that the reference fed to the model at step k.
TEST(ParitySampling, EveryStepOfEveryCase) {
    const Fixture fixture("sampling_tiny");
    auto model = tiny_model(Fixture("mmdit_tiny"));
    const encoders::TextConditioning text{fixture.tensor("t5"), fixture.tensor("clip")};
    const encoders::TextConditioning empty{fixture.tensor("empty_t5"),
                                           fixture.tensor("empty_clip")};
    ASSERT_FALSE(fixture.json().at("cases").empty());
    for (const auto& [name, item] : fixture.json().at("cases").items()) {
        const int64_t steps = item.at("steps");
        const auto times = sample::schedule(steps, shift_of(item));
        std::optional<sample::ClassifierFreeGuidance> guidance;
        if (!item.at("cfg_scale").is_null()) {
            guidance = {empty, item.at("cfg_scale")};
        }
        const double tolerance = 2e-4 * item.at("measured").at("abs_max").get<double>();
        for (int64_t k = 0; k <= steps; ++k) {
            const at::Tensor latents =
                sample::denoise(*model, fixture.tensor("start_noise"), text, guidance,
                                std::span(times).first(static_cast<size_t>(k) + 1), 1.0);
            const std::string expected =
                k < steps ? name + ".packed_step" + std::to_string(k) : name + ".packed_final";
            EXPECT_TRUE(max_abs_within(expected, model::pack_latents(latents),
                                       fixture.tensor(expected), tolerance));
        }
    }
}

TEST(ShiftTokens, AutoShiftsDevOnly) {
    using config::TimeShift;
    EXPECT_EQ(sample::shift_tokens(TimeShift::kAuto, "flux-dev", 1024), 1024);
    EXPECT_EQ(sample::shift_tokens(TimeShift::kAuto, "flux-schnell", 1024), std::nullopt);
    EXPECT_EQ(sample::shift_tokens(TimeShift::kNone, "flux-dev", 1024), std::nullopt);
    EXPECT_EQ(sample::shift_tokens(TimeShift::kReference, "flux-schnell", 1024), 16);
}

}  // namespace
}  // namespace flux::test
