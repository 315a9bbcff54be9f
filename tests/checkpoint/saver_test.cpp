// Asynchronous saves that fail: what is said, and that later ones work.
#include "flux/checkpoint/saver.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "example.h"
#include "flux/checkpoint/folder.h"
#include "flux/dist/world.h"
#include "support/group.h"
#include "support/reference.h"

namespace flux::checkpoint::test {
namespace {

using flux::test::TemporaryFolder;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

/// Steps 1 to 5 of two processes' parts or one's; what `breaks` says of a step and this process is
/// done to its first piece. Returns what was logged.
std::string save_five(const SaverSettings& settings, int processes,
                      const std::function<bool(int64_t step)>& breaks) {
    testing::internal::CaptureStderr();
    {
        Saver saver(settings);
        for (int64_t step = 1; step <= 5; ++step) {
            auto pieces = part_of(example_pieces(step), settings.group.rank, processes);
            if (breaks(step)) {
                pieces.front().end = 1 << 20;  // a bug: not an Error, but c10::Error
            }
            saver.save(example_run(step), std::move(pieces), /*now=*/false);
        }
    }
    return testing::internal::GetCapturedStderr();
}

void expect_one_three_and_five(const std::filesystem::path& folder) {
    const auto found = committed(folder);
    ASSERT_EQ(found.size(), 3u);
    for (const int64_t step : {1, 3, 5}) {
        EXPECT_EQ(difference(found.at(step), example_pieces(step)), "");
    }
}

TEST(Saver, ReportsWhateverFailsAndGoesOn) {
    const TemporaryFolder folder;
    const std::string log = save_five({.folder = folder.path(), .mode = config::AsyncMode::kAsync},
                                      1, [](int64_t step) { return step % 2 == 0; });
    for (const char* text : {"the checkpoint of step 2 was not saved: ", "training goes on",
                             "the checkpoint of step 4 was not saved: ", "step-3"}) {
        EXPECT_THAT(log, HasSubstr(text));
    }
    EXPECT_THAT(log, Not(HasSubstr("frame #")));
    expect_one_three_and_five(folder.path());
}

TEST(DistSaver, WhateverFailsOnOneRankIsReportedByTheFirstAndSavingGoesOn) {
    if (!flux::test::in_group(2)) {
        return;
    }
    const TemporaryFolder folder;
    dist::World world(dist::process_place(), {});
    const std::filesystem::path shared = world.from_first("folder", folder.path().string());
    const SaverSettings settings{
        .folder = shared,
        .mode = config::AsyncMode::kAsync,
        .group = {.rank = world.rank(), .exchange = world.make_exchange("save")}};
    const std::string log = save_five(settings, 2, [&](int64_t step) {
        return step == 2 ? world.rank() == 1 : step == 4 && world.rank() == 0;
    });
    if (world.is_first()) {
        EXPECT_THAT(log, AllOf(HasSubstr("the checkpoint of step 2 was not saved: rank 1: "),
                               HasSubstr("the checkpoint of step 4 was not saved: rank 0: "),
                               HasSubstr("training goes on")));
        expect_one_three_and_five(shared);
    } else {
        EXPECT_EQ(log.find(" warning "), std::string::npos) << log;  // said once
    }
}

}  // namespace
}  // namespace flux::checkpoint::test
