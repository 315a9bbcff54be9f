#include "flux/metrics/reporter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <cmath>
#include <csignal>
#include <limits>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "flux/base/error.h"
#include "flux/base/file.h"
#include "support/problem.h"
#include "support/reference.h"

namespace flux::metrics {
namespace {

using nlohmann::json;
using test::TemporaryFolder;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

TrainLine train_line(int64_t step) {
    TrainLine line;
    line.step = step;
    line.samples = step * 16;
    line.loss = 1.0 / 3.0;
    line.grad_norm = 0.1 + 0.2;
    line.lr = 1e-4;
    line.samples_per_s = 98.765;
    line.tflops = 0.0123;
    line.memory_gib = 1.5;
    line.memory_percent = 12.5;
    line.data_wait = 0.034;
    line.time_s = 12.25;
    return line;
}

ValidationLine validation_line(int64_t step) {
    ValidationLine line;
    line.step = step;
    line.samples = step * 16;
    line.val_loss = 0.75;
    line.val_loss_t = {1, 2, 3, 4, 5, 6, 7, 8};
    line.val_loss_t_mean = 4.5;
    line.val_samples = 64;
    line.time_s = 3;
    return line;
}

std::vector<int64_t> steps_in(const std::filesystem::path& folder) {
    std::vector<int64_t> steps;
    const std::string text = read_text(folder / "metrics.jsonl");
    for (size_t begin = 0; begin < text.size();) {
        const size_t end = text.find('\n', begin);
        if (end == std::string::npos) {
            ADD_FAILURE() << "a line without its end";
            break;
        }
        steps.push_back(json::parse(text.substr(begin, end - begin)).at("step").get<int64_t>());
        begin = end + 1;
    }
    return steps;
}

std::vector<std::string> keys_of(const std::string& text) {
    std::vector<std::string> keys;
    const auto object = nlohmann::ordered_json::parse(text);
    for (const auto& item : object.items()) {
        keys.push_back(item.key());
    }
    return keys;
}

TEST(TrainLine, HasTheDocumentedKeysInOrder) {
    EXPECT_THAT(keys_of(to_json(train_line(1))),
                ElementsAre("step", "samples", "loss", "grad_norm", "lr", "samples_per_s", "tflops",
                            "mfu", "memory_gib", "data_wait", "time_s", "run_time_s", "skipped"));
}

TEST(ValidationLine, HasTheDocumentedKeysInOrder) {
    EXPECT_THAT(
        keys_of(to_json(validation_line(1))),
        ElementsAre("step", "samples", "val_loss", "val_loss_t0", "val_loss_t1", "val_loss_t2",
                    "val_loss_t3", "val_loss_t4", "val_loss_t5", "val_loss_t6", "val_loss_t7",
                    "val_loss_t_mean", "val_samples", "time_s", "run_time_s"));
}

TEST(TrainLine, KeepsEveryBitOfItsNumbers) {
    TrainLine line = train_line(1);
    line.step = std::numeric_limits<int64_t>::max();
    for (const double loss :
         {1.0 / 3.0, 0.1 + 0.2, 5e-324, 1.7976931348623157e308, 2.0, static_cast<double>(0.1F)}) {
        line.loss = loss;
        const json read = json::parse(to_json(line));
        EXPECT_EQ(read["loss"].get<double>(), loss);
        EXPECT_EQ(read["step"].get<int64_t>(), line.step);
    }
}

TEST(TrainLine, WritesNullForWhatIsNotFinite) {
    TrainLine line = train_line(1);
    line.loss = std::nan("");
    line.grad_norm = -std::numeric_limits<double>::infinity();
    const json read = json::parse(to_json(line));
    EXPECT_TRUE(read["loss"].is_null());
    EXPECT_TRUE(read["grad_norm"].is_null());
    EXPECT_TRUE(read["mfu"].is_null());
}

TEST(TrainLine, TellsPeopleTheFigures) {
    TrainLine line = train_line(20);
    EXPECT_EQ(to_text(line, false),
              "step 20  loss 0.3333  grad norm 0.3000  lr 1.000e-04  98.77 samples/s  0.0123 "
              "TFLOP/s  MFU n/a  memory 1.50 GiB (12.5%)  data wait 3.4%");
    line.mfu = 0.163;
    line.skipped = 2;
    EXPECT_THAT(to_text(line, false), HasSubstr("MFU 16.3%"));
    EXPECT_THAT(to_text(line, false), HasSubstr("skipped 2"));
}

TEST(TrainLine, UsesColourOnlyWhenAsked) {
    EXPECT_THAT(to_text(train_line(1), true), HasSubstr("\x1b["));
    EXPECT_THAT(to_text(train_line(1), false), Not(HasSubstr("\x1b")));
    EXPECT_THAT(to_text(validation_line(1), false), Not(HasSubstr("\x1b")));
}

TEST(ValidationLine, TellsPeopleTheFigures) {
    EXPECT_EQ(to_text(validation_line(400), false),
              "step 400  validation loss 0.7500  mean over timesteps 4.5000  64 samples  per "
              "timestep 1.000 2.000 3.000 4.000 5.000 6.000 7.000 8.000");
    ValidationLine line = validation_line(400);
    line.val_loss_t = {std::nan(""), 2, 3, 4, 5, 6, 7, std::nan("")};  // without samples
    EXPECT_THAT(to_text(line, false),
                testing::EndsWith("per timestep - 2.000 3.000 4.000 5.000 6.000 7.000 -"));
    line.val_loss = std::nan("");
    EXPECT_THAT(to_text(line, false), testing::EndsWith(" 7.000 nan"));
}

TEST(Reporter, WritesEachLineAtOnceAndLogsIt) {
    const TemporaryFolder folder;
    testing::internal::CaptureStderr();
    Reporter reporter({.folder = folder.path(), .resume_step = {}});
    reporter.validation(validation_line(0));
    EXPECT_THAT(steps_in(folder.path()), ElementsAre(0));
    reporter.train(train_line(10));
    EXPECT_THAT(steps_in(folder.path()), ElementsAre(0, 10));
    const std::string log = testing::internal::GetCapturedStderr();
    EXPECT_THAT(log, HasSubstr("validation loss 0.7500"));
    EXPECT_THAT(log, HasSubstr("step 10  loss 0.3333"));
}

/// While it lives, no file of this process grows beyond so many bytes.
class FileSizeLimit {
public:
    explicit FileSizeLimit(rlim_t bytes) : handler_(std::signal(SIGXFSZ, SIG_IGN)) {
        ::getrlimit(RLIMIT_FSIZE, &before_);
        const rlimit limit{bytes, before_.rlim_max};
        ::setrlimit(RLIMIT_FSIZE, &limit);
    }
    ~FileSizeLimit() {
        ::setrlimit(RLIMIT_FSIZE, &before_);
        std::signal(SIGXFSZ, handler_);
    }
    FileSizeLimit(const FileSizeLimit&) = delete;
    FileSizeLimit& operator=(const FileSizeLimit&) = delete;

private:
    void (*handler_)(int);
    rlimit before_{};
};

TEST(Reporter, OutlivesTensorboardsFile) {
    const TemporaryFolder folder;
    constexpr size_t kRoom = 100'000;
    Reporter reporter({.folder = folder.path(),
                       .resume_step = {},
                       .tensorboard_folder = folder.path() / "tb",
                       .config_toml = std::string(kRoom, 'x')});  // leaves no room
    testing::internal::CaptureStderr();
    {
        const FileSizeLimit limit(kRoom);
        for (int64_t step = 10; step <= 30; step += 10) {
            reporter.train(train_line(step));
            reporter.validation(validation_line(step));
            reporter.pictures(step, folder.path());
        }
    }
    const std::string log = testing::internal::GetCapturedStderr();
    EXPECT_THAT(steps_in(folder.path()), ElementsAre(10, 10, 20, 20, 30, 30));
    const std::string warning = "TensorBoard sees no more of this run";
    EXPECT_THAT(log, HasSubstr("/tb/events.out.tfevents."));
    EXPECT_NE(log.find(warning), log.npos);
    EXPECT_EQ(log.find(warning), log.rfind(warning));
}

TEST(Reporter, ALineThatIsLostEndsTheRun) {
    const TemporaryFolder folder;
    Reporter reporter({.folder = folder.path(), .resume_step = {}});
    const FileSizeLimit limit(0);
    EXPECT_THROW(reporter.train(train_line(1)), Error);
}

TEST(Reporter, BeginsAnewWithoutAResume) {
    const TemporaryFolder folder;
    write_text(folder.path() / "metrics.jsonl", "{\"step\": 7}\n");
    Reporter reporter({.folder = folder.path(), .resume_step = {}});
    EXPECT_THAT(steps_in(folder.path()), ElementsAre());
}

TEST(Reporter, DropsLinesAfterResumePoint) {
    const TemporaryFolder folder;
    {
        Reporter reporter({.folder = folder.path(), .resume_step = {}});
        for (int64_t step = 10; step <= 50; step += 10) {
            reporter.train(train_line(step));
        }
        reporter.validation(validation_line(30));
        reporter.validation(validation_line(50));
    }
    Reporter reporter({.folder = folder.path(), .resume_step = 30});
    reporter.train(train_line(40));
    EXPECT_THAT(steps_in(folder.path()), ElementsAre(10, 20, 30, 30, 40));
}

std::vector<double> run_times_in(const std::filesystem::path& folder) {
    std::vector<double> times;
    std::istringstream lines(read_text(folder / "metrics.jsonl"));
    for (std::string line; std::getline(lines, line);) {
        times.push_back(json::parse(line).at("run_time_s").get<double>());
    }
    return times;
}

TEST(Reporter, CountsTheTimeOfEarlierProcesses) {
    const TemporaryFolder folder;
    TrainLine line = train_line(10);
    line.time_s = 60;
    {
        Reporter reporter({.folder = folder.path(), .resume_step = {}});
        reporter.train(line);
        reporter.train(train_line(20));
    }
    // Later than the first process's line, as after a slow start.
    line.step = 15;
    line.time_s = 330;
    ValidationLine validation = validation_line(15);
    validation.time_s = 340;
    {
        Reporter reporter({.folder = folder.path(), .resume_step = 10});
        reporter.train(line);
        reporter.validation(validation);
    }
    Reporter reporter({.folder = folder.path(), .resume_step = 15});
    line.time_s = 5;
    reporter.train(line);
    EXPECT_THAT(run_times_in(folder.path()), ElementsAre(60, 390, 400, 405));
}

TEST(Reporter, DropsALineThatAKillTore) {
    const TemporaryFolder folder;
    const std::string whole = to_json(train_line(10));
    write_text(folder.path() / "metrics.jsonl", whole + "\n" + whole.substr(0, 40));
    Reporter reporter({.folder = folder.path(), .resume_step = 20});
    EXPECT_EQ(read_text(folder.path() / "metrics.jsonl"), whole + "\n");
}

TEST(Reporter, CompletesALineThatLacksOnlyItsEnd) {
    const TemporaryFolder folder;
    write_text(folder.path() / "metrics.jsonl", to_json(train_line(10)));
    Reporter reporter({.folder = folder.path(), .resume_step = 10});
    reporter.train(train_line(20));
    EXPECT_THAT(steps_in(folder.path()), ElementsAre(10, 20));
}

TEST(Reporter, LeavesAWholeFileUntouchedOnResume) {
    const TemporaryFolder folder;
    const auto path = folder.path() / "metrics.jsonl";
    write_text(path, to_json(train_line(10)) + "\n");
    const auto before = std::filesystem::last_write_time(path);
    Reporter reporter({.folder = folder.path(), .resume_step = 10});
    EXPECT_EQ(std::filesystem::last_write_time(path), before);
}

TEST(Reporter, ResumesInAFolderWithoutMetrics) {
    const TemporaryFolder folder;
    Reporter reporter({.folder = folder.path(), .resume_step = 10});
    reporter.train(train_line(20));
    EXPECT_THAT(steps_in(folder.path()), ElementsAre(20));
}

TEST(Reporter, NamesAFolderThatIsMissing) {
    const TemporaryFolder folder;
    const auto missing = folder.path() / "missing";
    EXPECT_THAT(test::problem_of([&] { Reporter({.folder = missing, .resume_step = {}}); }),
                HasSubstr(missing.string()));
}

}  // namespace
}  // namespace flux::metrics
