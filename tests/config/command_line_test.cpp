#include "flux/config/command_line.h"

#include "config_support.h"

namespace flux::config {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string error_of(const std::vector<std::string>& words) {
    return config_error([&] { load_words(words); });
}

TEST(CommandLine, TakesAValueAfterEqualsOrAsTheNextWord) {
    EXPECT_EQ(load_words({"--training.steps=7"}).config.training.steps, 7);
    EXPECT_EQ(load_words({"--training.steps", "7"}).config.training.steps, 7);
    EXPECT_EQ(load_words({"--checkpoint.load_step", "-1"}).config.checkpoint.load_step, -1);
    EXPECT_EQ(load_words({"--training.steps=1_000"}).config.training.steps, 1000);
}

TEST(CommandLine, AnEmptyValueDoesNotSwallowTheNextWord) {
    const JobConfig config =
        load_words({"--eval.dataset=", "--training.steps=3", "--encoder.t5_encoder", ""}).config;
    EXPECT_EQ(config.eval.dataset, "");
    EXPECT_EQ(config.training.steps, 3);
    EXPECT_EQ(config.encoder.t5_encoder, "");
}

TEST(CommandLine, ReadsEveryFormOfASwitch) {
    const auto overlap = [](const std::vector<std::string>& words) {
        return load_words(words).config.parallelism.fsdp_overlap_comm;
    };
    EXPECT_FALSE(overlap({"--parallelism.no_fsdp_overlap_comm"}));
    EXPECT_FALSE(overlap({"--parallelism.no-fsdp-overlap-comm"}));
    EXPECT_FALSE(overlap({"--parallelism.fsdp_overlap_comm=false"}));
    EXPECT_FALSE(overlap({"--parallelism.fsdp_overlap_comm", "False"}));
    EXPECT_FALSE(overlap({"--parallelism.fsdp-overlap-comm=0"}));
    EXPECT_TRUE(overlap({"--parallelism.no_fsdp_overlap_comm", "--parallelism.fsdp-overlap_comm"}));
    EXPECT_TRUE(load_words({"--eval.at_start", "true"}).config.eval.at_start);
    EXPECT_TRUE(load_words({"--eval.at-start"}).config.eval.at_start);
}

TEST(CommandLine, ReadsDashesAsUnderscoresInSections) {
    EXPECT_EQ(load_words({"--lr-scheduler.warmup-steps=5"}).config.lr_scheduler.warmup_steps, 5);
}

TEST(CommandLine, ReadsLists) {
    const std::vector<int64_t> axes = {16, 56, 56};
    EXPECT_EQ(load_words({"--model.axes_dim=16,56,56"}).config.model.axes_dim, axes);
    EXPECT_EQ(load_words({"--model.axes_dim", "[16, 56, 56]"}).config.model.axes_dim, axes);
    EXPECT_THAT(load_words({"--checkpoint.exclude_from_loading=optimizer,'dataloader'"})
                    .config.checkpoint.exclude_from_loading,
                ElementsAre("optimizer", "dataloader"));
    EXPECT_TRUE(load_words({"--mx.filter_fqns="}).config.mx.filter_fqns.empty());
}

TEST(CommandLine, NoneUnsetsWhatMayBeUnset) {
    const ConfigFile file(
        "[training]\nseed = 3\n[eval]\ndataset = \"coco\"\n[model]\nqkv_bias = true\naxes_dim = "
        "[2, 2, 2]");
    const JobConfig config = file.load({"--training.seed=none", "--eval.dataset=none",
                                        "--model.qkv_bias=none", "--model.axes_dim=none"})
                                 .config;
    EXPECT_FALSE(config.training.seed);
    EXPECT_EQ(config.eval.dataset, "");
    EXPECT_FALSE(config.model.qkv_bias);
    EXPECT_FALSE(config.model.axes_dim);
    EXPECT_EQ(load_words({"--activation_checkpoint.mode=none"}).config.activation_checkpoint.mode,
              RecomputeMode::kNone);
}

TEST(CommandLine, KnowsHelpAndPrintConfig) {
    EXPECT_TRUE(parse_command_line({"--help"}).help);
    EXPECT_TRUE(parse_command_line({"-h"}).help);
    EXPECT_TRUE(parse_command_line({"--print-config"}).print_config);
    EXPECT_TRUE(parse_command_line({"--print_config"}).print_config);
    EXPECT_FALSE(parse_command_line({}).help);
}

TEST(CommandLine, FillsTheFlagsOfASubcommand) {
    bool overwrite = false;
    int64_t samples = 5;
    std::string out;
    std::vector<std::string> prompts;
    const std::vector<Flag> flags = {{"overwrite", "", "replace files", &overwrite},
                                     {"samples", "N", "how many", &samples},
                                     {"out-dir", "DIR", "where", &out},
                                     {"prompt", "TEXT", "what", &prompts}};
    const CommandLine line =
        parse_command_line({"--prompt", "a cat", "--training.steps=3", "--out_dir=there",
                            "--prompt=a dog", "--overwrite", "name"},
                           flags, 1);
    EXPECT_TRUE(overwrite);
    EXPECT_EQ(samples, 5);
    EXPECT_EQ(out, "there");
    EXPECT_THAT(prompts, ElementsAre("a cat", "a dog"));
    EXPECT_THAT(line.words, ElementsAre("name"));
    EXPECT_EQ(line.overrides.size(), 1u);
    EXPECT_THAT(flags_help(flags), HasSubstr("--out-dir DIR"));
    EXPECT_THAT(config_error([&] { parse_command_line({"--samples=many"}, flags); }),
                HasSubstr("--samples many: must be an integer"));
    EXPECT_THAT(config_error([&] { parse_command_line({"--out-dir"}, flags); }),
                HasSubstr("--out-dir: needs a value: DIR"));
    EXPECT_THAT(config_error([&] { parse_command_line({"--sampels=1"}, flags); }),
                HasSubstr("--samples"));
}

TEST(CommandLine, NamesWhatItDoesNotKnow) {
    EXPECT_EQ(error_of({"--training.stepz=5"}),
              "command line: --training.stepz=5: unknown option; did you mean --training.steps?");
    EXPECT_THAT(error_of({"--trainnig.steps=5"}), HasSubstr("did you mean --training.steps?"));
    EXPECT_THAT(error_of({"--training.warmup_steps=5"}),
                HasSubstr("did you mean --lr_scheduler.warmup_steps?"));
    EXPECT_THAT(error_of({"--lr=5"}), HasSubstr("did you mean --optimizer.lr?"));
    EXPECT_THAT(error_of({"--qqqq.zzzzzzzz=5"}), HasSubstr("--help lists all"));
    EXPECT_THAT(error_of({"--qqqqqqqqq"}), HasSubstr("unknown flag"));
    EXPECT_THAT(error_of({"steps"}), HasSubstr("unexpected argument"));
    EXPECT_THAT(error_of({"-x"}), HasSubstr("unexpected argument"));
    EXPECT_THAT(error_of({"--training.no_steps"}), HasSubstr("unknown option"));
}

TEST(CommandLine, NamesTheWordOfABadValue) {
    EXPECT_EQ(
        error_of({"--training.steps=abc"}),
        "command line: --training.steps=abc: must be an integer from 0 to 1000000000 (steps)");
    EXPECT_THAT(error_of({"--training.steps", "4.5"}),
                HasSubstr("command line: --training.steps 4.5: must be an integer"));
    EXPECT_THAT(error_of({"--training.steps=99999999999999999999"}),
                HasSubstr("must be an integer"));
    EXPECT_THAT(error_of({"--training.steps="}), HasSubstr("must be an integer"));
    EXPECT_THAT(error_of({"--training.steps"}), HasSubstr("needs a value"));
    EXPECT_THAT(error_of({"--training.steps", "--eval.at_start"}), HasSubstr("needs a value"));
    EXPECT_THAT(error_of({"--optimizer.lr=nan"}), HasSubstr("must be a finite number >= 0"));
    EXPECT_THAT(error_of({"--optimizer.lr=inf"}), HasSubstr("must be a finite number >= 0"));
    EXPECT_THAT(error_of({"--optimizer.lr=1e999"}), HasSubstr("must be a finite number >= 0"));
    EXPECT_THAT(error_of({"--optimizer.lr=-1"}), HasSubstr("must be a finite number >= 0"));
    EXPECT_THAT(error_of({"--optimizer.beta1=1"}), HasSubstr(">= 0 and < 1"));
    EXPECT_THAT(error_of({"--eval.at_start=maybe"}), HasSubstr("must be true or false"));
    EXPECT_THAT(error_of({"--eval.no_at_start=true"}), HasSubstr("takes no value"));
    EXPECT_THAT(error_of({"--training.device=tpu"}), HasSubstr("must be one of auto, cpu, cuda"));
    EXPECT_THAT(error_of({"--model.flavor="}), HasSubstr("must be one of flux-schnell"));
    EXPECT_THAT(error_of({"--model.axes_dim=16,56"}), HasSubstr("a list of 3 integers"));
    EXPECT_THAT(error_of({"--model.axes_dim=16,56,x"}), HasSubstr("a list of 3 integers"));
    EXPECT_THAT(error_of({"--job.dump_folder="}), HasSubstr("a text that is not empty"));
    EXPECT_THAT(error_of({"--job.description=a\xff"}), HasSubstr("not valid UTF-8 at byte 1"));
    EXPECT_THAT(error_of({"--job.description=\xed\xa0\x80"}), HasSubstr("not valid UTF-8"));
    EXPECT_THAT(error_of({"--job.description=\xe0\x80\xaf"}), HasSubstr("not valid UTF-8"));
}

}  // namespace
}  // namespace flux::config
