#include "flux/metrics/comparison.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <set>

#include "flux/base/file.h"
#include "flux/metrics/reporter.h"
#include "support/reference.h"

namespace flux::metrics {
namespace {

using nlohmann::json;
using test::TemporaryFolder;
using testing::HasSubstr;
using testing::Not;

void write_run(const std::filesystem::path& folder, int lines, double slope, int64_t batch) {
    std::filesystem::create_directories(folder);
    std::string text;
    for (int step = 1; step <= lines; ++step) {
        TrainLine line;
        line.step = step;
        line.samples = step * batch;
        line.loss = 2 - slope * step;
        line.data_wait = 0.5;
        line.run_time_s = 400.0 * step;
        text += to_json(line) + "\n";
        if (step % 5 == 0) {
            ValidationLine validation;
            validation.step = step;
            validation.samples = line.samples;
            validation.val_loss = step == 5 ? 0.25 : 1.0;
            validation.run_time_s = line.run_time_s + 1;
            text += to_json(validation) + "\n";
        }
    }
    write_text(folder / "metrics.jsonl", text);
}

json charts_of(const std::string& page) {
    const std::string opening = "<script type=\"application/json\" id=\"charts\">";
    const size_t begin = page.find(opening) + opening.size();
    return json::parse(page.substr(begin, page.find("</script>", begin) - begin));
}

TEST(Comparison, LaysRunsOverEachOther) {
    const TemporaryFolder folder;
    write_run(folder.path() / "a", 10, 0.1, 16);
    write_run(folder.path() / "b", 100, 0.01, 32);
    write_comparison(
        folder.path() / "out.html",
        {{folder.path() / "a", "a", "small"}, {folder.path() / "b", "</script>\"", "large"}},
        {{"optimizer.lr", {"0.001", "<b>"}}});
    const std::string page = read_text(folder.path() / "out.html");
    const json charts = charts_of(page);
    EXPECT_GE(charts.size(), 8U);
    const json& loss = charts[0]["series"];
    ASSERT_EQ(loss.size(), 2U);
    EXPECT_EQ(loss[1]["name"], "</script>\"");
    EXPECT_EQ(loss[0]["x"].back(), 160);
    EXPECT_EQ(loss[1]["x"].back(), 3200);
    EXPECT_NE(loss[0]["color"], loss[1]["color"]);
    EXPECT_EQ(charts[2]["axis"], "hours");
    EXPECT_EQ(charts[2]["series"][0]["kind"], "points");
    for (const char* part : {">0.2500 at 80<", ">0.2500 at 160<", "50.0 %", "<td>0.001</td>",
                             "&lt;b&gt;", "&lt;/script&gt;&quot;", ">small<"}) {
        EXPECT_THAT(page, HasSubstr(part));
    }
    EXPECT_THAT(page, Not(HasSubstr("<b>")));
}

TEST(Comparison, TellsTheMostRunsApartOnASmallPage) {
    const TemporaryFolder folder;
    std::vector<ComparedRun> runs;
    for (size_t i = 0; i < kMostComparedRuns; ++i) {
        const auto run = folder.path() / fmt::format("run-{}", i);
        write_run(run, 1000, 0.001, 16);
        runs.push_back({run, run.filename().string(), ""});
    }
    write_comparison(folder.path() / "out.html", runs, {});
    const std::string page = read_text(folder.path() / "out.html");
    EXPECT_LT(page.size(), 600'000U);
    std::set<std::string> looks;
    const json charts = charts_of(page);
    for (const json& series : charts[0]["series"]) {
        looks.insert(series["color"].get<std::string>() + series["dash"].get<std::string>());
    }
    EXPECT_EQ(looks.size(), kMostComparedRuns);
}

TEST(Comparison, ShowsARunWithoutNumbers) {
    const TemporaryFolder folder;
    write_text(folder.path() / "metrics.jsonl", "");
    write_comparison(folder.path() / "out.html", {{folder.path(), "empty", ""}}, {});
    const std::string page = read_text(folder.path() / "out.html");
    EXPECT_THAT(page, HasSubstr("n/a"));
    EXPECT_EQ(charts_of(page), json::array());
}

}  // namespace
}  // namespace flux::metrics
