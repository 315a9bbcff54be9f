#include "flux/config/load_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <stdexcept>

#include "config/options.h"
#include "config/values.h"
#include "config_support.h"

namespace flux::config {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::StartsWith;

std::string error_of(const std::string& text, const std::vector<std::string>& words = {}) {
    const ConfigFile file(text);
    std::string message = config_error([&] { file.load(words); });
    if (const size_t at = message.find(file.path()); at != message.npos) {
        message.replace(at, file.path().size(), "job.toml");
    }
    return message;
}

TEST(LoadConfig, GivesTheDefaultsWithoutAFile) {
    const LoadedConfig loaded = load_words({});
    EXPECT_EQ(loaded.config, JobConfig{});
    EXPECT_TRUE(loaded.notices.empty());
    EXPECT_TRUE(loaded.origins.empty());
}

TEST(LoadConfig, PutsTheCommandLineOverTheFileOverTheDefault) {
    const ConfigFile file("[training]\nsteps = 10\nbatch_size = 4\n");
    const LoadedConfig loaded = file.load({"--training.steps=20"});
    EXPECT_EQ(loaded.config.training.steps, 20);
    EXPECT_EQ(loaded.config.training.batch_size, 4);
    EXPECT_EQ(loaded.config.training.img_size, 256);
    EXPECT_EQ(loaded.config.job.config_file, file.path());
    EXPECT_TRUE(loaded.is_set("training.steps"));
    EXPECT_TRUE(loaded.is_set("training.local_batch_size"));
    EXPECT_FALSE(loaded.is_set("training.img_size"));
    EXPECT_EQ(loaded.place("training.steps"), "command line: training.steps = 20");
    EXPECT_EQ(loaded.place("training.batch_size"), file.line(3) + ": training.batch_size = 4");
    EXPECT_EQ(loaded.place("training.img_size"), "training.img_size = 256");
    EXPECT_THROW(loaded.is_set("training.stepz"), std::logic_error);
}

TEST(LoadConfig, LocatesMessagesThatNameAnOption) {
    const ConfigFile file("[model]\nnum_heads = 5\n");
    const LoadedConfig loaded = file.load({"--training.dataset=x"});
    EXPECT_EQ(loaded.located("model.num_heads = 5: no"),
              file.line(2) + ": model.num_heads = 5: no");
    EXPECT_EQ(loaded.located("training.dataset: no"), "command line: training.dataset: no");
    EXPECT_EQ(loaded.located("training.steps = 0: no"), "training.steps = 0: no");  // a default
    EXPECT_EQ(loaded.located("model.hidden_size = 7: no multiple of model.num_heads = 5"),
              file.line(2) + ": model.hidden_size = 7: no multiple of model.num_heads = 5");
    EXPECT_EQ(loaded.located("/data/model.num_heads.tar: no"), "/data/model.num_heads.tar: no");
    EXPECT_EQ(
        config_error([&] { with_places(loaded, [] { fail_config("model.num_heads = 5: no"); }); }),
        file.line(2) + ": model.num_heads = 5: no");
}

TEST(LoadConfig, TellsDifferences) {
    EXPECT_THAT(differences(load_words({}).config,
                            load_words({"--training.seed=4", "--optimizer.lr=0.5"}).config),
                testing::UnorderedElementsAre("training.seed = 4 (was unset)",
                                              StartsWith("optimizer.lr = 0.5 (was ")));
}

TEST(LoadConfig, AnInheritedConfigurationGivesNoNotices) {
    const BaseConfig base{"checkpoint.json", "[training]\nseq_len = 7\n"};
    EXPECT_THAT(load_config(parse_command_line({}), base).notices, testing::IsEmpty());
    EXPECT_THAT(load_config(parse_command_line({"--training.seq_len=8"}), base).notices,
                testing::ElementsAre(HasSubstr("training.seq_len does nothing")));
}

TEST(LoadConfig, UnsetIsAWordOnTheCommandLine) {
    const ConfigFile file("[training]\nseed = 5\n");
    EXPECT_EQ(file.load({"--training.seed=unset"}).config.training.seed, std::nullopt);
    EXPECT_THAT(error_of("", {"--training.steps=unset"}),
                HasSubstr("--training.steps=unset: must"));
    EXPECT_THAT(error_of("", {"--job.config_file", ""}), HasSubstr("names no file"));
}

TEST(LoadConfig, ReadsWholeNumbersWhereFractionsAreExpectedAndUnderscores) {
    const ConfigFile file("[training]\nmax_norm = 2\nsteps = 30_000\n[optimizer]\nlr = 0\n");
    const JobConfig config = file.load().config;
    EXPECT_EQ(config.training.max_norm, 2.0);
    EXPECT_EQ(config.training.steps, 30000);
    EXPECT_EQ(config.optimizer.lr, 0.0);
}

TEST(LoadConfig, TakesABooleanForResharding) {
    EXPECT_EQ(ConfigFile("[parallelism]\nfsdp_reshard_after_forward = false\n")
                  .load()
                  .config.parallelism.fsdp_reshard_after_forward,
              ReshardMode::kNever);
    EXPECT_EQ(load_words({"--parallelism.fsdp_reshard_after_forward=true"})
                  .config.parallelism.fsdp_reshard_after_forward,
              ReshardMode::kAlways);
}

/// Some value of the row's type other than its default, as TOML writes it.
std::string other_value(const Option& option) {
    const std::optional<Value> value = option.fetch(JobConfig{});
    switch (option.kind) {
        case Kind::kBool:
            return value == Value(true) ? "false" : "true";
        case Kind::kInteger:
            return "48";
        case Kind::kNumber:
            return "0.25";
        case Kind::kText:
            return fmt::format("\"{}\"", option.one_of.empty() ? "other" : option.one_of.back());
        case Kind::kTexts:
            return "[\"a\", \"b\"]";
        case Kind::kIntegers:
            return "[2, 4, 6]";
    }
    return "";
}

TEST(LoadConfig, SetsTheSameMemberThroughEveryAlias) {
    size_t aliases = 0;
    for (const Option& option : all_options()) {
        for (const std::string& alias : option.aliases) {
            const size_t dot = alias.find('.');
            const std::string text = fmt::format("[{}]\n{} = {}\n", alias.substr(0, dot),
                                                 alias.substr(dot + 1), other_value(option));
            const JobConfig from_file = ConfigFile(text).load().config;
            EXPECT_EQ(to_text(option.fetch(from_file)), other_value(option)) << alias;
            std::string word = other_value(option);
            std::erase(word, '"');
            const JobConfig from_words = load_words({"--" + alias + "=" + word}).config;
            EXPECT_EQ(option.fetch(from_words), option.fetch(from_file)) << alias;
            ++aliases;
        }
    }
    EXPECT_GE(aliases, 10u);
}

TEST(LoadConfig, ReadsTheAliasesOfOtherFiles) {
    const auto option_of = [](const char* alias) {
        const Option* option = find_option(alias);
        return option == nullptr ? "" : option->name();
    };
    EXPECT_EQ(option_of("validation.freq"), "eval.freq_steps");
    EXPECT_EQ(option_of("validation.local_batch_size"), "eval.batch_size");
    EXPECT_EQ(option_of("validation.denoising_steps"), "eval.denoising_steps");
    EXPECT_EQ(option_of("checkpoint.enable"), "checkpoint.enable_checkpoint");
    EXPECT_EQ(option_of("checkpoint.last_save_model_only"), "checkpoint.model_weights_only");
    EXPECT_EQ(option_of("job.print_config"), "job.print_args");
    EXPECT_EQ(option_of("training.local_batch_size"), "training.batch_size");
    EXPECT_EQ(option_of("training.classifer_free_guidance_prob"),
              "training.classifier_free_guidance_prob");
    EXPECT_EQ(option_of("eval.classifer_free_guidance_scale"),
              "eval.classifier_free_guidance_scale");
    EXPECT_EQ(option_of("eval.enable_classifer_free_guidance"),
              "eval.enable_classifier_free_guidance");
}

TEST(LoadConfig, RefusesOneOptionWithTwoValues) {
    EXPECT_EQ(error_of("[checkpoint]\nenable = true\ninterval = 5\nenable_checkpoint = false\n"),
              "job.toml:4: checkpoint.enable_checkpoint = false: is the same option as "
              "checkpoint.enable = true in line 2; keep one of them");
    EXPECT_TRUE(ConfigFile("[checkpoint]\nenable = true\nenable_checkpoint = true\n")
                    .load()
                    .config.checkpoint.enable_checkpoint);
}

TEST(LoadConfig, NamesTheLineOfWhatItDoesNotKnow) {
    EXPECT_EQ(error_of("[training]\nstepz = 5\n"),
              "job.toml:2: training.stepz: unknown option; did you mean training.steps?");
    EXPECT_EQ(error_of("[training]\nlr = 5\n"),
              "job.toml:2: training.lr: unknown option; did you mean optimizer.lr?");
    EXPECT_EQ(error_of("\n[trainnig]\nsteps = 5\n"),
              "job.toml:2: [trainnig]: unknown section; did you mean [training]?");
    EXPECT_EQ(error_of("[completely_else]\n"), "job.toml:1: [completely_else]: unknown section");
    EXPECT_THAT(error_of("steps = 5\n"), StartsWith("job.toml:1: steps: options stand below"));
    EXPECT_THAT(error_of("[training.more]\nsteps = 5\n"),
                StartsWith("job.toml:1: training.more: unknown option"));
    EXPECT_THAT(error_of("[job]\nconfig_file = \"other.toml\"\n"), StartsWith("job.toml:2: "));
}

TEST(LoadConfig, NamesTheLineAndValueOfWhatItCannotTake) {
    EXPECT_EQ(error_of("[eval]\n\nbatch_size = 0\n"),
              "job.toml:3: eval.batch_size = 0: must be an integer from 1 to 1000000 (samples)");
    EXPECT_EQ(
        error_of("[training]\nsteps = \"4\"\n"),
        "job.toml:2: training.steps = \"4\": must be an integer from 0 to 1000000000 (steps)");
    EXPECT_EQ(error_of("[training]\nsteps = 4.0\n"),
              "job.toml:2: training.steps = 4.0: must be an integer from 0 to 1000000000 (steps)");
    EXPECT_THAT(error_of("[training]\nsteps = true\n"), HasSubstr("must be an integer"));
    EXPECT_THAT(error_of("[training]\nsteps = 1979-05-27\n"), HasSubstr("must be an integer"));
    EXPECT_THAT(error_of("[training]\nsteps = { a = 1 }\n"), HasSubstr("must be an integer"));
    EXPECT_THAT(error_of("[optimizer]\nlr = nan\n"), HasSubstr("must be a finite number >= 0"));
    EXPECT_THAT(error_of("[optimizer]\nlr = inf\n"), HasSubstr("must be a finite number >= 0"));
    EXPECT_THAT(error_of("[optimizer]\nlr = -1e-4\n"), HasSubstr("lr = -0.0001: must be"));
    EXPECT_THAT(error_of("[optimizer]\nlr = \"1e-4\"\n"), HasSubstr("must be a finite number"));
    EXPECT_THAT(error_of("[eval]\nat_start = 1\n"), HasSubstr("must be true or false"));
    EXPECT_THAT(error_of("[model]\nflavor = \"flux\"\n"), HasSubstr("one of flux-schnell,"));
    EXPECT_THAT(error_of("[model]\nname = \"llama3\"\n"), HasSubstr("must be one of flux"));
    EXPECT_THAT(error_of("[model]\naxes_dim = [2, \"a\", 4]\n"), HasSubstr("list of 3 integers"));
    EXPECT_THAT(error_of("[model]\naxes_dim = [2, 2, 0]\n"), HasSubstr("list of 3 integers"));
    EXPECT_THAT(error_of("[model]\nconverters = \"mx\"\n"), HasSubstr("must be a list of texts"));
    EXPECT_THAT(error_of("[training]\nseed = -1\n"), HasSubstr("below 2^63"));
}

TEST(LoadConfig, NamesLineAndColumnOfBrokenSyntax) {
    EXPECT_THAT(error_of("[training]\nsteps = = 3\n"), StartsWith("job.toml:2:9: TOML syntax: "));
    EXPECT_THAT(error_of("[training]\nsteps = 3\nsteps = 4\n"), StartsWith("job.toml:3:"));
    EXPECT_THAT(error_of("[training\n"), StartsWith("job.toml:1:"));
    EXPECT_THAT(error_of("[training]\n\x11 = 3\n"), StartsWith("job.toml:2:"));
    EXPECT_THAT(error_of("[.training]\n"), StartsWith("job.toml:1:"));
    EXPECT_THAT(error_of("[training]\nsteps = 99999999999999999999\n"), StartsWith("job.toml:2:"));
}

TEST(LoadConfig, NamesAFileThatIsNotThere) {
    const std::string message = config_error([] {
        load_words({"--job.config_file", "/nowhere/x.toml"});
    });
    EXPECT_EQ(message,
              "/nowhere/x.toml: cannot open: No such file or directory (given by "
              "--job.config_file)");
    EXPECT_THAT(config_error([] { load_words({"--job.config_file=/"}); }),
                HasSubstr("given by --job.config_file"));
}

TEST(LoadConfig, ReadsNewerTorchtitanFilesInTheirOwnSense) {
    const ConfigFile file("[training]\nlocal_batch_size = 4\n[eval]\neval_freq = 1000\n");
    const LoadedConfig loaded = file.load();
    EXPECT_EQ(loaded.config.training.batch_size, 4);
    EXPECT_EQ(loaded.config.training.dropout_mode, DropoutMode::kIndependent);
    EXPECT_EQ(loaded.config.eval.freq_steps, 1000);
    EXPECT_EQ(loaded.config.eval.eval_freq, JobConfig{}.eval.eval_freq);
    EXPECT_EQ(loaded.notices.size(), 1u);
    EXPECT_EQ(file.load({"--training.dropout_mode=joint"}).config.training.dropout_mode,
              DropoutMode::kJoint);
    // Elsewhere the same key counts samples, and the command line always does.
    EXPECT_EQ(ConfigFile("[eval]\neval_freq = 1000\n").load().config.eval.eval_freq, 1000);
    const LoadedConfig overridden = file.load({"--eval.eval_freq=2000"});
    EXPECT_EQ(overridden.config.eval.eval_freq, 2000);
    EXPECT_FALSE(overridden.config.eval.freq_steps);
    EXPECT_THAT(overridden.notices, Contains(HasSubstr("replaces eval.freq_steps")));
}

TEST(LoadConfig, TurnsValidationOffByItsSwitch) {
    const auto dataset = [](const char* text, const std::vector<std::string>& words = {}) {
        return ConfigFile(text).load(words).config.eval.dataset;
    };
    EXPECT_EQ(dataset("[validation]\nenable = false\ndataset = \"coco\"\n"), "");
    EXPECT_EQ(dataset("[validation]\nenable = true\ndataset = \"coco\"\n"), "coco");
    EXPECT_EQ(
        dataset("[validation]\nenable = true\ndataset = \"coco\"\n", {"--validation.no-enable"}),
        "");
    EXPECT_EQ(dataset("[validation]\nenable = true\ndataset = \"coco\"\n", {"--eval.dataset="}),
              "");
    EXPECT_EQ(dataset("[validation]\nenable = false\n", {"--eval.dataset=coco"}), "coco");
    EXPECT_EQ(error_of("[validation]\nenable = true\n"),
              "job.toml:2: validation.enable = true: needs eval.dataset, the name of a validation "
              "set");
}

TEST(LoadConfig, NewerFilesWithAValidationSectionTakeItsTimesteps) {
    const auto loaded = [](const char* text, const std::vector<std::string>& words = {}) {
        return ConfigFile(text).load(words);
    };
    const char* newer =
        "[training]\nlocal_batch_size = 4\n[validation]\nsteps = 6\nall_timesteps = true\n";
    const LoadedConfig both = loaded(newer);
    EXPECT_EQ(both.config.eval.timestep_grid, TimestepGrid::kMidpoints);
    EXPECT_EQ(both.config.eval.steps, 6);
    EXPECT_TRUE(both.config.eval.all_timesteps);
    EXPECT_THAT(both.notices, Contains(HasSubstr("eval.timestep_grid to (k+0.5)/8")));
    EXPECT_EQ(loaded(newer, {"--eval.timestep_grid=k/8"}).config.eval.timestep_grid,
              TimestepGrid::kEighths);
    for (const char* other : {"[training]\nlocal_batch_size = 4\n[eval]\neval_freq = 5\n",
                              "[validation]\nsteps = 6\n"}) {
        EXPECT_EQ(loaded(other).config.eval.timestep_grid, TimestepGrid::kEighths) << other;
    }
}

TEST(LoadConfig, SaysInOneLineWhatDoesNothing) {
    const ConfigFile file("[training]\nseq_len = 256\n[job]\nprint_args = false\n");
    const LoadedConfig loaded = file.load({"--training.gc_freq=5"});
    ASSERT_EQ(loaded.notices.size(), 2u);
    EXPECT_THAT(loaded.notices,
                Contains(StartsWith(file.line(2) + ": training.seq_len does nothing: ")));
    EXPECT_THAT(loaded.notices,
                Contains(StartsWith("command line: training.gc_freq does nothing")));
}

}  // namespace
}  // namespace flux::config
