#include "flux/base/hub_name.h"

#include <gtest/gtest.h>

namespace flux {
namespace {

TEST(HubName, IsOwnerAndName) {
    for (const char* name : {"pixparse/cc12m-wds", "google/t5-v1_1-xxl", "a/b.c"}) {
        EXPECT_TRUE(is_hub_name(name)) << name;
    }
    for (const char* name : {"", "a", "/a", "a/", "a/b/c", "a b/c", "a/b\"c", "../b", "./b", "a/..",
                             "a/.b", "-a/b", "a/{0..3}", "a/*", "hf://a/b"}) {
        EXPECT_FALSE(is_hub_name(name)) << name;
    }
}

}  // namespace
}  // namespace flux
