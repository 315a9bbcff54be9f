// `flux_train preprocess`: training from what it wrote, kills at any moment, and what Python's
// `datasets` makes of it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <map>
#include <random>
#include <thread>

#include "flux/base/file.h"
#include "flux/data/encoding_dataset.h"
#include "run/job_words.h"
#include "support/process.h"
#include "support/python.h"
#include "support/reference.h"

namespace flux::test {
namespace {

namespace fs = std::filesystem;
constexpr int kSamples = 48;

/// A small job on the drawn shapes.
Words job(int samples) {
    return {"--job.config_file",
            std::string(FLUX_SOURCE_DIR) + "/configs/debug.toml",
            "--training.subset_size=" + std::to_string(samples),
            "--training.seed=3",
            "--training.batch_size=8",
            "--training.img_size=32",
            "--eval.dataset=",
            "--checkpoint.enable_checkpoint=false",
            "--metrics.log_freq=1"};
}

Words preprocess(int samples, const fs::path& out, const Words& more = {}) {
    return Words{"preprocess"} + job(samples) +
           Words{"--preprocessing.output_dataset_path=" + out.string()} + more;
}

/// Trains on encodings of the built-in autoencoder, whose latents are standardised as they are.
Words encoded(const fs::path& folder) {
    return stored_encodings(folder) +
           Words{"--encoder.autoencoder_shift=0", "--encoder.autoencoder_scale=1"};
}

std::vector<std::pair<int64_t, std::string>> losses_of(const fs::path& run, const Words& options) {
    const ProcessResult result =
        run_flux_train(job(kSamples) +
                       Words{"--job.dump_folder=" + run.string(),
                             "--training.steps=" + std::to_string(kSamples / 8),
                             "--training.classifier_free_guidance_prob=0.3"} +
                       options);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return metric(run, "loss");
}

TEST(RunPreprocess, TrainingFromItGivesTheLossesOfTheRawEpoch) {
    const TemporaryFolder folder;
    for (const char* compression : {"none", "zstd"}) {
        const fs::path out = folder.path() / compression;
        const ProcessResult result = run_flux_train(
            preprocess(kSamples, out, {std::string("--preprocessing.compression=") + compression}));
        ASSERT_EQ(result.exit_code, 0) << result.err;
        const auto raw = losses_of(folder.path() / "raw", {"--job.restart"});
        const auto stored =
            losses_of(folder.path() / (std::string("run_") + compression), encoded(out));
        ASSERT_EQ(raw.size(), size_t(kSamples / 8));
        ASSERT_EQ(stored.size(), raw.size());
        for (size_t i = 0; i < raw.size(); ++i) {
            EXPECT_NEAR(std::stod(stored[i].second), std::stod(raw[i].second), 1e-3);
        }
    }
}

TEST(RunPreprocess, EncodingsOfAnotherWidthAreRefusedBeforeTheRun) {
    const TemporaryFolder folder;
    const fs::path out = folder.path() / "out";
    ASSERT_EQ(run_flux_train(preprocess(8, out)).exit_code, 0);
    const ProcessResult result = run_flux_train(
        job(8) + encoded(out) +
        Words{"--job.dump_folder=" + (folder.path() / "run").string(), "--training.steps=1",
              "--encoder.empty_encodings_path=", "--training.classifier_free_guidance_prob=0",
              "--encoder.context_in_dim=4096"});
    EXPECT_EQ(result.exit_code, 2);
    EXPECT_THAT(result.err, testing::HasSubstr("encoder.context_in_dim"));
    EXPECT_FALSE(fs::exists(folder.path() / "run"));
}

/// Starts one process for each rank, as the launchers do.
std::vector<pid_t> start_ranks(int count, const Words& words, const fs::path& log) {
    std::vector<pid_t> processes;
    for (int rank = 0; rank < count; ++rank) {
        ::setenv("RANK", std::to_string(rank).c_str(), 1);
        ::setenv("LOCAL_RANK", std::to_string(rank).c_str(), 1);
        ::setenv("WORLD_SIZE", std::to_string(count).c_str(), 1);
        processes.push_back(start_flux_train(words, log));
    }
    for (const char* name : {"RANK", "LOCAL_RANK", "WORLD_SIZE"}) {
        ::unsetenv(name);
    }
    return processes;
}

void expect_every_row_once(const fs::path& out, int rows) {
    const data::EncodingDataset dataset({.path = out.string()});
    ASSERT_EQ(dataset.size(), rows);
    for (int64_t row = 0; row < rows; ++row) {
        EXPECT_EQ(std::stoll(dataset.read(row, 0).key), row);
    }
    for (const auto& entry : fs::directory_iterator(out)) {
        EXPECT_NE(entry.path().extension(), ".tmp") << entry.path();
    }
}

using Identity = std::pair<ino_t, fs::file_time_type>;

/// The finished data files: a file written again has another inode or time.
std::map<fs::path, Identity> finished_files(const fs::path& out) {
    std::map<fs::path, Identity> found;
    std::error_code none_yet;
    for (const auto& entry : fs::directory_iterator(out, none_yet)) {
        struct stat status {};
        if (entry.path().extension() == ".arrow" && ::stat(entry.path().c_str(), &status) == 0) {
            found[entry.path()] = {status.st_ino, entry.last_write_time()};
        }
    }
    return found;
}

TEST(RunPreprocess, KilledAtTenMomentsItHoldsEveryRowOnce) {
    constexpr int kRows = 6000;  // some thirty files
    const TemporaryFolder folder;
    const fs::path out = folder.path() / "out";
    const Words words = preprocess(kRows, out, {"--preprocessing.file_size_mb=1"});
    std::mt19937 random(2);
    std::map<fs::path, Identity> finished;
    for (int kill = 0; kill < 10; ++kill) {
        const pid_t process = start_flux_train(words, folder.path() / "log");
        // The first three anywhere in the start, the others once another file is finished.
        const auto give_up = std::chrono::steady_clock::now() + std::chrono::minutes(2);
        while (kill >= 3 && finished_files(out).size() == finished.size() &&
               std::chrono::steady_clock::now() < give_up) {
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(random() % (kill < 3 ? 400 : 40)));
        ::kill(process, SIGKILL);
        ASSERT_EQ(wait_for(process), 128 + SIGKILL) << "it ended before it was killed";
        const auto left = finished_files(out);
        for (const auto& [path, identity] : finished) {
            ASSERT_TRUE(left.contains(path) && left.at(path) == identity) << path;
        }
        finished = left;
    }
    EXPECT_GE(finished.size(), 7u);
    const ProcessResult result = run_flux_train(words);
    ASSERT_EQ(result.exit_code, 0) << result.err;
    const auto all = finished_files(out);
    for (const auto& [path, identity] : finished) {
        EXPECT_TRUE(all.at(path) == identity) << path << " was written again";
    }
    expect_every_row_once(out, kRows);
    const ProcessResult again = run_flux_train(words);
    EXPECT_EQ(again.exit_code, 0);
    EXPECT_THAT(again.err + again.out, testing::HasSubstr("is complete already"));
}

TEST(RunPreprocess, SeveralProcessesAreKilledAndOthersGoOn) {
    constexpr int kRows = 6000;  // some thirty files
    const TemporaryFolder folder;
    const fs::path out = folder.path() / "out", log = folder.path() / "log";
    Words words = preprocess(kRows, out, {"--preprocessing.file_size_mb=1"});
    std::erase(words, "--training.seed=3");  // the first one draws it for all
    std::mt19937 random(1);
    const auto sleep = [&](int most_ms) {
        std::this_thread::sleep_for(std::chrono::milliseconds(random() % most_ms));
    };
    for (const int count : {3, 2, 4, 3, 3}) {
        std::vector<pid_t> processes = start_ranks(count, words, log);
        std::shuffle(processes.begin(), processes.end(), random);
        for (const pid_t process : processes) {  // one after the other
            sleep(600);
            ::kill(process, SIGKILL);
            wait_for(process);
        }
    }
    const std::vector<pid_t> processes = start_ranks(3, words, log);
    sleep(300);
    ::kill(processes[1], SIGKILL);  // the other two do its part
    EXPECT_EQ(wait_for(processes[0]), 0) << read_text(log);
    EXPECT_EQ(wait_for(processes[2]), 0) << read_text(log);
    wait_for(processes[1]);
    expect_every_row_once(out, kRows);
}

TEST(RunPreprocess, SeveralProcessesWriteWhatOneWrites) {
    constexpr int kRows = 600;
    const TemporaryFolder folder;
    const fs::path log = folder.path() / "log";
    const Words small_files{"--preprocessing.file_size_mb=1"};
    const ProcessResult one = run_flux_train(preprocess(kRows, folder.path() / "one", small_files));
    ASSERT_EQ(one.exit_code, 0) << one.err;
    for (const pid_t process :
         start_ranks(3, preprocess(kRows, folder.path() / "three", small_files), log)) {
        EXPECT_EQ(wait_for(process), 0) << read_text(log);
    }
    size_t files = 0;
    for (const auto& entry : fs::recursive_directory_iterator(folder.path() / "one")) {
        if (entry.is_regular_file() && entry.path().filename() != ".lock") {
            const fs::path name = entry.path().lexically_relative(folder.path() / "one");
            EXPECT_EQ(read_text(entry.path()), read_text(folder.path() / "three" / name)) << name;
            ++files;
        }
    }
    EXPECT_GT(files, 5u);
    EXPECT_THAT(read_text(log), testing::ContainsRegex("process [123] of 3: preprocess: "));
}

TEST(RunPreprocess, ABadPlaceIsNamed) {
    const TemporaryFolder folder;
    ::setenv("RANK", "3", 1);
    ::setenv("WORLD_SIZE", "3", 1);
    const ProcessResult result = run_flux_train(preprocess(8, folder.path() / "out"));
    ::unsetenv("RANK");
    ::unsetenv("WORLD_SIZE");
    EXPECT_EQ(result.exit_code, 2);
    EXPECT_THAT(result.err, testing::HasSubstr("RANK=3 and WORLD_SIZE=3"));
}

TEST(RunPreprocess, PythonsDatasetsOpensIt) {
    FLUX_SKIP_WITHOUT_PYTHON_MODULE("datasets");
    const TemporaryFolder folder;
    const fs::path out = folder.path() / "out";
    ASSERT_EQ(run_flux_train(preprocess(kSamples, out)).exit_code, 0);
    write_text(folder.path() / "check.py",
               "import io, sys, datasets, numpy\n"
               "data = datasets.load_from_disk(sys.argv[1])\n"
               "features = {name: value.dtype for name, value in data.features.items()}\n"
               "binary = ['t5_encodings', 'clip_encodings', 'mean', 'logvar']\n"
               "assert features == {'__key__': 'string', **{name: 'binary' for name in binary},\n"
               "                    'timestep': 'int32'}, features\n"
               "assert len(set(data['__key__'])) == len(data) == int(sys.argv[2])\n"
               "for row in data:\n"
               "    for name in binary:\n"
               "        assert numpy.load(io.BytesIO(row[name])).dtype == numpy.uint16\n"
               "if len(sys.argv) > 3:\n"
               "    assert datasets.load_from_disk(sys.argv[3]).features == data.features\n");
    std::vector<std::string> words{(folder.path() / "check.py").string(), out.string(),
                                   std::to_string(kSamples)};
    if (const auto reference = reference_dir()) {
        words.push_back((*reference / "data/preprocessed/cc12m_tiny_preprocessed").string());
    }
    EXPECT_EQ(run_python(words).exit_code, 0);
}

}  // namespace
}  // namespace flux::test
