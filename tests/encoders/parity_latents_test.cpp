// Posterior draw, scaling and caption drop-out against the flow_match_step fixture.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "flux/encoders/conditioning.h"
#include "flux/encoders/latent_scaling.h"
#include "support/fixture.h"
#include "support/tensor_match.h"

namespace flux::test {
namespace {

TEST(ParityLatents, PosteriorDrawAndDropout) {
    const Fixture fixture("flow_match_step");
    const encoders::LatentScaling scaling{.shift = fixture.json().at("autoencoder_shift"),
                                          .scale = fixture.json().at("autoencoder_scale")};
    ASSERT_FALSE(fixture.json().at("cases").empty());
    for (const auto& [name, item] : fixture.json().at("cases").items()) {
        const auto get = [&](const std::string& tensor) {
            return fixture.tensor(name + "." + tensor);
        };
        const double tolerance = item.at("dtype") == "float32" ? 1e-6 : 4e-2;
        EXPECT_TRUE(max_abs_within(
            name + ".labels",
            encoders::draw_latents({get("mean"), get("logvar")}, get("eps"), scaling),
            get("labels").to(at::kFloat), tolerance));
        EXPECT_TRUE(
            same_bits(name + ".txt_used",
                      encoders::replace_rows(get("t5"), get("drop"), get("empty_t5").unsqueeze(0)),
                      get("txt_used")));
        EXPECT_TRUE(same_bits(
            name + ".y_used",
            encoders::replace_rows(get("clip"), get("drop"), get("empty_clip").unsqueeze(0)),
            get("y_used")));
    }
}

}  // namespace
}  // namespace flux::test
