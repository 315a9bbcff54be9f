// The report's structure, without a browser: what is on the page, and that nothing a run contains
// can break out of its place.
#include "flux/metrics/html_report.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <random>
#include <set>

#include "flux/base/file.h"
#include "flux/base/png.h"
#include "support/problem.h"
#include "support/reference.h"

namespace flux::metrics {
namespace {

using nlohmann::json;
using test::TemporaryFolder;

constexpr const char* kHostile = R"x(</script></style><img src=x onerror="alert('1')"> & more)x";
constexpr const char* kHostileEscaped =
    "&lt;/script&gt;&lt;/style&gt;&lt;img src=x onerror=&quot;alert(&#39;1&#39;)&quot;&gt; &amp; "
    "more";

/// A run's folder that the tests fill.
struct FakeRun {
    TemporaryFolder folder;

    void add_train_lines(int count) {
        std::string text;
        for (int i = 1; i <= count; ++i) {
            TrainLine line;
            line.step = i * 10;
            line.samples = i * 160;
            line.loss = 0.5 + 1.5 / i;
            line.grad_norm = 1.0 + 0.1 * std::sin(i);
            line.lr = 1e-3;
            line.samples_per_s = 100;
            line.memory_gib = 2;
            line.data_wait = 0.01;
            line.run_time_s = i;
            text += to_json(line) + "\n";
        }
        AppendFile(folder.path() / "metrics.jsonl").write(text);
    }

    void add_validation_line(int64_t step, double loss) {
        ValidationLine line;
        line.step = step;
        line.samples = step * 16;
        line.run_time_s = static_cast<double>(step) / 10;
        line.val_loss = loss;
        line.val_loss_t.fill(loss);
        AppendFile(folder.path() / "metrics.jsonl").write(to_json(line) + "\n");
    }

    void add_picture(int64_t step, const std::string& name, const std::string& prompt,
                     int64_t side = 16, const std::string& picture_folder = "img") {
        const auto place = folder.path() / picture_folder / fmt::format("step-{:06}", step);
        std::filesystem::create_directories(place);
        std::vector<uint8_t> rgb(static_cast<size_t>(side * side * 3));
        std::mt19937 random(1);  // noise does not compress
        for (uint8_t& value : rgb) {
            value = static_cast<uint8_t>(random());
        }
        const PngText text{"prompt", prompt};
        write_png(place / name, {rgb.data(), side, side}, {&text, 1});
    }

    std::string report(const ReportInput& input = {}) {
        HtmlReport(folder.path()).write(input);
        return read_text(folder.path() / "report.html");
    }
};

/// Every opened element is closed in order; returns what is wrong, or nothing.
std::string nesting_problem(std::string_view page) {
    const std::set<std::string_view> empty = {"meta", "img", "br"};
    std::vector<std::string_view> open;
    for (size_t at = page.find('<'); at != std::string_view::npos; at = page.find('<', at)) {
        const size_t end = page.find('>', at);
        if (end == std::string_view::npos) {
            return "a tag without its end";
        }
        const std::string_view tag = page.substr(at + 1, end - at - 1);
        at = end + 1;
        if (tag.starts_with('!')) {
            continue;
        }
        if (tag.starts_with('/')) {
            if (open.empty() || open.back() != tag.substr(1)) {
                return fmt::format("</{}> where {} is open", tag.substr(1),
                                   open.empty() ? "nothing" : open.back());
            }
            open.pop_back();
            continue;
        }
        const std::string_view name = tag.substr(0, tag.find_first_of(" \n"));
        if (name == "script" || name == "style") {  // no markup inside
            at = page.find(fmt::format("</{}>", name), at);
        }
        if (!empty.contains(name)) {
            open.push_back(name);
        }
    }
    return open.empty() ? "" : fmt::format("<{}> is never closed", open.back());
}

json charts_of(const std::string& page) {
    const std::string opening = "<script type=\"application/json\" id=\"charts\">";
    const size_t begin = page.find(opening) + opening.size();
    return json::parse(page.substr(begin, page.find("</script>", begin) - begin));
}

/// Names the part that is missing, not the whole page.
testing::AssertionResult holds(const std::string& page, const std::string& part) {
    const bool found = page.find(part) != std::string::npos;
    return (found ? testing::AssertionSuccess() : testing::AssertionFailure())
           << (found ? "on the page: " : "not on the page: ") << part;
}

size_t count_of(const std::string& text, const std::string& part) {
    size_t count = 0;
    for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) {
        ++count;
    }
    return count;
}

TEST(HtmlReport, ShowsTheFiguresOfTheRun) {
    FakeRun run;
    run.add_validation_line(0, 2.02);
    run.add_train_lines(160);
    run.add_validation_line(1600, 0.71);
    ReportInput input;
    input.title = "flux_train: debug";
    input.description = "default job";
    input.status = "running";
    input.total_steps = 3200;
    input.timestep_counts = {1, 2, 1};
    input.config_toml = "[training]\nsteps = 1600\n";
    input.facts = {{"Parameters", "2,345,678"}};
    const std::string page = run.report(input);
    EXPECT_EQ(nesting_problem(page), "");
    for (const char* part :
         {"<title>flux_train: debug</title>", "default job", ">running<", "1,600",
          "of 3,200 (50 %)", "25,600", "first 2.0200, best 0.7100",
          "<dt>Parameters</dt><dd>2,345,678</dd>", "steps = 1600", "MFU n/a", ">2:40<"}) {
        EXPECT_TRUE(holds(page, part));
    }
}

TEST(HtmlReport, GivesTheChartsTheirData) {
    FakeRun run;
    run.add_train_lines(20);
    run.add_validation_line(0, 2.02);
    run.add_validation_line(200, 0.75);
    ReportInput input;
    input.validation_timesteps = {0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875};
    input.timestep_counts = {1, 3};
    const std::string page = run.report(input);
    const json charts = charts_of(page);
    EXPECT_EQ(charts.size(), count_of(page, "data-chart=\""));
    ASSERT_EQ(charts.size(), 11U);
    const json& loss = charts[0]["series"];
    ASSERT_EQ(loss.size(), 3U);
    EXPECT_EQ(loss[0]["x"].size(), 20U);
    EXPECT_EQ(loss[0]["y"][0], 2.0);
    EXPECT_EQ(loss[2]["y"], json({2.02, 0.75}));
    EXPECT_EQ(charts[0]["axis"], "step");
    EXPECT_EQ(charts[1]["axis"], "samples");
    EXPECT_EQ(charts[1]["series"][0]["x"][19], 3200);
    EXPECT_EQ(charts[1]["series"][1]["x"], json({0, 3200}));
    EXPECT_EQ(charts[2]["axis"], "seconds");
    EXPECT_EQ(charts[2]["series"][0]["x"][0], 1);
    EXPECT_EQ(charts[3]["series"].size(), 8U);
    EXPECT_EQ(charts[3]["series"][7]["name"], "t = 0.875");
    EXPECT_EQ(charts[4]["bars"], json({25.0, 75.0}));
}

TEST(HtmlReport, EscapesHostileText) {
    FakeRun run;
    run.add_train_lines(3);
    run.add_picture(10, "00.png", kHostile);
    ReportInput input;
    input.config_toml = std::string("# ") + kHostile + "\n";
    input.title = input.description = input.status = kHostile;
    input.facts = {{kHostile, kHostile}};
    const std::string page = run.report(input);
    EXPECT_EQ(nesting_problem(page), "");
    EXPECT_FALSE(holds(page, "<img src=x"));
    // Title twice, description, status, a fact's two halves, configuration, a prompt twice.
    EXPECT_EQ(count_of(page, kHostileEscaped), 9U);
}

TEST(ReportInput, IsKeptInTheFolder) {
    const FakeRun run;
    EXPECT_FALSE(load_report_input(run.folder.path()));
    ReportInput input{.title = "flux_train: debug",
                      .description = kHostile,
                      .status = "caf\xe9",
                      .picture_folder = "pictures",
                      .total_steps = 1600,
                      .validation_timesteps = {0, 0.125},
                      .timestep_counts = {1, 2, 3},
                      .facts = {{"Device", "CPU"}, {"Compute", "float32"}},
                      .config_toml = "[job]\nseed = 1\n"};
    save_report_input(run.folder.path(), input);
    const auto read = load_report_input(run.folder.path());
    ASSERT_TRUE(read);
    EXPECT_EQ(read->status, "caf\xef\xbf\xbd");  // bytes that are no text end no run
    HtmlReport(run.folder.path()).write(*read);
    const std::string again = read_text(run.folder.path() / "report.html");
    input.status = read->status;
    HtmlReport(run.folder.path()).write(input);
    EXPECT_EQ(again, read_text(run.folder.path() / "report.html"));
}

TEST(ReportInput, NamesAFileThatIsNone) {
    const FakeRun run;
    for (const char* text : {"", "{", "[]", "{\"title\": 1}", "{\"title\": \"a\"}"}) {
        write_text(run.folder.path() / "report.json", text);
        const std::string problem = test::problem_of([&] { load_report_input(run.folder.path()); });
        EXPECT_TRUE(holds(problem, "/report.json: is not what a run keeps")) << text;
    }
}

TEST(HtmlReport, LeavesOutWhatIsNotFinite) {
    FakeRun run;
    run.add_train_lines(3);
    TrainLine line;
    line.step = 40;
    line.loss = std::nan("");
    line.grad_norm = INFINITY;
    line.skipped = 1;
    AppendFile(run.folder.path() / "metrics.jsonl").write(to_json(line) + "\n");
    const std::string page = run.report();
    EXPECT_TRUE(holds(page, "Skipped steps"));
    EXPECT_TRUE(holds(page, "last n/a"));
    const json loss = charts_of(page)[0]["series"][0];
    EXPECT_EQ(loss["x"], json({10, 20, 30}));
}

TEST(HtmlReport, IsWrittenForAnEmptyFolder) {
    FakeRun run;
    const std::string page = run.report();
    EXPECT_EQ(nesting_problem(page), "");
    EXPECT_TRUE(holds(page, "No numbers yet."));
    EXPECT_EQ(charts_of(page), json::array());
}

TEST(HtmlReport, NeedsNoNetwork) {
    FakeRun run;
    run.add_train_lines(3);
    run.add_picture(10, "00.png", "a cat");
    const std::string page = run.report();
    EXPECT_EQ(count_of(page, "src=\""), count_of(page, "src=\"data:"));
    EXPECT_EQ(count_of(page, "http"), count_of(page, "http://www.w3.org/2000/svg"));
    EXPECT_FALSE(holds(page, "<link"));
    EXPECT_FALSE(holds(page, "@import"));
}

TEST(HtmlReport, ShowsPicturesWithTheirPromptsNewestFirst) {
    FakeRun run;
    run.add_picture(0, "00.png", "a red circle");
    run.add_picture(400, "00.png", "a blue circle \xE2\x98\x83");
    run.add_picture(400, "01.png", "");
    const std::string page = run.report();
    EXPECT_EQ(count_of(page, "src=\"data:image/png;base64,"), 3U);
    EXPECT_LT(page.find("Step 400"), page.find("Step 0"));
    EXPECT_TRUE(holds(page, "<figcaption>a red circle</figcaption>"));
    EXPECT_TRUE(holds(page, "<figcaption>a blue circle \xE2\x98\x83</figcaption>"));
    EXPECT_TRUE(holds(page, "<figcaption>01</figcaption>"));
}

TEST(HtmlReport, ScalesLargePicturesDown) {
    FakeRun run;
    run.add_picture(10, "00.png", "large", 1024);
    const std::string page = run.report();
    EXPECT_TRUE(holds(page, "width=\"1024\""));
    EXPECT_TRUE(holds(page, "data:image/webp;base64,"));
    EXPECT_LT(page.size(), 300'000U);
}

TEST(HtmlReport, ShowsNoMoreStepsThanFitAPage) {
    FakeRun run;
    for (int64_t step = 0; step < 40; ++step) {
        run.add_picture(step, "00.png", "a cat");
    }
    const std::string page = run.report();
    const size_t shown = count_of(page, "<summary>Step ");
    EXPECT_LE(shown, 12U);
    EXPECT_GE(shown, 8U);
    for (const char* step : {"Step 39<", "Step 38<", "Step 37<", "Step 36<", "Step 0<"}) {
        EXPECT_TRUE(holds(page, step));
    }
    EXPECT_TRUE(holds(page, fmt::format("{} of 40 steps", shown)));
}

TEST(HtmlReport, ReadsPicturesFromTheFolderItIsTold) {
    FakeRun run;
    for (int64_t step = 0; step < 40; ++step) {
        run.add_picture(step, "00.png", "a dog", 16, "drawn & seen/by step");
    }
    run.add_picture(10, "00.png", "a cat");
    ReportInput input;
    input.picture_folder = "drawn & seen/by step";
    const std::string page = run.report(input);
    EXPECT_TRUE(holds(page, "<figcaption>a dog</figcaption>"));
    EXPECT_FALSE(holds(page, "<figcaption>a cat</figcaption>"));
    EXPECT_TRUE(holds(page, "all pictures are in drawn &amp; seen/by step/."));
    input.picture_folder.clear();
    EXPECT_FALSE(holds(run.report(input), "<figcaption>"));
}

TEST(HtmlReport, NamesAPictureThatCannotBeRead) {
    FakeRun run;
    run.add_picture(10, "00.png", "a cat");
    const auto bad = run.folder.path() / "img/step-000010/01.png";
    write_text(bad, "not a picture");
    const std::string page = run.report();
    EXPECT_TRUE(holds(page, "01.png: not a PNG file"));
    EXPECT_EQ(nesting_problem(page), "");
}

TEST(HtmlReport, FollowsTheRunBetweenRewrites) {
    FakeRun run;
    HtmlReport report(run.folder.path());
    run.add_train_lines(5);
    run.add_picture(10, "00.png", "before");
    report.write({});
    run.add_validation_line(60, 0.5);
    run.add_picture(10, "00.png", "after");
    std::filesystem::last_write_time(
        run.folder.path() / "img/step-000010/00.png",
        std::filesystem::file_time_type::clock::now() + std::chrono::seconds(2));
    report.write({});
    const std::string page = read_text(run.folder.path() / "report.html");
    EXPECT_TRUE(holds(page, "first 0.5000"));
    EXPECT_TRUE(holds(page, "<figcaption>after</figcaption>"));
    EXPECT_FALSE(holds(page, "<figcaption>before</figcaption>"));
    for (const auto& path : list_folder(run.folder.path())) {
        EXPECT_NE(path.extension(), ".tmp") << path;
    }
}

TEST(HtmlReport, IsSmallForLongRuns) {
    FakeRun run;
    run.add_train_lines(10'000);
    HtmlReport(run.folder.path()).write({});
    EXPECT_LT(std::filesystem::file_size(run.folder.path() / "report.html"), 200'000U);
}

}  // namespace
}  // namespace flux::metrics
