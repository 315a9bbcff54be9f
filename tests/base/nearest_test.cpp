#include "flux/base/nearest.h"

#include <gtest/gtest.h>

#include <vector>

namespace flux {
namespace {

TEST(Nearest, OffersTheClosestNameAndNothingFarOff) {
    const std::vector<std::string> known{"training.steps", "training.seed", "eval.steps"};
    EXPECT_EQ(nearest("training.stepz", known), "training.steps");
    EXPECT_EQ(nearest("trainingsteps", known), "training.steps");
    EXPECT_EQ(nearest("completely.different.thing", known), std::nullopt);
    EXPECT_EQ(did_you_mean("eval.stepss", known), "; did you mean eval.steps?");
    EXPECT_EQ(did_you_mean("x", {}), "");
}

}  // namespace
}  // namespace flux
