// Every command that may take long says how far it is.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "flux/base/file.h"
#include "run/job_words.h"
#include "support/process.h"
#include "support/reference.h"

namespace flux::test {
namespace {

using testing::HasSubstr;

class RunProgress : public testing::Test {
protected:
    std::string path(const std::string& name) const { return (folder_.path() / name).string(); }

    /// What a command says when each step of its progress is a line.
    std::string lines_of(const Words& words, int exit_code = 0,
                         const std::string& interval = "0") const {
        const std::filesystem::path log = path("log");
        std::filesystem::remove(log);
        EXPECT_EQ(wait_for(start_flux_train(words, log, {{"PROGRESS_INTERVAL_S", interval}})),
                  exit_code)
            << read_text(log);
        return read_text(log);
    }
    static Words small_job() {
        return {"--job.config_file",
                std::string(FLUX_SOURCE_DIR) + "/configs/debug.toml",
                "--training.img_size=32",
                "--training.batch_size=4",
                "--training.seed=1",
                "--model.depth=1",
                "--model.depth_single_blocks=1",
                "--training.device=cpu",
                "--eval.dataset="};
    }

    TemporaryFolder folder_;
};

TEST_F(RunProgress, ShowsInTheDataTools) {
    EXPECT_THAT(lines_of({"data", "shapes", "--out", path("shards"), "--samples", "12"}),
                HasSubstr("shapes 100% 12/12 samples"));
    EXPECT_THAT(lines_of({"data", "inspect", path("shards")}),
                AllOf(HasSubstr("inspect   0% 0/1 shards"), HasSubstr("12 pictures"),
                      HasSubstr("inspect 100% 1/1 shards")));
    EXPECT_THAT(lines_of({"data", "find-problematic", "--input_dir", path("shards"),
                          "--output_file", path("bad.txt")}),
                HasSubstr("decode 100% 1/1 shards"));
    EXPECT_THAT(lines_of({"data", "clean-cc12m", "--input_dir", path("shards"), "--output_dir",
                          path("clean"), "--filter_file", path("bad.txt"), "--subset_size", "12",
                          "--output_size", "16"}),
                HasSubstr("clean 100% 12/12 pictures"));
    EXPECT_THAT(lines_of({"data", "inspect", path("clean")}),
                HasSubstr("inspect 100% 12/12 pictures"));
    EXPECT_THAT(lines_of(Words{"preprocess"} + small_job() +
                         Words{"--training.subset_size=12",
                               "--preprocessing.output_dataset_path=" + path("encoded")}),
                HasSubstr("preprocess 100% 12/12 samples"));
    EXPECT_THAT(lines_of({"data", "inspect", path("encoded")}),
                HasSubstr("inspect 100% 12/12 samples"));
}

TEST_F(RunProgress, ShowsInTrainingAndInWhatFollows) {
    EXPECT_THAT(lines_of(small_job() + Words{"--job.dump_folder=" + path("run"),
                                             "--training.steps=2", "--checkpoint.interval=2"}),
                HasSubstr("train 100% 2/2 steps"));
    EXPECT_THAT(lines_of({"checkpoint", "inspect", path("run"), "--verify"}),
                HasSubstr("verify 100% "));
    const Words from{"--checkpoint", path("run"), "--out"};
    EXPECT_THAT(lines_of(Words{"checkpoint", "export"} + from + Words{path("model.safetensors")}),
                HasSubstr("export 100% "));
    EXPECT_THAT(lines_of(Words{"checkpoint", "export"} + from +
                         Words{path("transformer"), "--format", "diffusers"}),
                HasSubstr("export 100% "));
    EXPECT_THAT(lines_of(Words{"sample"} + from +
                         Words{path("pictures"), "--prompt", "a red circle",
                               "--inference.img_size=32", "--eval.denoising_steps=2"}),
                HasSubstr("sample 100% 1/1 pictures"));
}

TEST_F(RunProgress, RefusesAnIntervalThatIsNone) {
    const std::string script = FLUX_SOURCE_DIR "/scripts/download_coco.sh";
    for (const std::string interval : {"often", "-1", "nan", "1e9", "5 ", "0.5", "007", "100000"}) {
        const std::string complaint = "PROGRESS_INTERVAL_S=" + interval + ": must be";
        EXPECT_THAT(lines_of(small_job() + Words{"--job.dump_folder=" + path("run")}, 2, interval),
                    HasSubstr(complaint));
        EXPECT_FALSE(std::filesystem::exists(path("run")));
        const auto log = path("script.log");
        EXPECT_NE(wait_for(start_program(script, {"--dry-run", "--local_dir=" + path("coco")}, log,
                                         {{"PROGRESS_INTERVAL_S", interval}})),
                  0);
        EXPECT_THAT(read_text(log), HasSubstr(complaint));
        std::filesystem::remove(log);
    }
}

}  // namespace
}  // namespace flux::test
