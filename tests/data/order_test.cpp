#include "flux/data/order.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <vector>

#include "flux/base/error.h"

namespace flux::data {
namespace {

std::vector<int64_t> epoch_of(const Order& order, int64_t rows, uint32_t epoch) {
    std::vector<int64_t> result;
    for (int64_t i = 0; i < rows; ++i) {
        const Position position = order.at(epoch * rows + i);
        EXPECT_EQ(position.epoch, epoch);
        result.push_back(position.row);
    }
    return result;
}

TEST(Order, EveryEpochIsAPermutation) {
    for (const int64_t rows : {1, 2, 3, 5, 7, 16, 17, 100, 1023, 1025, 5000}) {
        const Order order(rows, config::Shuffle::kGlobal, 42);
        for (const uint32_t epoch : {0u, 1u, 9u}) {
            std::vector<int> seen(static_cast<size_t>(rows), 0);
            for (const int64_t row : epoch_of(order, rows, epoch)) {
                ASSERT_TRUE(row >= 0 && row < rows);
                ++seen[static_cast<size_t>(row)];
            }
            EXPECT_EQ(seen, std::vector<int>(static_cast<size_t>(rows), 1)) << rows;
        }
    }
}

TEST(Order, DependsOnEpochAndSeedOnly) {
    const int64_t rows = 200;
    const Order order(rows, config::Shuffle::kGlobal, 1);
    EXPECT_EQ(epoch_of(order, rows, 3),
              epoch_of(Order(rows, config::Shuffle::kGlobal, 1), rows, 3));
    EXPECT_NE(epoch_of(order, rows, 0), epoch_of(order, rows, 1));
    EXPECT_NE(epoch_of(order, rows, 0),
              epoch_of(Order(rows, config::Shuffle::kGlobal, 2), rows, 0));
}

/// Every row is equally likely in every place, and neighbours are no more frequent than by chance.
TEST(Order, LooksRandom) {
    const int64_t rows = 10;
    std::vector<int> count(100, 0);
    int neighbours = 0;
    const Order order(rows, config::Shuffle::kGlobal, 7);
    const int epochs = 4000;
    for (int epoch = 0; epoch < epochs; ++epoch) {
        const std::vector<int64_t> rows_in_order = epoch_of(order, rows, epoch);
        for (int64_t i = 0; i < rows; ++i) {
            ++count[static_cast<size_t>(10 * i + rows_in_order[i])];
            neighbours += i > 0 && rows_in_order[i] == rows_in_order[i - 1] + 1 ? 1 : 0;
        }
    }
    double chi_squared = 0;
    for (const int found : count) {
        chi_squared += (found - 400.0) * (found - 400.0) / 400.0;
    }
    EXPECT_LT(chi_squared, 140.0);  // 81 degrees of freedom: 81 +- 13
    EXPECT_NEAR(neighbours, 0.9 * epochs, 250.0);
}

TEST(Order, NoneIsTheIdentity) {
    const Order order(5, config::Shuffle::kNone, 1);
    EXPECT_EQ(order.at(13).row, 3);
    EXPECT_EQ(order.at(13).epoch, 2u);
}

TEST(Order, IsFastForManyRows) {
    const Order order(12'000'000, config::Shuffle::kGlobal, 1);
    const auto start = std::chrono::steady_clock::now();
    int64_t sum = 0;
    for (int64_t i = 0; i < 100'000; ++i) {
        sum += order.at(i * 113).row;
    }
    EXPECT_GT(sum, 0);
    EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(2));
}

TEST(Order, RefusesNoRowsAndTheOrderByShards) {
    EXPECT_THROW(Order(0, config::Shuffle::kNone, 1), Error);
    EXPECT_THAT([] { Order(5, config::Shuffle::kShards, 1); },
                testing::ThrowsMessage<Error>(testing::HasSubstr("training.shuffle = shards")));
}

}  // namespace
}  // namespace flux::data
