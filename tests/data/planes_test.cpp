#include "data/planes.h"

#include <gtest/gtest.h>

#include <vector>

namespace flux::data {
namespace {

TEST(ToPlanes, TakesEveryCountOfPixelsApart) {
    for (size_t pixels = 0; pixels < 100; ++pixels) {
        std::vector<uint8_t> rgb(3 * pixels), expected(3 * pixels), planes(3 * pixels + 1, 7);
        for (size_t i = 0; i < rgb.size(); ++i) {
            rgb[i] = static_cast<uint8_t>(i * 37 + pixels);
            expected[i % 3 * pixels + i / 3] = rgb[i];
        }
        expected.push_back(7);  // nothing is written behind the planes
        to_planes(rgb.data(), pixels, planes.data());
        EXPECT_EQ(planes, expected) << pixels;
    }
}

}  // namespace
}  // namespace flux::data
