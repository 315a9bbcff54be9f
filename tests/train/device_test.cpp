// What the processes of a job tell each other of their devices, on values as GPUs would give them.
#include "flux/train/device.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/problem.h"

namespace flux::train {
namespace {

using testing::AllOf;
using testing::HasSubstr;

RankDevice gpu(const std::string& host, const std::string& id) {
    return {.host = host, .dtype = "BFloat16", .gpu = "NVIDIA H200", .id = id, .problem = {}};
}

std::string message_of(const std::vector<RankDevice>& ranks) {
    return test::problem_of([&] { check_devices(ranks); });
}

TEST(CheckDevices, AGpuForEachProcessIsRight) {
    EXPECT_FALSE(check_devices({gpu("a", "1"), gpu("a", "2"), gpu("b", "3"), gpu("b", "4")}));
    const RankDevice cpu{.host = "a", .dtype = "Float", .gpu = {}, .id = {}, .problem = {}};
    EXPECT_FALSE(check_devices({cpu, cpu}));
    EXPECT_FALSE(check_devices({gpu("a", ""), gpu("a", "")}));  // numbers that nobody knows
}

TEST(CheckDevices, AMachineWithoutAGpuIsNamed) {
    RankDevice broken = gpu("node17", "");
    broken.gpu.clear();
    broken.dtype = "Float";
    broken.problem = "there is no NVIDIA driver";
    const std::string said = message_of({gpu("node1", "1"), gpu("node1", "2"), broken});
    EXPECT_THAT(said,
                AllOf(HasSubstr("rank 0 on node1 computes on NVIDIA H200 in BFloat16"),
                      HasSubstr("rank 2 on node17 computes on the CPU (there is no NVIDIA driver) "
                                "in Float")));
    // As rank 0 it is named all the same.
    EXPECT_THAT(message_of({broken, gpu("node1", "1")}), HasSubstr("rank 0 on node17"));
}

TEST(CheckDevices, MoreProcessesThanGpusAreRefused) {
    EXPECT_THAT(message_of({gpu("a", "1"), gpu("b", "2"), gpu("b", "2")}),
                HasSubstr("rank 1 and rank 2 on b have the same GPU, NVIDIA H200"));
}

TEST(CheckDevices, OtherGpusAreSaid) {
    RankDevice other = gpu("b", "2");
    other.gpu = "NVIDIA H100";
    const auto said = check_devices({gpu("a", "1"), other});
    ASSERT_TRUE(said);
    EXPECT_THAT(*said, AllOf(HasSubstr("NVIDIA H200"), HasSubstr("rank 1 on b")));
}

TEST(RankDevice, SurvivesTheWayToOthers) {
    const RankDevice sent{
        .host = "a", .dtype = "Float", .gpu = {}, .id = {}, .problem = "no GPU is visible"};
    const RankDevice read = rank_device_from(to_text(sent));
    EXPECT_EQ(read.host, "a");
    EXPECT_EQ(read.dtype, "Float");
    EXPECT_EQ(read.gpu, "");
    EXPECT_EQ(read.problem, "no GPU is visible");
}

}  // namespace
}  // namespace flux::train
