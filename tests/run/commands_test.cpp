// The subcommands besides train, run as a user would on what a short training left behind.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <set>

#include "flux/base/file.h"
#include "flux/base/png.h"
#include "flux/base/safetensors.h"
#include "flux/model/mmdit.h"
#include "support/process.h"
#include "support/reference.h"

namespace flux::test {
namespace {

using testing::HasSubstr;

const std::string kDebug = std::string(FLUX_SOURCE_DIR) + "/configs/debug.toml";

/// Trains one small model for all tests of the suite.
class RunCommands : public testing::Test {
protected:
    static void SetUpTestSuite() {
        trained_ = new TemporaryFolder;
        const ProcessResult result = train(trained_path("run"), {"--checkpoint.folder=weights"});
        ASSERT_EQ(result.exit_code, 0) << result.err;
    }
    static void TearDownTestSuite() {
        delete trained_;
        trained_ = nullptr;
    }

    static std::string trained_path(const std::string& name) {
        return (trained_->path() / name).string();
    }

    static ProcessResult train(const std::string& folder, const std::vector<std::string>& options) {
        std::vector<std::string> words{"--job.config_file",       kDebug,
                                       "--job.dump_folder",       folder,
                                       "--training.steps=6",      "--training.batch_size=2",
                                       "--training.img_size=32",  "--eval.dataset=",
                                       "--model.depth=1",         "--model.depth_single_blocks=1",
                                       "--metrics.log_freq=1",    "--checkpoint.interval=3",
                                       "--training.device=cpu",   "--inference.img_size=32",
                                       "--eval.denoising_steps=2"};
        words.insert(words.end(), options.begin(), options.end());
        return run_flux_train(words);
    }

    std::string path(const std::string& name) const { return (folder_.path() / name).string(); }

    /// The prompts inside the pictures of a folder, by file name.
    static std::vector<std::pair<std::string, std::string>> prompts_in(const std::string& folder) {
        std::vector<std::pair<std::string, std::string>> found;
        for (const auto& entry : std::filesystem::directory_iterator(folder)) {
            found.emplace_back(entry.path().filename().string(),
                               read_png_text(entry.path()).at("prompt"));
        }
        std::sort(found.begin(), found.end());
        return found;
    }

    TemporaryFolder folder_;

private:
    static inline TemporaryFolder* trained_ = nullptr;
};

TEST_F(RunCommands, SampleDrawsEachPrompt) {
    std::ofstream(path("prompts.txt")) << "a red circle\r\n\na blue square\n";
    const ProcessResult result = run_flux_train({"sample", "--checkpoint", trained_path("run"),
                                                 "--prompts", path("prompts.txt"), "--prompt",
                                                 "a cat", "--pictures", "2", "--out", path("out")});
    ASSERT_EQ(result.exit_code, 0) << result.err;
    using Pictures = std::vector<std::pair<std::string, std::string>>;
    EXPECT_EQ(prompts_in(path("out")), (Pictures{{"0000-00.png", "a cat"},
                                                 {"0000-01.png", "a cat"},
                                                 {"0001-00.png", "a red circle"},
                                                 {"0001-01.png", "a red circle"},
                                                 {"0002-00.png", "a blue square"},
                                                 {"0002-01.png", "a blue square"}}));
    EXPECT_NE(read_text(path("out/0000-00.png")), read_text(path("out/0000-01.png")));
    const ProcessResult single =
        run_flux_train({"sample", "--checkpoint", trained_path("run/weights/step-6/"), "--prompt",
                        "a cat", "--out", path("single"), "--inference.img_size=64"});
    ASSERT_EQ(single.exit_code, 0) << single.err;
    const auto pictures = prompts_in(path("single"));
    EXPECT_EQ(pictures, (Pictures{{"0000-00.png", "a cat"}}));
}

TEST_F(RunCommands, NothingIsReplaced) {
    const std::vector<std::string> draw{"sample", "--checkpoint", trained_path("run"), "--prompt",
                                        "a cat",  "--out",        path("out")};
    const ProcessResult first = run_flux_train(draw);
    ASSERT_EQ(first.exit_code, 0) << first.err;
    EXPECT_THAT(first.err, HasSubstr("1 picture in "));
    EXPECT_THAT(first.err, testing::Not(HasSubstr("does nothing")));
    const std::string picture = read_text(path("out/0000-00.png"));
    const ProcessResult again = run_flux_train(draw);
    EXPECT_EQ(again.exit_code, 1);
    EXPECT_THAT(again.err, HasSubstr("0000-00.png: exists already"));
    EXPECT_EQ(read_text(path("out/0000-00.png")), picture);
    const std::string manifest = trained_path("run/weights/step-6/checkpoint.json");
    const ProcessResult exported = run_flux_train(
        {"checkpoint", "export", "--checkpoint", trained_path("run"), "--out", manifest});
    EXPECT_EQ(exported.exit_code, 1);
    EXPECT_THAT(exported.err, HasSubstr("exists already and is not replaced"));
}

TEST_F(RunCommands, SampleNamesWhatIsWrongWithThePrompts) {
    const auto sample = [&](const std::vector<std::string>& more) {
        std::vector<std::string> words{"sample", "--checkpoint", trained_path("run"), "--out",
                                       path("out")};
        words.insert(words.end(), more.begin(), more.end());
        return run_flux_train(words);
    };
    std::ofstream(path("bad.txt")) << "a cat\na \xff dog\n";
    EXPECT_THAT(sample({"--prompts", path("bad.txt")}).err,
                HasSubstr("bad.txt:2: is not UTF-8 at byte 2"));
    std::ofstream(path("blank.txt")) << "  \n\t\n";
    EXPECT_THAT(sample({"--prompts", path("blank.txt")}).err, HasSubstr("holds no prompt"));
    const ProcessResult none = sample({"--inference.prompts_path=" + path("none.txt")});
    EXPECT_EQ(none.exit_code, 2);
    EXPECT_THAT(none.err, HasSubstr("say what to draw with --prompt TEXT or --prompts FILE"));
    EXPECT_FALSE(std::filesystem::exists(path("out")));
}

TEST_F(RunCommands, ToolsTellTheirFlagsAndTheVersionIsKnown) {
    const std::vector<std::pair<std::string, std::string>> tools{{"data", "shapes"},
                                                                 {"checkpoint", "--out"}};
    for (const auto& [tool, word] : tools) {
        const ProcessResult help = run_flux_train({tool, "--help"});
        EXPECT_EQ(help.exit_code, 0);
        EXPECT_THAT(help.out, HasSubstr(word));
        EXPECT_EQ(run_flux_train({tool}).exit_code, 2);
    }
    EXPECT_THAT(run_flux_train({"--version"}).out, testing::StartsWith("flux_train 0."));
}

TEST_F(RunCommands, SamplePrintsItsConfigurationAlone) {
    const ProcessResult result =
        run_flux_train({"sample", "--checkpoint", trained_path("run"), "--print-config",
                        "--inference.batch_size=3", "--training.seq_len=7"});
    EXPECT_EQ(result.exit_code, 0) << result.err;
    EXPECT_THAT(result.out, testing::StartsWith("[job]\n"));
    EXPECT_THAT(result.out, HasSubstr("\nbatch_size = 3\n"));
    EXPECT_THAT(result.out, HasSubstr("\ndepth_single_blocks = 1\n"));  // the checkpoint's own
    EXPECT_THAT(result.err, HasSubstr("training.seq_len does nothing"));
}

TEST_F(RunCommands, ExportWritesPublishedNames) {
    const ProcessResult result =
        run_flux_train({"checkpoint", "export", "--checkpoint", trained_path("run/weights/"),
                        "--out", path("model.safetensors"), "--dtype", "bfloat16"});
    ASSERT_EQ(result.exit_code, 0) << result.err;
    const SafetensorsFile file(path("model.safetensors"));
    model::FluxConfig config = model::flavor("flux-tiny");
    config.depth = config.depth_single_blocks = 1;
    std::set<std::string> published;
    for (const auto& unit : model::make_units(config)) {
        for (const auto& parameter : unit->parameters()) {
            published.insert(parameter.name);
            EXPECT_EQ(file.info(parameter.name).dtype, at::kBFloat16);
        }
    }
    EXPECT_TRUE(published.contains("double_blocks.0.img_attn.norm.key_norm.scale"));
    EXPECT_EQ(file.names().size(), published.size());
    EXPECT_EQ(run_flux_train({"checkpoint", "export", "--checkpoint", trained_path("run"), "--out",
                              path("x"), "--dtype", "int8"})
                  .exit_code,
              2);
    for (const std::pair<const char*, const char*>& flag :
         {std::pair("--format", "gguf"), std::pair("--shard-gb", "0"),
          std::pair("--shard-gb", "x")}) {
        const ProcessResult refused =
            run_flux_train({"checkpoint", "export", "--checkpoint", trained_path("run"), "--out",
                            path("x"), flag.first, flag.second});
        EXPECT_EQ(refused.exit_code, 2);
        EXPECT_THAT(refused.err, HasSubstr(std::string(flag.first) + " " + flag.second));
    }
}

// The newest of all folders in the run's folder is taken, whatever their names; what a former run
// left (earlier-N/) is not of this run.
TEST_F(RunCommands, ARunsFolderMeansItsNewestCheckpoint) {
    namespace fs = std::filesystem;
    const auto copy = [&](const std::string& step, const std::string& folder) {
        fs::create_directories(path(folder));
        fs::copy(trained_path("run/weights/" + step), path(folder + "/" + step),
                 fs::copy_options::recursive);
    };
    copy("step-3", "run/older");
    copy("step-6", "run/newer");
    copy("step-6", "run/earlier-1/weights");
    fs::create_directories(path("run/torn/step-9"));
    const auto exported = [&] {
        fs::remove(path("x"));
        return run_flux_train(
            {"checkpoint", "export", "--checkpoint", path("run"), "--out", path("x")});
    };
    EXPECT_THAT(exported().err, HasSubstr("newer/step-6"));
    fs::remove_all(path("run/newer"));
    EXPECT_THAT(exported().err, HasSubstr("older/step-3"));
    fs::remove_all(path("run/older"));
    const ProcessResult nothing = exported();
    EXPECT_EQ(nothing.exit_code, 1);
    EXPECT_THAT(nothing.err, HasSubstr("holds a complete checkpoint"));
}

TEST_F(RunCommands, ShapesCanBeTrainedOn) {
    const ProcessResult written =
        run_flux_train({"data", "shapes", "--out", path("shards"), "--samples", "50", "--img_size",
                        "32", "--samples_per_shard", "20"});
    ASSERT_EQ(written.exit_code, 0) << written.err;
    EXPECT_THAT(written.err, HasSubstr("50 pictures in 3 shards"));
    const ProcessResult result = train(
        path("run"),
        {"--training.dataset=webdataset", "--training.dataset_path=" + path("shards") + "/*.tar"});
    EXPECT_EQ(result.exit_code, 0) << result.err;
    EXPECT_EQ(metric(path("run"), "loss").size(), 6u);
}

TEST_F(RunCommands, RefuseAConfigurationWhereNoneIsRead) {
    const std::vector<std::vector<std::string>> commands{
        {"checkpoint", "inspect", trained_path("run")},
        {"data", "shapes", "--out", path("shards"), "--samples", "2"},
        {"checkpoint", "export", "--checkpoint", trained_path("run"), "--out", path("x")}};
    for (std::vector<std::string> words : commands) {
        for (const std::string word : {"--training.img_size=32", "--print-config"}) {
            words.push_back(word);
            const ProcessResult result = run_flux_train(words);
            EXPECT_EQ(result.exit_code, 2);
            EXPECT_THAT(result.err, HasSubstr(word + ": `" + words[0] + " " + words[1] + "`"));
            words.pop_back();
        }
    }
    EXPECT_FALSE(std::filesystem::exists(path("shards")));
    EXPECT_FALSE(std::filesystem::exists(path("x")));
}

}  // namespace
}  // namespace flux::test
