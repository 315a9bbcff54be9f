// Collective operations between real processes.
#include "flux/dist/communicator.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include "flux/base/error.h"
#include "flux/dist/mesh.h"
#include "support/group.h"
#include "support/problem.h"

namespace flux::dist {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

constexpr auto kTimeout = 30s;

TEST(DistCommunicator, GathersReducesAndCounts) {
    if (!test::in_group(4)) {
        return;
    }
    Store store(process_place(), kTimeout);
    Mesh mesh(store, {.replicate = 1, .shard = 4}, at::kCPU, kTimeout);
    const int rank = mesh.rank();
    Communicator& group = mesh.gather();
    for (const auto dtype : {at::kFloat, at::kBFloat16}) {
        at::Tensor all = at::zeros({12}, dtype);
        const at::Tensor own = all.narrow(0, 3 * rank, 3);
        own.fill_(rank + 1);
        group.all_gather(all, own).wait();
        EXPECT_TRUE(
            all.view({4, 3}).select(1, 2).to(at::kFloat).equal(at::arange(1, 5, at::kFloat)));

        const at::Tensor input = at::arange(8, dtype) * (rank + 1);
        at::Tensor part = at::empty({2}, dtype);
        group.reduce_scatter(part, input).wait();
        EXPECT_EQ(part[1].item<double>(), (2 * rank + 1) * 10.0);

        at::Tensor sum = at::full({5}, rank, dtype);
        group.all_reduce(sum).wait();
        EXPECT_TRUE((sum == 6).all().item<bool>());
    }
    EXPECT_EQ(group.traffic().all_gather, 3 * 3 * (4 + 2));
    EXPECT_EQ(group.traffic().reduce_scatter, 3 * 2 * (4 + 2));
    EXPECT_EQ(group.traffic().all_reduce, 2 * 5 * (4 + 2) * 3 / 4);
    EXPECT_EQ(group.traffic().operations, 6);
    mesh.barrier();
}

TEST(DistCommunicator, OperationsOfTwoGroupsRunSideBySide) {
    if (!test::in_group(4)) {
        return;
    }
    Store store(process_place(), kTimeout);
    Mesh mesh(store, {.replicate = 2, .shard = 2}, at::kCPU, kTimeout);
    const int rank = mesh.rank();
    EXPECT_EQ(mesh.shard_rank(), rank % 2);
    EXPECT_EQ(mesh.replica(), rank / 2);
    at::Tensor gathered = at::zeros({2}), own = at::full({1}, rank, at::kFloat);
    at::Tensor part = at::zeros({1}), both = at::full({2}, rank, at::kFloat);
    at::Tensor copies = at::full({1}, rank, at::kFloat);
    std::vector<Pending> work;
    work.push_back(mesh.gather().all_gather(gathered, own));
    work.push_back(mesh.scatter().reduce_scatter(part, both));
    work.push_back(mesh.replicas().all_reduce(copies));
    for (size_t i = work.size(); i-- > 0;) {
        work[i].wait();
    }
    const int first = rank / 2 * 2;
    EXPECT_EQ(gathered[0].item<int>(), first);
    EXPECT_EQ(gathered[1].item<int>(), first + 1);
    EXPECT_EQ(part.item<int>(), 2 * first + 1);
    EXPECT_EQ(copies.item<int>(), 2 * (rank % 2) + 2);
    mesh.barrier();
}

TEST(DistStore, ExchangesAValueOfEveryRank) {
    if (!test::in_group(3)) {
        return;
    }
    Store store(process_place(), kTimeout);
    const int rank = store.place().rank;
    const std::vector<std::string> expected{"value 0", "value 1", "value 2"};
    EXPECT_EQ(store.exchange("topic", "value " + std::to_string(rank), kTimeout), expected);
    EXPECT_FALSE(store.find("nothing"));
    EXPECT_THROW(store.get("nothing", 100ms), LostPeer);
    if (rank > 0) {
        store.set("left/" + std::to_string(rank), "");
    } else {  // takes the store with it
        store.get("left/1", kTimeout);
        store.get("left/2", kTimeout);
    }
}

TEST(DistStore, ALostPeerEndsTheWait) {
    if (!test::in_group(2)) {
        return;
    }
    Store store(process_place(), kTimeout);
    {
        Mesh mesh(store, {.replicate = 1, .shard = 2}, at::kCPU, kTimeout);
        mesh.barrier();
        if (mesh.rank() == 1) {
            std::_Exit(0);
        }
        at::Tensor token = at::zeros({1});
        EXPECT_THROW(mesh.world().all_reduce(token).wait(), LostPeer);
    }
}

TEST(DistStore, PortInUseIsSaid) {
    ProcessPlace place;
    place.world_size = 2;
    place.local_size = 2;
    place.master_port = test::free_port();
    const Store first(place, 5s);
    EXPECT_THAT(test::problem_of([&] { const Store second(place, 5s); }), HasSubstr("MASTER_PORT"));
}

TEST(DistStore, NoAddressOnSeveralMachines) {
    ProcessPlace place;
    place.world_size = 4;
    place.local_size = 2;
    EXPECT_THROW(Store(place, 1s), ConfigError);
}

TEST(DistStore, AProgramThatSaysNothingIsNotWaitedForForEver) {
    const int listener = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    auto* const name = reinterpret_cast<sockaddr*>(&address);
    ASSERT_EQ(::bind(listener, name, size), 0);
    ASSERT_EQ(::listen(listener, 5), 0);
    ASSERT_EQ(::getsockname(listener, name, &size), 0);
    ProcessPlace place;
    place.rank = 1;
    place.world_size = 2;
    place.local_size = 2;
    place.master_port = ntohs(address.sin_port);
    EXPECT_THAT(test::problem_of([&] { const Store store(place, 1s); }),
                HasSubstr("no store of a job answers"));
    ::close(listener);
}

TEST(DistStore, AnUnknownNameIsSaid) {
    ProcessPlace place;
    place.rank = 1;
    place.world_size = 2;
    place.master_address = "no such host";
    EXPECT_THAT(test::problem_of([&] { const Store store(place, 1s); }),
                HasSubstr("MASTER_ADDR=no such host"));
}

TEST(DistStore, NobodyThere) {
    ProcessPlace place;
    place.rank = 1;
    place.world_size = 2;
    place.local_size = 2;
    place.master_port = test::free_port();
    EXPECT_THAT(test::problem_of([&] { const Store store(place, 1s); }),
                HasSubstr("init_timeout_seconds"));
}

}  // namespace
}  // namespace flux::dist
