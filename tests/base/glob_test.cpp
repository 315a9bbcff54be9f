#include "flux/base/glob.h"

#include <gtest/gtest.h>

namespace flux {
namespace {

TEST(Glob, MatchesWholeNames) {
    const std::string name = "double_blocks.0.img_attn.norm.query_norm.scale";
    for (const char* pattern : {"*", "*norm*", "*.scale", "double_blocks.?.img_attn.*",
                                "double_blocks.[0-3].*", name.c_str()}) {
        EXPECT_TRUE(matches_glob(pattern, name)) << pattern;
    }
    for (const char* pattern : {"", "norm", "*.bias", "double_blocks", "double_blocks.[1-3].*"}) {
        EXPECT_FALSE(matches_glob(pattern, name)) << pattern;
    }
}

TEST(Glob, OneOfSeveralIsEnough) {
    EXPECT_TRUE(matches_any_glob({"*.scale", "*.bias"}, "img_in.bias"));
    EXPECT_FALSE(matches_any_glob({"*.scale", "*.bias"}, "img_in.weight"));
    EXPECT_FALSE(matches_any_glob({}, "img_in.bias"));
}

}  // namespace
}  // namespace flux
