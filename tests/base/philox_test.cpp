#include "flux/base/philox.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>
#include <utility>

namespace flux {
namespace {

struct KnownAnswer {
    PhiloxBlock counter;
    PhiloxKey key;
    PhiloxBlock result;
};

TEST(Philox, KnownAnswers) {  // test vectors of the Random123 library
    const KnownAnswer answers[] = {
        {{{0, 0, 0, 0}}, {0, 0}, {{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}}},
        {{{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}},
         {0xffffffff, 0xffffffff},
         {{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}}},
        {{{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}},
         {0xa4093822, 0x299f31d0},
         {{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}}},
    };
    for (const KnownAnswer& answer : answers) {
        const PhiloxBlock result = philox4x32(answer.key, answer.counter);
        for (int i = 0; i < 4; ++i) {
            EXPECT_EQ(result.word[i], answer.result.word[i]);
        }
    }
}

TEST(Philox, UniformStaysBelowOne) {
    EXPECT_EQ(to_uniform(0), 0.0f);
    EXPECT_EQ(to_uniform(0xffffffffu), 1.0f - 0x1.0p-24f);
}

TEST(Philox, NormalIsFiniteAtTheEnds) {
    for (const uint32_t first : {0u, 0xffffffffu}) {
        for (const uint32_t second : {0u, 0xffffffffu}) {
            float out[2];
            to_normal(first, second, out);
            EXPECT_TRUE(std::isfinite(out[0]) && std::isfinite(out[1]));
        }
    }
}

/// Mean of values^k for k = 1..4.
struct Moments {
    double sum[4] = {};
    int64_t count = 0;

    void add(double value) {
        double power = 1;
        for (double& s : sum) {
            s += power *= value;
        }
        ++count;
    }
    double operator[](int k) const { return sum[k - 1] / static_cast<double>(count); }
};

constexpr uint32_t kDraws = 1 << 20;  // standard error of a mean: 1e-3 of the deviation

TEST(Philox, UniformMoments) {
    Moments moments;
    const Draw draw{.seed = 7, .purpose = Purpose::kTimestep, .index = 3};
    for (uint32_t i = 0; i < kDraws; ++i) {
        moments.add(draw.uniform(i));
    }
    EXPECT_NEAR(moments[1], 1.0 / 2, 1.5e-3);
    EXPECT_NEAR(moments[2], 1.0 / 3, 1.5e-3);
    EXPECT_NEAR(moments[3], 1.0 / 4, 1.5e-3);
    EXPECT_NEAR(moments[4], 1.0 / 5, 1.5e-3);
}

TEST(Philox, NormalMoments) {
    Moments moments;
    const PhiloxKey key = philox_key(7, Purpose::kNoise);
    for (uint32_t block = 0; block < kDraws / 4; ++block) {
        const PhiloxBlock words = philox_block(key, 11, 0, block);
        float out[4];
        to_normal(words.word[0], words.word[1], out);
        to_normal(words.word[2], words.word[3], out + 2);
        for (const float value : out) {
            moments.add(value);
        }
    }
    EXPECT_NEAR(moments[1], 0, 5e-3);
    EXPECT_NEAR(moments[2], 1, 7e-3);
    EXPECT_NEAR(moments[3], 0, 2e-2);
    EXPECT_NEAR(moments[4], 3, 5e-2);
}

TEST(Philox, EveryPartOfTheAddressMatters) {
    std::set<std::pair<uint32_t, uint32_t>> seen;
    int draws = 0;
    const auto add = [&](const Draw& draw) {
        seen.insert({draw.word(0), draw.word(5)});
        ++draws;
    };
    for (uint64_t i = 0; i < 8; ++i) {
        add({.seed = i, .purpose = Purpose::kCrop, .index = 1});
        add({.seed = 100, .purpose = Purpose::kCrop, .index = 2 + i});
        add({.seed = 100, .purpose = Purpose::kCrop, .index = i << 33});
        add({.seed = 100,
             .purpose = Purpose::kCrop,
             .index = 1,
             .sub = 1 + static_cast<uint32_t>(i)});
        add({.seed = 100, .purpose = static_cast<Purpose>(5 + i), .index = 1});
    }
    EXPECT_EQ(seen.size(), static_cast<size_t>(draws));
}

TEST(Philox, BelowReachesEveryValueEvenly) {
    int counts[7] = {};
    const Draw draw{.seed = 1, .purpose = Purpose::kOrder, .index = 0};
    for (uint32_t i = 0; i < 70000; ++i) {
        ++counts[draw.below(7, i)];
    }
    for (const int count : counts) {
        EXPECT_NEAR(count, 10000, 500);
    }
}

}  // namespace
}  // namespace flux
