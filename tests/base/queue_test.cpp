#include "flux/base/queue.h"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <numeric>
#include <thread>
#include <vector>

#include "flux/base/error.h"

namespace flux {
namespace {

TEST(BoundedQueue, HandsValuesOverInOrderAndEnds) {
    BoundedQueue<std::unique_ptr<int>> queue(2);
    std::thread producer([&] {
        for (int i = 0; i < 100; ++i) {
            queue.push(std::make_unique<int>(i));
        }
        queue.close();
    });
    for (int i = 0; i < 100; ++i) {
        EXPECT_EQ(**queue.pop(), i);
    }
    EXPECT_FALSE(queue.pop());
    producer.join();
}

TEST(BoundedQueue, HoldsNoMoreThanItsCapacity) {
    BoundedQueue<int> queue(3);
    std::atomic<int> pushed = 0;
    std::thread producer([&] {
        while (queue.push(0)) {
            ++pushed;
        }
    });
    for (int popped = 0; popped < 50; ++popped) {
        queue.pop();
        EXPECT_LE(pushed, popped + 1 + 3 + 1);  // taken, stored, and one just let in
    }
    queue.close();
    producer.join();
}

TEST(BoundedQueue, GivesOutTheRestBeforeTheProblem) {
    BoundedQueue<int> queue(4);
    queue.push(1);
    queue.close(std::make_exception_ptr(Error("shard 7: truncated")));
    queue.close(std::make_exception_ptr(Error("a later problem does not hide the first")));
    EXPECT_EQ(queue.pop(), 1);
    try {
        queue.pop();
        FAIL();
    } catch (const Error& problem) {
        EXPECT_STREQ(problem.what(), "shard 7: truncated");
    }
    EXPECT_FALSE(queue.push(2));
}

TEST(BoundedQueue, CloseWakesAWaitingProducer) {
    BoundedQueue<int> queue(1);
    queue.push(0);
    std::thread producer([&] { EXPECT_FALSE(queue.push(1)); });
    queue.close();
    producer.join();
}

TEST(BoundedQueue, ManyProducersAndConsumersLoseNothing) {
    BoundedQueue<int64_t> queue(5);
    std::atomic<int64_t> sum = 0;
    std::vector<std::thread> producers;
    std::vector<std::thread> consumers;
    for (int p = 0; p < 3; ++p) {
        producers.emplace_back([&] {
            for (int64_t i = 1; i <= 1000; ++i) {
                queue.push(i);
            }
        });
        consumers.emplace_back([&] {
            while (const auto value = queue.pop()) {
                sum += *value;
            }
        });
    }
    for (std::thread& producer : producers) {
        producer.join();
    }
    queue.close();
    for (std::thread& consumer : consumers) {
        consumer.join();
    }
    EXPECT_EQ(sum, 3 * 500500);
}

}  // namespace
}  // namespace flux
