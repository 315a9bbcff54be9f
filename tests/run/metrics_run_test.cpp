// What a run shows of itself besides metrics.jsonl, as other programs see it.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>

#include "flux/base/file.h"
#include "support/group.h"
#include "support/http_client.h"
#include "support/process.h"
#include "support/python.h"
#include "support/reference.h"

namespace flux::test {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;

class RunMetrics : public testing::Test {
protected:
    std::filesystem::path run() const { return folder_.path() / "run"; }

    /// A small run with validation and two pictures every third step.
    std::vector<std::string> words(const std::vector<std::string>& options) const {
        std::vector<std::string> all{"--job.config_file",
                                     std::string(FLUX_SOURCE_DIR) + "/configs/debug.toml",
                                     "--job.dump_folder=" + run().string(),
                                     "--training.steps=6",
                                     "--training.batch_size=2",
                                     "--training.img_size=32",
                                     "--model.depth=1",
                                     "--model.depth_single_blocks=1",
                                     "--eval.batch_size=8",
                                     "--eval.freq_steps=3",
                                     "--eval.save_img_count=2",
                                     "--eval.denoising_steps=1",
                                     "--checkpoint.interval=4",
                                     "--checkpoint.keep_latest_k=0",
                                     "--metrics.log_freq=1"};
        all.insert(all.end(), options.begin(), options.end());
        return all;
    }

    /// The same, to be ended from outside: validation and pictures at its beginning alone.
    std::vector<std::string> endless(std::vector<std::string> options) const {
        options.insert(options.end(), {"--training.steps=1000000", "--eval.freq_steps=1000000",
                                       "--checkpoint.interval=1000000"});
        return words(options);
    }

    ProcessResult train(const std::vector<std::string>& options) const {
        return run_flux_train(words(options));
    }

    TemporaryFolder folder_;
};

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
    for (const char* part : {">finished<", "<dt>Seed</dt><dd>1234</dd>", "Sample pictures"}) {
        EXPECT_THAT(page, HasSubstr(part));
    }
    std::filesystem::remove(run() / "config.toml");
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
    const std::string a = run().string();
    const std::vector<std::pair<std::vector<std::string>, std::string>> mistakes{
        {{"report"}, "DIR is missing"},
        {{"report", a, a}, "--out FILE.html"},
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
    ::kill(process, SIGTERM);
    EXPECT_EQ(wait_for(process), 75) << read_text(log);
    EXPECT_EQ(http_get(port, "/"), "");
}

class RunWandb : public RunMetrics {
protected:
    void SetUp() override { FLUX_SKIP_WITHOUT_PYTHON_MODULE("json"); }

    std::filesystem::path calls_file() const { return folder_.path() / "calls"; }

    int train_with(const std::vector<std::string>& options, const Environment& more) {
        std::vector<std::string> all = words({"--metrics.enable_wandb"});
        all.insert(all.end(), options.begin(), options.end());
        Environment environment{{"PYTHONPATH", FLUX_SOURCE_DIR "/tests/support/fake_wandb"},
                                {"FAKE_WANDB_LOG", calls_file().string()}};
        environment.insert(environment.end(), more.begin(), more.end());
        std::filesystem::remove(folder_.path() / "log");
        const int code = wait_for(start_flux_train(all, folder_.path() / "log", environment));
        said_ = read_text(folder_.path() / "log");
        return code;
    }

    std::vector<json> calls(const std::string& name) const {
        std::vector<json> found;
        std::ifstream lines(calls_file());
        for (std::string line; std::getline(lines, line);) {
            const json call = json::parse(line);
            if (call["call"] == name) {
                found.push_back(call);
            }
        }
        return found;
    }

    std::string said_;
};

TEST_F(RunWandb, GetsEachLineOnceAndGoesOnUnderOneName) {
    ASSERT_EQ(train_with({}, {{"WANDB_PROJECT", "pictures"}}), 0) << said_;
    const json start = calls("init").at(0);
    EXPECT_EQ(start["project"], "pictures");
    EXPECT_EQ(start["resume"], "allow");
    std::vector<int64_t> trained, validated;
    for (const json& call : calls("log")) {
        const json& values = call["values"];
        EXPECT_FALSE(values.contains("train/mfu"));  // null in the file
        (values.contains("validation/val_loss_t7") ? validated : trained)
            .push_back(values["step"].get<int64_t>());
    }
    EXPECT_THAT(trained, ElementsAre(1, 2, 3, 4, 5, 6));
    EXPECT_THAT(validated, ElementsAre(0, 3, 6));
    EXPECT_EQ(calls("finish").at(0)["exit_code"], 0);
    std::filesystem::remove(calls_file());
    ASSERT_EQ(train_with({"--checkpoint.load_step=4", "--training.steps=7"}, {}), 0) << said_;
    EXPECT_EQ(calls("init").at(0)["id"], start["id"]);
    EXPECT_EQ(calls("init").at(0)["project"], "flux_train");
    EXPECT_EQ(calls("log").front()["values"]["step"], 5);
    EXPECT_EQ(calls("finish").size(), 1U);
}

TEST_F(RunWandb, WarnsOnceWhenTheForwarderDies) {
    ASSERT_EQ(train_with({}, {{"FAKE_WANDB_DIES", "3"}}), 0) << said_;
    EXPECT_EQ(calls("log").size(), 2U);
    const std::string warning = "the forwarder to Weights & Biases has ended (exit code 3";
    const size_t first = said_.find(warning);
    EXPECT_NE(first, said_.npos) << said_;
    EXPECT_EQ(said_.find(warning, first + 1), said_.npos);
    EXPECT_EQ(metric(run(), "loss").size(), 6U);
}

TEST_F(RunWandb, IsToldWhenTheRunFails) {
    EXPECT_EQ(train_with({"--training.max_skipped_steps=0", "--optimizer.lr=1e30",
                          "--lr_scheduler.warmup_steps=0", "--training.steps=100"},
                         {}),
              1);
    for (int i = 0; i < 600 && calls("finish").empty(); ++i) {
        ::usleep(100'000);
    }
    ASSERT_EQ(calls("finish").size(), 1U);
    EXPECT_EQ(calls("finish")[0]["exit_code"], 1);
}

TEST_F(RunWandb, MissingPythonOrPackageIsAConfigurationError) {
    const auto programs = folder_.path() / "bin";
    std::filesystem::create_directory(programs);
    EXPECT_EQ(train_with({}, {{"PATH", programs.string()}}), 2);
    EXPECT_THAT(said_, HasSubstr("metrics.enable_wandb = true: python3 cannot be started"));
    // Where a run left a folder wandb/ behind, Python finds that, empty, in place of the package.
    const auto empty = folder_.path() / "empty";
    std::filesystem::create_directories(empty / "wandb");
    write_text(programs / "python3", fmt::format("#!/bin/sh\nPATH='{}' exec {} -S \"$@\"\n",
                                                 std::getenv("PATH"), python()));
    std::filesystem::permissions(programs / "python3", std::filesystem::perms::owner_all);
    EXPECT_EQ(train_with({}, {{"PATH", programs.string() + ":/usr/bin:/bin"},
                              {"PYTHONPATH", empty.string()}}),
              2);
    EXPECT_THAT(said_,
                HasSubstr("command line: metrics.enable_wandb = true: the python3 on PATH has "
                          "no package wandb"));
    EXPECT_FALSE(std::filesystem::exists(run()));
}

}  // namespace
}  // namespace flux::test
