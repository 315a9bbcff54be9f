// Tests that run as several processes: the test starts itself again, once for each rank.
#pragma once

#include <string>

namespace flux::test {

/// In the test as it was started: runs it again in `count` processes, fails if one of them does,
/// and returns false. In those processes: true; they find their places in the environment, as a
/// launcher would tell them.
///
///     TEST(DistThing, Works) {
///         if (!test::in_group(4)) {
///             return;
///         }
bool in_group(int count);

/// A TCP port that was free a moment ago.
int free_port();

/// An address of this machine that others could reach; empty without a network.
std::string own_address();

}  // namespace flux::test
