#include "metrics/history.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "flux/base/file.h"
#include "metrics/curves.h"
#include "support/reference.h"

namespace flux::metrics {
namespace {

using test::TemporaryFolder;
using testing::ElementsAre;

TEST(ParseMetricsLine, ReadsNumbersAndNulls) {
    const auto fields = parse_metrics_line(
        R"({"step": 3, "loss":-1.5e-3 ,"mfu": null, "host": "a \" }", "done": true})");
    ASSERT_TRUE(fields);
    EXPECT_EQ(fields->size(), 3U);
    EXPECT_EQ(find_value(*fields, "step"), 3);
    EXPECT_EQ(find_value(*fields, "loss"), -1.5e-3);
    EXPECT_TRUE(std::isnan(find_value(*fields, "mfu").value()));
    EXPECT_EQ(find_value(*fields, "other"), std::nullopt);
    EXPECT_TRUE(parse_metrics_line("{}"));
}

TEST(ParseMetricsLine, RefusesEveryTornLine) {
    const std::string whole = R"({"step": 3, "loss": 0.25, "note": "a\"b", "mfu": null})";
    ASSERT_TRUE(parse_metrics_line(whole));
    for (size_t size = 0; size < whole.size(); ++size) {
        EXPECT_FALSE(parse_metrics_line(whole.substr(0, size))) << whole.substr(0, size);
    }
    EXPECT_FALSE(parse_metrics_line(whole + "x"));
    EXPECT_FALSE(parse_metrics_line(R"({"step": nan})"));
}

TEST(History, ReadsOnlyWhatWasAppended) {
    const TemporaryFolder folder;
    const auto path = folder.path() / "metrics.jsonl";
    History history(path);
    history.refresh();
    EXPECT_TRUE(history.column("loss").x.empty());
    AppendFile file(path);
    file.write("{\"step\": 1, \"loss\": 5}\nnot json\n{\"step\": 2, \"lo");
    history.refresh();
    EXPECT_THAT(history.column("loss").value, ElementsAre(5));
    file.write("ss\": 4}\n{\"step\": 2, \"val_loss\": 9}\n");
    history.refresh();
    EXPECT_THAT(history.column("loss").x, ElementsAre(1, 2));
    EXPECT_THAT(history.column("loss").value, ElementsAre(5, 4));
    EXPECT_THAT(history.column("val_loss").x, ElementsAre(2));
}

TEST(History, TellsSamplesAndTimeOverAResume) {
    const TemporaryFolder folder;
    const auto path = folder.path() / "metrics.jsonl";
    write_text(path, R"({"step": 0, "samples": 0, "val_loss": 3, "time_s": 2, "run_time_s": 2}
{"step": 1, "samples": 16, "loss": 5, "time_s": 10, "run_time_s": 10}
{"step": 2, "samples": 32, "loss": 4, "time_s": 11, "run_time_s": 14.5}
{"step": 2, "samples": 32, "val_loss": 2, "time_s": 12.5, "run_time_s": 16}
{"step": 3, "samples": null, "loss": 3, "run_time_s": null}
)");
    History history(path);
    history.refresh();
    EXPECT_EQ(history.seconds(), 16);
    EXPECT_THAT(history.column("loss", Axis::kSeconds).x, ElementsAre(10, 14.5, 16));
    EXPECT_THAT(history.column("val_loss", Axis::kSeconds).x, ElementsAre(2, 16));
    EXPECT_THAT(history.column("val_loss", Axis::kSamples).x, ElementsAre(0, 32));
    EXPECT_THAT(history.column("loss", Axis::kStep).x, ElementsAre(1, 2, 3));
    EXPECT_TRUE(std::isnan(history.column("loss", Axis::kSamples).x[2]));
    EXPECT_THAT(thin(history.column("loss", Axis::kSamples), 5).value, ElementsAre(5, 4));
    EXPECT_TRUE(history.column("other", Axis::kSamples).x.empty());
}

TEST(History, ReadsAReplacedFileFromTheStart) {
    const TemporaryFolder folder;
    const auto path = folder.path() / "metrics.jsonl";
    write_text(path, "{\"step\": 1, \"loss\": 5}\n");
    History history(path);
    history.refresh();
    write_text(path, "{\"step\": 1, \"loss\": 6}\n{\"step\": 2, \"loss\": 7}\n");
    history.refresh();
    EXPECT_THAT(history.column("loss").value, ElementsAre(6, 7));
}

TEST(Thin, KeepsExtremesAndOrder) {
    Column column;
    for (int i = 0; i < 100'000; ++i) {
        column.x.push_back(i);
        column.value.push_back(std::sin(i * 0.01));
    }
    column.value[54'321] = 100;
    column.value[12'345] = -100;
    column.value[777] = std::nan("");
    const Column thinned = thin(column, 300);
    EXPECT_LE(thinned.x.size(), 600U);
    EXPECT_TRUE(std::is_sorted(thinned.x.begin(), thinned.x.end()));
    EXPECT_EQ(*std::max_element(thinned.value.begin(), thinned.value.end()), 100);
    EXPECT_EQ(*std::min_element(thinned.value.begin(), thinned.value.end()), -100);
    for (const double value : thinned.value) {
        EXPECT_TRUE(std::isfinite(value));
    }
}

TEST(Thin, LeavesShortColumnsWhole) {
    const Column column{.x = {1, 2, 3}, .value = {3, INFINITY, 1}};
    const Column thinned = thin(column, 2);
    EXPECT_THAT(thinned.x, ElementsAre(1, 3));
    EXPECT_THAT(thinned.value, ElementsAre(3, 1));
}

TEST(Smooth, IsTheMeanOfConstantsAndPassesOverGaps) {
    const Column column{.x = {1, 2, 3}, .value = {2, std::nan(""), 2}};
    const Column smoothed = smooth(column);
    EXPECT_THAT(smoothed.x, ElementsAre(1, 3));
    EXPECT_THAT(smoothed.value, ElementsAre(testing::DoubleEq(2), testing::DoubleEq(2)));
}

TEST(TimeUnit, ReadsWellAtAnyLength) {
    EXPECT_EQ(time_unit(100).name, "seconds");
    EXPECT_EQ(time_unit(600).name, "minutes");
    EXPECT_EQ(time_unit(86400).name, "hours");
    const Column column{.x = {0, 1800}, .value = {1, 2}};
    EXPECT_THAT(in_unit(column, time_unit(86400)).x, ElementsAre(0, 0.5));
}

TEST(JsonText, CannotLeaveItsPlaceInAPage) {
    EXPECT_EQ(json_text("a\"b\\</script>\n"), R"("a\u0022b\u005c\u003c/script>\u000a")");
}

}  // namespace
}  // namespace flux::metrics
