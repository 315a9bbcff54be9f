// What a run shows of itself besides metrics.jsonl, as other programs see it.
#include "run/metrics_run.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "flux/base/file.h"
#include "flux/config/run_files.h"
#include "support/group.h"
#include "support/http_client.h"
#include "support/python.h"

namespace flux::test {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using testing::Not;

TEST_F(RunMetrics, TensorboardShowsEachStepOnceAfterAResume) {
    FLUX_SKIP_WITHOUT_PYTHON_MODULE("tensorboard");
    const std::vector<std::string> events{"--metrics.enable_tensorboard"};
    ASSERT_EQ(train(events).exit_code, 0);
    const ProcessResult resumed =
        train({"--metrics.enable_tensorboard", "--checkpoint.load_step=4", "--training.steps=8"});
    ASSERT_EQ(resumed.exit_code, 0) << resumed.err;
    const json read = ask_python("read_events.py", {(run() / "tb").string()});
    json expected;
    for (const auto& [step, loss] : metric(run(), "loss")) {
        expected.push_back({step, std::stof(loss)});
    }
    EXPECT_EQ(expected.size(), 8U);
    EXPECT_EQ(read["scalars"]["train/loss"], expected);
    EXPECT_EQ(read["scalars"]["validation/val_loss_t3"].size(), 4U);  // at 0, 3, 6 and the end
    EXPECT_EQ(read["images"]["pictures/00"].size(), 4U);
    EXPECT_THAT(read["texts"]["config"].back()[1].get<std::string>(), HasSubstr("    steps = 8\n"));
    ASSERT_EQ(train({"--job.restart", "--training.steps=1"}).exit_code, 0);
    EXPECT_FALSE(std::filesystem::exists(run() / "tb"));
    EXPECT_TRUE(std::filesystem::exists(run() / "earlier-1/tb"));
}

TEST_F(RunMetrics, NamesALogFolderThatCannotBeWritten) {
    ASSERT_EQ(train({"--training.steps=4"}).exit_code, 0);
    write_text(run() / "tb", "a file in the way");
    const ProcessResult result = train({"--metrics.enable_tensorboard"});
    EXPECT_EQ(result.exit_code, 1);
    EXPECT_THAT(result.err, HasSubstr("/tb: "));
    EXPECT_THAT(result.err, HasSubstr("--metrics.save_tb_folder"));
}

TEST_F(RunMetrics, ANewRunSetsAsideEveryFileOfTheEarlierOne) {
    ASSERT_EQ(train({"--training.steps=1", "--eval.dataset="}).exit_code, 0);
    for (const std::string_view name : config::kRunFiles) {
        if (!std::filesystem::exists(run() / name)) {
            write_text(run() / name, "of an earlier run");
        }
    }
    ASSERT_EQ(train({"--job.restart", "--training.steps=1", "--eval.dataset="}).exit_code, 0);
    for (const std::string_view name : config::kRunFiles) {
        EXPECT_TRUE(std::filesystem::exists(run() / "earlier-1" / name)) << name;
    }
    EXPECT_FALSE(std::filesystem::exists(run() / "wandb"));
}

/// The JSON that a page's charts are drawn from.
std::string charts_of(const std::filesystem::path& page) {
    const std::string text = read_text(page);
    const std::string opening = "id=\"charts\">";
    const size_t begin = text.find(opening) + opening.size();
    return text.substr(begin, text.find("</script>", begin) - begin);
}

TEST_F(RunMetrics, ReportIsWrittenAnewFromTheFolder) {
    ASSERT_EQ(train({}).exit_code, 0);
    const std::string charts = charts_of(run() / "report.html");
    EXPECT_GE(json::parse(charts).size(), 10U);
    std::filesystem::remove(run() / "report.html");
    const ProcessResult report = run_flux_train({"report", run().string() + "/"});
    EXPECT_EQ(report.exit_code, 0) << report.err;
    EXPECT_EQ(charts_of(run() / "report.html"), charts);
    const std::string page = read_text(run() / "report.html");
    for (const char* part : {">finished<", "<dt>Seed</dt><dd>1234</dd>", "<dt>Device</dt>",
                             "<dt>Compute</dt><dd>float32</dd>", "Sample pictures"}) {
        EXPECT_THAT(page, HasSubstr(part));
    }
    std::filesystem::remove(run() / "report.json");
    const ProcessResult bare = run_flux_train({"report", run().string()});
    EXPECT_EQ(bare.exit_code, 0);
    EXPECT_THAT(bare.err, HasSubstr("report.json: is missing: the page shows the curves alone"));
    EXPECT_EQ(json::parse(charts_of(run() / "report.html")).size(), json::parse(charts).size() - 1);
}

TEST_F(RunMetrics, ReportRefusesAFileThatHoldsNoFigures) {
    std::filesystem::create_directories(run());
    const auto metrics = run() / "metrics.jsonl";
    for (const char* text : {"other text\n", "{\"name\": 3}\n", "no end of line"}) {
        write_text(metrics, text);
        const ProcessResult report = run_flux_train({"report", run().string()});
        EXPECT_EQ(report.exit_code, 1) << text;
        EXPECT_THAT(report.err, HasSubstr("has no line with the figures of a step")) << text;
        EXPECT_FALSE(std::filesystem::exists(run() / "report.html")) << text;
    }
    write_text(metrics, "{\"step\": 1, \"loss\": 2}\nother text\n");
    const ProcessResult torn = run_flux_train({"report", run().string()});
    EXPECT_EQ(torn.exit_code, 0);
    EXPECT_THAT(torn.err, HasSubstr("1 of its lines are not JSON and left out"));
    write_text(metrics, "");
    EXPECT_EQ(run_flux_train({"report", run().string()}).exit_code, 0);
}

TEST_F(RunMetrics, ReportComparesRuns) {
    ASSERT_EQ(train({}).exit_code, 0);
    const auto other = folder_.path() / "other";
    ASSERT_EQ(train({"--job.dump_folder=" + other.string(), "--optimizer.lr=0.0005",
                     "--job.description=half the rate"})
                  .exit_code,
              0);
    const auto page = folder_.path() / "both.html";
    const ProcessResult report =
        run_flux_train({"report", run().string(), other.string(), "--out", page.string()});
    ASSERT_EQ(report.exit_code, 0) << report.err;
    EXPECT_EQ(json::parse(charts_of(page))[0]["series"].size(), 2U);
    EXPECT_THAT(read_text(page), HasSubstr("<th>optimizer.lr</th><td>0.001</td><td>0.0005</td>"));
    EXPECT_THAT(read_text(page), HasSubstr("half the rate"));
    EXPECT_THAT(read_text(page), Not(HasSubstr("<th>job.")));
    write_text(other / "config.toml", "[training]\nunheard_of = 1\n");
    const ProcessResult stranger =
        run_flux_train({"report", run().string(), other.string(), "--out", page.string()});
    EXPECT_EQ(stranger.exit_code, 0) << stranger.err;
    EXPECT_THAT(stranger.err, HasSubstr("the options of this run are left out"));
    const std::string a = run().string();
    std::vector<std::string> many(26, a);
    many.front() = "report";
    const std::vector<std::pair<std::vector<std::string>, std::string>> mistakes{
        {{"report"}, "DIR is missing"},
        {{"report", a, a}, "--out FILE.html"},
        {many, "report: 25 runs: one page compares up to 24"},
        {{"report", a, "--out", a + "/metrics.jsonl"}, "must end with .html"},
        {{"report", a, "--training.steps=1"}, "reads no configuration"}};
    for (const auto& [words_given, message] : mistakes) {
        const ProcessResult result = run_flux_train(words_given);
        EXPECT_EQ(result.exit_code, 2) << message;
        EXPECT_THAT(result.err, HasSubstr(message));
    }
    const ProcessResult nowhere = run_flux_train({"report", folder_.path().string()});
    EXPECT_EQ(nowhere.exit_code, 1);
    EXPECT_THAT(nowhere.err, HasSubstr("holds no metrics.jsonl"));
}

// A browser that shows nothing; FLUX_BROWSER names one that is not on PATH.
std::filesystem::path browser() {
    if (const char* named = std::getenv("FLUX_BROWSER")) {
        return named;
    }
    for (const char* name :
         {"/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"}) {
        if (std::filesystem::exists(name)) {
            return name;
        }
    }
    return {};
}

class RunBrowser : public RunMetrics {
protected:
    void SetUp() override {
        if (browser().empty()) {
            GTEST_SKIP() << "needs Chromium: install it or set FLUX_BROWSER";
        }
    }

    /// The page as scripts have made it, after all that the browser has to say about it.
    std::string look_at(const std::string& address, int width) const {
        const auto log = folder_.path() / "browser.log";
        std::filesystem::remove(log);
        const pid_t process = start_program(
            browser(),
            {"--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
             "--enable-logging=stderr", "--window-size=" + std::to_string(width) + ",900",
             "--dump-dom", address},
            log, {{"HOME", folder_.path().string()}});
        EXPECT_EQ(wait_for(process), 0);
        return read_text(log);
    }

    /// Every chart is drawn, no script complains, nothing is wider than the window. A frame is the
    /// window: those of the browser itself cannot be as narrow as a telephone.
    void expect_readable(const std::filesystem::path& page) const {
        std::string quoted;
        for (const char c : read_text(page)) {
            quoted += c == '&' ? "&amp;" : c == '"' ? "&quot;" : std::string(1, c);
        }
        for (const int width : {1280, 400}) {
            write_text(
                folder_.path() / "frame.html",
                fmt::format("<iframe width='{}' height='900' srcdoc=\"{}\"></iframe><script>"
                            "onload = () => {{"
                            "  const inner = frames[0].document, page = inner.documentElement;"
                            "  const charts = inner.querySelectorAll('svg[viewBox]').length;"
                            "  document.title = `${{charts}} charts, ${{page.scrollWidth}} wide`;"
                            "}};</script>",
                            width, quoted));
            const std::string seen =
                look_at("file://" + folder_.path().string() + "/frame.html", 1400);
            EXPECT_EQ(seen.find("CONSOLE"), seen.npos) << seen.substr(0, 5000);
            const std::string title = fmt::format("<title>{} charts, {} wide",
                                                  json::parse(charts_of(page)).size(), width);
            EXPECT_NE(seen.find(title), seen.npos) << title << seen.substr(seen.find("<head"), 300);
        }
    }

    static size_t count_of(const std::string& text, const std::string& part) {
        size_t count = 0;
        for (size_t at = text.find(part); at != text.npos; at = text.find(part, at + 1)) {
            ++count;
        }
        return count;
    }
};

TEST_F(RunBrowser, DrawsTheReportAndTheComparison) {
    ASSERT_EQ(train({}).exit_code, 0);
    expect_readable(run() / "report.html");
    const auto both = folder_.path() / "both.html";
    ASSERT_EQ(run_flux_train({"report", run().string(), run().string(), "--out", both.string()})
                  .exit_code,
              0);
    expect_readable(both);
}

/// The first response with `part` in it, within a minute.
std::string awaited(int port, const std::string& path, const std::string& part) {
    for (int i = 0; i < 600; ++i) {
        const std::string response = http_get(port, path);
        if (response.find(part) != response.npos) {
            return response;
        }
        ::usleep(100'000);
    }
    ADD_FAILURE() << part << " never came";
    return {};
}

TEST_F(RunBrowser, DrawsTheLivePage) {
    const int port = free_port();
    const auto log = folder_.path() / "log";
    const pid_t process =
        start_flux_train(endless({"--metrics.http_port=" + std::to_string(port)}), log);
    awaited(port, "/", "Validation loss by timestep");
    const std::string seen = look_at(fmt::format("http://127.0.0.1:{}/", port), 1280);
    EXPECT_EQ(seen.find("CONSOLE"), seen.npos) << seen.substr(0, 5000);
    EXPECT_GE(count_of(seen, "<svg viewBox"), 2U);
    EXPECT_GE(count_of(seen, "src=\"data:image/png"), 2U);
    ::kill(process, SIGKILL);
    wait_for(process);
}

TEST_F(RunMetrics, ServesTheRunWhileItGoesOn) {
    const int port = free_port();
    const std::string option = "--metrics.http_port=" + std::to_string(port);
    const auto log = folder_.path() / "log";
    const pid_t process = start_flux_train(endless({option}), log);
    const std::string page = awaited(port, "/", ">running<");
    EXPECT_THAT(page, HasSubstr("HTTP/1.1 200 OK"));
    EXPECT_THAT(page, HasSubstr("</html>"));
    const std::string figures = awaited(port, "/metrics", "\nflux_train_steps_total ");
    EXPECT_THAT(figures, HasSubstr("\nflux_train_validation_loss "));
    EXPECT_THAT(http_get(port, "/config.toml"), HasSubstr("HTTP/1.1 404"));
    const ProcessResult second =
        train({option, "--job.dump_folder=" + (folder_.path() / "second").string()});
    EXPECT_EQ(second.exit_code, 2) << second.err;
    EXPECT_THAT(second.err, HasSubstr("command line: metrics.http_port = " + std::to_string(port)));
    EXPECT_FALSE(std::filesystem::exists(folder_.path() / "second"));
    const ProcessResult early = run_flux_train({"report", run().string()});
    EXPECT_EQ(early.exit_code, 0) << early.err;
    EXPECT_THAT(early.err, HasSubstr("keeps its report.html up to date"));
    ::kill(process, SIGTERM);
    EXPECT_EQ(wait_for(process), 75) << read_text(log);
    EXPECT_EQ(http_get(port, "/"), "");
}

TEST_F(RunMetrics, ReportKnowsHowARunEnded) {
    const auto log = folder_.path() / "log";
    for (const auto& [signal, status] :
         {std::pair(SIGTERM, ">stopped<"), std::pair(SIGKILL, ">interrupted<")}) {
        const pid_t process = start_flux_train(endless({"--eval.dataset="}), log);
        for (int i = 0; i < 600 && metric(run(), "loss").empty(); ++i) {
            ::usleep(100'000);
        }
        ::kill(process, signal);
        wait_for(process);
        const ProcessResult report = run_flux_train({"report", run().string()});
        EXPECT_EQ(report.exit_code, 0) << report.err;
        EXPECT_THAT(read_text(run() / "report.html"), HasSubstr(status));
        std::filesystem::remove_all(run());
    }
}

}  // namespace
}  // namespace flux::test
