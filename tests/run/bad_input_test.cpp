// What users get wrong: each ends with the promised exit code and a message that names place, value
// and remedy.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <unistd.h>

#include <fstream>
#include <sstream>

#include "flux/base/file.h"
#include "support/process.h"
#include "support/reference.h"
#include "support/tar_member.h"

namespace flux::test {
namespace {

using testing::HasSubstr;

const std::string kDebug = std::string(FLUX_SOURCE_DIR) + "/configs/debug.toml";

class RunBadInput : public testing::Test {
protected:
    std::string path(const std::string& name) const { return (folder_.path() / name).string(); }

    void write(const std::string& name, const std::string& text) const {
        std::ofstream(folder_.path() / name, std::ios::binary) << text;
    }

    /// A short run of the default job with `options`.
    ProcessResult train(const std::vector<std::string>& options) const {
        std::vector<std::string> words{"--job.config_file",      kDebug,
                                       "--job.dump_folder",      path("run"),
                                       "--training.steps=12",    "--training.batch_size=4",
                                       "--training.img_size=32", "--eval.dataset=",
                                       "--model.depth=1",        "--model.depth_single_blocks=1",
                                       "--metrics.log_freq=1"};
        words.insert(words.end(), options.begin(), options.end());
        return run_flux_train(words);
    }

    void expect_failure(const std::vector<std::string>& options, int code,
                        const std::vector<std::string>& messages) const {
        const ProcessResult result = train(options);
        EXPECT_EQ(result.exit_code, code) << result.err;
        for (const std::string& message : messages) {
            EXPECT_THAT(result.err, HasSubstr(message));
        }
    }

    TemporaryFolder folder_;
};

TEST_F(RunBadInput, ConfigurationEndsWithTwo) {
    expect_failure({"--training.stepz=5"}, 2, {"training.stepz", "training.steps"});
    expect_failure({"--trainin.steps=5"}, 2, {"trainin.steps"});
    expect_failure({"--training.steps=many"}, 2, {"--training.steps=many"});
    expect_failure({"--training.batch_size=0"}, 2, {"--training.batch_size=0", "from 1 to"});
    expect_failure({"--model.axes_dim=8,12,16"}, 2, {"8,12,16", "36", "32"});
    expect_failure({"--training.global_batch_size=6"}, 2,
                   {"training.global_batch_size", "training.batch_size"});
    expect_failure({"--training.dataset=shapez"}, 2, {"shapez", "shapes"});
    expect_failure({"--model.flavor=flux-huge"}, 2, {"flux-huge", "flux-schnell"});
    expect_failure(
        {"--optimizer.no_weight_decay=*.bias,*.bais"}, 2,
        {"command line: optimizer.no_weight_decay: \"*.bais\" fits no parameter", "img_in.weight"});
    EXPECT_FALSE(std::filesystem::exists(path("run")));
}

TEST_F(RunBadInput, FilesNameTheirLine) {
    EXPECT_EQ(run_flux_train({"--job.config_file", path("none.toml")}).exit_code, 2);
    write("key.toml", "[training]\nsteps = 5\nbatch_sise = 4\n");
    ProcessResult result = run_flux_train({"--job.config_file", path("key.toml")});
    EXPECT_EQ(result.exit_code, 2);
    EXPECT_THAT(result.err, HasSubstr("key.toml:3: training.batch_sise"));
    EXPECT_THAT(result.err, HasSubstr("training.batch_size"));
    write("syntax.toml", "[training]\nsteps = = 5\n");
    result = run_flux_train({"--job.config_file", path("syntax.toml")});
    EXPECT_EQ(result.exit_code, 2);
    EXPECT_THAT(result.err, HasSubstr("syntax.toml:2:9"));
    EXPECT_EQ(run_flux_train({"trane"}).exit_code, 2);
}

TEST_F(RunBadInput, DataSetsThatAreNotThere) {
    expect_failure({"--training.dataset=webdataset", "--training.dataset_path=" + path("nowhere")},
                   2, {"command line: training.dataset_path = ", "nowhere: no such file"});
    std::filesystem::create_directory(folder_.path() / "empty");
    expect_failure({"--eval.dataset=coco", "--eval.dataset_path=" + path("empty")}, 2,
                   {"command line: eval.dataset_path = ", "empty: the folder holds no tar shard"});
    write("job.toml", "[training]\nsteps = 2\ndataset = \"shpes\"\n[model]\nnum_heads = 5\n");
    const ProcessResult name =
        run_flux_train({"--job.config_file", path("job.toml"), "--model.num_heads=unset",
                        "--model.flavor=flux-tiny"});
    EXPECT_EQ(name.exit_code, 2);
    EXPECT_THAT(name.err, HasSubstr("job.toml:3: training.dataset = \"shpes\": unknown"));
    const ProcessResult heads = run_flux_train({"--job.config_file", path("job.toml")});
    EXPECT_EQ(heads.exit_code, 2);
    EXPECT_THAT(heads.err, HasSubstr("job.toml:5: model.hidden_size"));
    expect_failure({"--model.flavor=flux-schnell", "--model.depth=9999"}, 1,
                   {"billion parameters", "GiB", "choose a smaller model.flavor"});
}

TEST_F(RunBadInput, PicturesThatAreText) {
    std::string tar;
    for (int i = 0; i < 20; ++i) {
        const std::string key = "sample" + std::to_string(i);
        tar += test::tar_member(key + ".jpg", "this is no picture") +
               test::tar_member(key + ".txt", "a caption");
    }
    write("text.tar", tar + std::string(1024, '\0'));
    expect_failure({"--training.dataset=webdataset", "--training.dataset_path=" + path("text.tar")},
                   1, {"text.tar"});
}

// Half of the samples are bad: a run shorter than an epoch must find that out as well.
TEST_F(RunBadInput, ShortRunsOnBadDataEndToo) {
    ASSERT_EQ(run_flux_train({"data", "shapes", "--out", path("shards"), "--samples", "60",
                              "--img_size", "32"})
                  .exit_code,
              0);
    std::string bad;
    for (int i = 0; i < 60; ++i) {
        const std::string key = "bad" + std::to_string(i);
        bad += test::tar_member(key + ".jpg", "no picture") +
               test::tar_member(key + ".txt", "a caption");
    }
    write("shards/bad.tar", bad + std::string(1024, '\0'));
    expect_failure({"--training.dataset=webdataset", "--training.dataset_path=" + path("shards")},
                   1, {"too many bad samples", "bad.tar"});
    EXPECT_THAT(read_text(path("run/report.html")), HasSubstr(">failed<"));
}

TEST_F(RunBadInput, FewBadSamplesAreReplacedAndCounted) {
    ASSERT_EQ(run_flux_train({"data", "shapes", "--out", path("shards"), "--samples", "40",
                              "--img_size", "32"})
                  .exit_code,
              0);
    write("shards/zz-bad.tar", test::tar_member("bad.jpg", "this is no picture") +
                                   test::tar_member("bad.txt", "a caption") +
                                   std::string(1024, '\0'));
    const std::vector<std::string> data{"--training.dataset=webdataset",
                                        "--training.dataset_path=" + path("shards") + "/*.tar"};
    std::vector<std::string> tolerant = data;
    tolerant.push_back("--training.max_bad_fraction=0.1");
    const ProcessResult result = train(tolerant);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    EXPECT_THAT(result.err, HasSubstr("bad"));
    std::filesystem::remove_all(path("run"));
    std::vector<std::string> strict = data;
    strict.insert(strict.end(), {"--training.max_bad_fraction=0.001"});
    expect_failure(strict, 1, {"training.max_bad_fraction"});
    const ProcessResult more = train(tolerant);  // loses no step
    EXPECT_EQ(more.exit_code, 0) << more.err;
    EXPECT_THAT(more.err, HasSubstr("going on from"));
}

/// Writes a shard of that many pictures, cuts it inside the last one and returns its path.
std::string truncated_shard(const std::string& folder, int samples) {
    const ProcessResult written = run_flux_train({"data", "shapes", "--out", folder, "--samples",
                                                  std::to_string(samples), "--img_size", "32"});
    EXPECT_EQ(written.exit_code, 0) << written.err;
    const auto shard = std::filesystem::directory_iterator(folder)->path();
    const size_t header = read_text(shard).rfind(".png") / 512 * 512;
    std::filesystem::resize_file(shard, header + 512 + 50);
    return shard.string();
}

TEST_F(RunBadInput, TruncatedShardIsSkippedBelowTheLimit) {
    const std::string shard = truncated_shard(path("shards"), 400);
    const ProcessResult result =
        train({"--training.dataset=webdataset", "--training.dataset_path=" + shard});
    EXPECT_EQ(result.exit_code, 0) << result.err;
    EXPECT_THAT(result.err, HasSubstr(std::filesystem::path(shard).filename().string()));
}

// Of so few samples the broken one is a larger share than the limit, and every epoch meets it.
TEST_F(RunBadInput, TruncatedShardEndsTheRunAboveTheLimit) {
    const std::string shard = truncated_shard(path("shards"), 10);
    expect_failure({"--training.dataset=webdataset", "--training.dataset_path=" + shard,
                    "--training.max_bad_fraction=0.01"},
                   1,
                   {std::filesystem::path(shard).filename().string(), "training.max_bad_fraction"});
}

TEST_F(RunBadInput, FolderThatCannotBeWritten) {
    write("file", "in the way");
    expect_failure({"--job.dump_folder=" + path("file") + "/run"}, 1,
                   {"file", "--job.dump_folder"});
}

TEST_F(RunBadInput, DiskFullWhileSavingKeepsTheOlderCheckpoint) {
    const std::string disk = path("disk");
    std::filesystem::create_directory(disk);
    if (::mount("tmpfs", disk.c_str(), "tmpfs", 0, "size=14m") != 0) {
        GTEST_SKIP() << "needs the right to mount a small tmpfs";
    }
    // A checkpoint of this model has some 9 MB: the second one does not fit.
    const ProcessResult result = train({"--job.dump_folder=" + disk, "--checkpoint.interval=4"});
    EXPECT_EQ(result.exit_code, 1) << result.err;
    EXPECT_THAT(result.err, HasSubstr("No space left on device"));
    EXPECT_TRUE(std::filesystem::exists(disk + "/checkpoint/step-4/checkpoint.json"));
    EXPECT_EQ(run_flux_train(
                  {"checkpoint", "export", "--checkpoint", disk, "--out", path("out.safetensors")})
                  .exit_code,
              0);
    ::umount(disk.c_str());
}

TEST_F(RunBadInput, LastingNonFiniteLossEndsTheRun) {
    expect_failure({"--optimizer.lr=1e30", "--lr_scheduler.warmup_steps=0",
                    "--training.max_skipped_steps=3", "--training.steps=40"},
                   1, {"not finite", "training.max_skipped_steps = 3"});
}

TEST_F(RunBadInput, CommandsNameWhatTheyMiss) {
    EXPECT_EQ(run_flux_train({"sample"}).exit_code, 2);
    const ProcessResult missing =
        run_flux_train({"sample", "--checkpoint", path("nothing"), "--prompt", "x"});
    EXPECT_EQ(missing.exit_code, 1);
    EXPECT_THAT(missing.err, HasSubstr("nothing"));
    EXPECT_EQ(run_flux_train({"data", "shapes", "--out", path("x")}).exit_code, 2);
    EXPECT_EQ(run_flux_train({"checkpoint", "export"}).exit_code, 2);
}

/// What --print-config printed, but for the name of the file that was read.
std::string without_file_name(const std::string& toml) {
    std::istringstream lines(toml);
    std::string rest;
    for (std::string line; std::getline(lines, line);) {
        if (line.find("config_file = ") == line.npos) {
            rest += line + "\n";
        }
    }
    return rest;
}

TEST_F(RunBadInput, HelpAndPrintConfigKeepStdoutClean) {
    const ProcessResult help = run_flux_train({"--help"});
    EXPECT_EQ(help.exit_code, 0);
    for (const char* text : {"sample", "checkpoint", "training.batch_size",
                             "training.local_batch_size", "words", "dct"}) {
        EXPECT_THAT(help.out, HasSubstr(text));
    }
    const ProcessResult printed =
        run_flux_train({"--job.config_file", kDebug, "--print-config", "--training.seq_len=7"});
    EXPECT_EQ(printed.exit_code, 0);
    EXPECT_THAT(printed.err, HasSubstr("training.seq_len"));
    write("again.toml", printed.out);
    const ProcessResult again =
        run_flux_train({"--job.config_file", path("again.toml"), "--print-config"});
    EXPECT_EQ(again.exit_code, 0) << again.err;
    EXPECT_THAT(printed.out, HasSubstr("\nseq_len = 7\n"));
    EXPECT_EQ(without_file_name(again.out), without_file_name(printed.out));
}

}  // namespace
}  // namespace flux::test
