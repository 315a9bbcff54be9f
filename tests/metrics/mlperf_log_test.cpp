#include "flux/metrics/mlperf_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "flux/base/file.h"
#include "support/reference.h"

namespace flux::metrics {
namespace {

using nlohmann::json;

class MlperfLogTest : public testing::Test {
protected:
    std::string text() const { return read_text(folder_.path() / "mlperf_compliance.log"); }

    /// "block_start 64": each line's key and samples, -1 without.
    std::vector<std::string> events() const {
        std::vector<std::string> events;
        std::istringstream lines(text());
        for (std::string line; std::getline(lines, line);) {
            EXPECT_TRUE(line.starts_with(":::MLLOG {")) << line;
            const json event = json::parse(line.substr(9));
            events.push_back(event.at("key").get<std::string>() + " " +
                             std::to_string(event.at("metadata").value("samples_count", -1)));
        }
        return events;
    }

    std::vector<std::string> events_after(const std::string& key) const {
        std::vector<std::string> all = events();
        const auto from = std::find(all.begin(), all.end(), key);
        return {from, all.end()};
    }

    /// Two steps of 8, validated after each; the second validation and the end if `whole`.
    void run(bool whole) const {
        MlperfLog log(folder_.path(), facts_, std::nullopt);
        log.run_starts();
        log.step_starts(0);
        log.trained(8, 1.5, 1e-4);
        log.validation_starts(8);
        log.validation_ends(8, 0.9);
        log.step_starts(8);
        log.step_starts(8);
        log.trained(16, 1.25, 1e-4);
        log.validation_starts(16);
        if (whole) {
            log.validation_ends(16, 0.5);
            log.run_stops(16, true);
            log.run_stops(16, false);  // what follows the run does not change how it ended
        }
    }

    test::TemporaryFolder folder_;
    MlperfFacts facts_{.submission_org = "a \"b\" \\", .submission_platform = "CPU", .seed = ~0ULL};
};

TEST_F(MlperfLogTest, BlocksAndValidationsFollowEachOther) {
    run(true);
    EXPECT_THAT(
        events_after("init_start -1"),
        testing::ElementsAre("init_start -1", "init_stop -1", "run_start -1", "block_start 0",
                             "train_loss 8", "block_stop 8", "eval_start 8", "eval_accuracy 8",
                             "eval_stop 8", "block_start 8", "train_loss 16", "block_stop 16",
                             "eval_start 16", "eval_accuracy 16", "eval_stop 16", "run_stop 16"));
    EXPECT_THAT(text(), testing::HasSubstr(R"("status":"success")"));
    EXPECT_THAT(text(), testing::HasSubstr(R"("value":18446744073709551615)"));
    EXPECT_THAT(text(), testing::HasSubstr(R"("value":"a \"b\" \\")"));
}

TEST_F(MlperfLogTest, BytesThatAreNoTextDoNotEndARun) {
    facts_.config_filename = "caf\xe9.toml";
    run(true);
    EXPECT_THAT(text(), testing::HasSubstr("\"value\":\"caf\xef\xbf\xbd.toml\""));
}

TEST_F(MlperfLogTest, TheOpenDivisionNamesItsLossToo) {
    facts_.open_division = true;
    run(true);
    EXPECT_THAT(events(), testing::Contains("averaged_validation_loss 16"));
    EXPECT_THAT(events(), testing::Contains("eval_accuracy 16"));
}

TEST_F(MlperfLogTest, AResumedRunKeepsWhatWasBeforeItsCheckpoint) {
    run(true);
    const std::string whole = text();
    {
        MlperfLog log(folder_.path(), facts_, 8);
        log.run_starts();  // the clock still runs
        log.step_starts(8);
        log.trained(16, 1.25, 1e-4);
    }
    EXPECT_THAT(events_after("eval_stop 8"),
                testing::ElementsAre("eval_stop 8", "block_start 8", "train_loss 16"));
    EXPECT_EQ(text().substr(0, 200), whole.substr(0, 200));
    EXPECT_THAT(events(), testing::Contains("run_start -1").Times(1));
    EXPECT_THAT(events(), testing::Not(testing::Contains("run_stop 16")));
}

TEST_F(MlperfLogTest, AValidationThatWasBrokenOffBeginsAgain) {
    run(false);
    MlperfLog log(folder_.path(), facts_, 16);
    log.validation_starts(16);
    EXPECT_THAT(events_after("train_loss 16"),
                testing::ElementsAre("train_loss 16", "block_stop 16", "eval_start 16"));
}

TEST_F(MlperfLogTest, ATornLineGoesAndALogWithoutStartBeginsAnew) {
    run(true);
    write_text(folder_.path() / "mlperf_compliance.log", text() + ":::MLLOG {\"key\": \"tor");
    {
        const MlperfLog resumed(folder_.path(), facts_, 16);
        EXPECT_EQ(events().back(), "eval_stop 16");
        EXPECT_THAT(text(), testing::Not(testing::HasSubstr("tor")));
    }
    write_text(folder_.path() / "mlperf_compliance.log", "not a log\n");
    MlperfLog log(folder_.path(), facts_, 8);
    log.run_starts();
    EXPECT_EQ(events().front(), "cache_clear -1");
    EXPECT_THAT(events(), testing::Contains("run_start -1").Times(1));
}

}  // namespace
}  // namespace flux::metrics
