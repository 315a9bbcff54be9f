#include "dist/local_address.h"

#include <gtest/gtest.h>

#include "support/group.h"

namespace flux::dist {
namespace {

using namespace std::chrono_literals;

TEST(LocalAddress, LoopbackTowardsThisMachinesLoopbackNames) {
    EXPECT_EQ(address_towards("127.0.0.1"), "127.0.0.1");
    const auto debian = address_towards("127.0.1.1");
    ASSERT_TRUE(debian);
    EXPECT_TRUE(is_loopback(*debian)) << *debian;
    EXPECT_TRUE(is_loopback("::1"));
    EXPECT_FALSE(is_loopback("10.127.0.1"));
}

TEST(LocalAddress, TheCardThatLeadsThere) {
    const std::string own = test::own_address();
    if (own.empty()) {
        GTEST_SKIP() << "this machine has no address but loopback";
    }
    EXPECT_EQ(address_towards(own), own);
}

TEST(LocalAddress, NothingForAnUnknownName) { EXPECT_FALSE(address_towards("no such host")); }

/// Rank 0, whose name stands for loopback, and rank 1 on a machine that another address reaches.
TEST(LocalAddress, ThatOfAnotherMachineLeadsRankZeroOutOfLoopback) {
    const std::string own = test::own_address();
    if (own.empty()) {
        GTEST_SKIP() << "this machine has no address but loopback";
    }
    ProcessPlace place;
    place.world_size = 2;
    place.local_size = 2;
    place.master_port = test::free_port();
    Store store(place, 5s);
    store.set("address/1", "127.0.0.1");
    EXPECT_EQ(listening_address(store, 5s), "127.0.0.1");
    store.set("address/1", own);
    EXPECT_EQ(listening_address(store, 5s), own);
}

}  // namespace
}  // namespace flux::dist
