#include "flux/config/print.h"

#include <cstdlib>
#include <filesystem>
#include <sstream>

#include "config/options.h"
#include "config/values.h"
#include "config_support.h"
#include "flux/base/file.h"
#include "flux/config/validate.h"

namespace flux::config {
namespace {

using ::testing::HasSubstr;

/// The text with every run of blanks and line ends as one blank.
std::string unwrapped(const std::string& text) {
    std::istringstream words(text);
    std::string line;
    for (std::string word; words >> word;) {
        line += (line.empty() ? "" : " ") + word;
    }
    return line;
}

/// Prints, loads what was printed, and expects the same values; the name of the file aside.
void expect_round_trip(JobConfig config) {
    config.job.config_file.clear();
    const ConfigFile file(to_toml(config));
    JobConfig again = file.load().config;
    again.job.config_file.clear();
    EXPECT_EQ(again, config);
    EXPECT_EQ(to_toml(again), to_toml(config));
}

TEST(PrintConfig, LoadsAgainToTheDefaults) { expect_round_trip(JobConfig{}); }

TEST(PrintConfig, LoadsAgainToValuesOfEveryKind) {
    expect_round_trip(
        load_words({"--job.description=a \"quoted\" \\ line\n\ttab \x01 \x7f \xc3\xa4",
                    "--training.seed=0", "--optimizer.lr=0.1234567890123456789",
                    "--optimizer.eps=1e-300", "--training.max_norm=1e20", "--model.axes_dim=2,4,6",
                    "--model.qkv_bias=false", "--checkpoint.exclude_from_loading=a b,c\"d",
                    "--eval.timestep_grid=(k+0.5)/8", "--mx.filter_fqns=", "--eval.freq_steps=3",
                    "--validation.steps=2"})
            .config);
}

TEST(PrintConfig, LoadsAgainForEveryConfigOfTheProject) {
    size_t files = 0;
    for (const auto& entry : std::filesystem::directory_iterator(FLUX_SOURCE_DIR "/configs")) {
        if (entry.path().extension() != ".toml") {
            continue;
        }
        SCOPED_TRACE(entry.path());
        const std::vector<std::string> words{"--job.config_file", entry.path().string()};
        const LoadedConfig loaded = load_words(words);
        EXPECT_TRUE(loaded.notices.empty());
        EXPECT_NO_THROW(validate(loaded));
        EXPECT_NO_THROW(validate_training(loaded));
        EXPECT_NO_THROW(refuse_unbuilt(loaded));
        expect_round_trip(loaded.config);
        ++files;
    }
    EXPECT_GE(files, 5u);
}

std::string published_description(const std::string& text) {
    JobConfig config;
    config.job.description = text;
    return published(config).job.description;
}

TEST(PublishedConfig, MasksUsersAndQueriesOfAddresses) {
    const std::vector<std::pair<std::string, std::string>> texts{
        {"https://me:secret@host/a.tar", "https://***@host/a.tar"},
        {"https://host:80/a.tar?X-Signature=secret&b=1,2", "https://host:80/a.tar?***"},
        {"https://me:s@cret@host?secret", "https://***@host?***"},
        {"s3://secret@", "s3://***@"},
        {"https://host/a,https://me:secret@host/b?secret", "https://host/a,https://***@host/b?***"},
        {"https://host/a?secret,https://me:secret@host/b", "https://host/a?***"},
        {"from ftp://me@host/ and http://host?secret, at last",
         "from ftp://***@host/ and http://host?*** at last"},
        {"who?@here a/b@c file:///a@b/c", "who?@here a/b@c file:///a@b/c"},
        {"://", "://"},
        {"", ""}};
    for (const auto& [text, expected] : texts) {
        EXPECT_EQ(published_description(text), expected);
    }
}

TEST(PublishedConfig, LeavesTheRestAsItIs) {
    JobConfig config = load_words({"--training.dataset_path=https://me:secret@host/a?b",
                                   "--checkpoint.exclude_from_loading=x://y@z,ema"})
                           .config;
    const JobConfig shown = published(config);
    EXPECT_EQ(shown.training.dataset_path, "https://***@host/a?***");
    EXPECT_EQ(shown.checkpoint.exclude_from_loading,
              (std::vector<std::string>{"x://***@z", "ema"}));
    config.training.dataset_path = shown.training.dataset_path;
    config.checkpoint.exclude_from_loading = shown.checkpoint.exclude_from_loading;
    EXPECT_EQ(shown, config);
}

TEST(OptionTexts, NameEveryOption) {
    const auto texts = option_texts(load_words({"--job.description=a \"b\""}).config);
    ASSERT_EQ(texts.size(), all_options().size());
    EXPECT_THAT(texts, testing::Contains(testing::Pair("job.description", "\"a \\\"b\\\"\"")));
    EXPECT_THAT(texts, testing::Contains(testing::Pair("training.seed", "unset")));
}

TEST(PrintConfig, WritesResolvedKeys) {
    const ConfigFile file("[training]\nlocal_batch_size = 4\n[eval]\neval_freq = 1000\n");
    const std::string text = to_toml(file.load().config);
    EXPECT_THAT(text, HasSubstr("\nbatch_size = 4\n"));
    EXPECT_THAT(text, HasSubstr("\nfreq_steps = 1000\n"));
    EXPECT_THAT(text, HasSubstr("\ndropout_mode = \"independent\"\n"));
    EXPECT_THAT(text, HasSubstr("\n# seed = unset\n"));
}

/// The part of the help that is about one option: up to the next option or section.
std::string help_of(const std::string& help, const std::string& name) {
    const size_t begin = help.find("\n  --" + name + " = ");
    if (begin == help.npos) {
        return "";
    }
    const size_t end = std::min(help.find("\n  --", begin + 1), help.find("\n[", begin + 1));
    return unwrapped(help.substr(begin, end - begin));
}

TEST(OptionsHelp, ListsEveryOptionWithAllThereIsToSayAboutIt) {
    const std::string help = options_help();
    for (const Option& option : all_options()) {
        SCOPED_TRACE(option.name());
        EXPECT_THAT(help, HasSubstr("\n[" + option.section + "]\n"));
        const std::string text = help_of(help, option.name());
        EXPECT_THAT(text, HasSubstr("--" + option.name() + " = " +
                                    unwrapped(to_text(option.fetch(JobConfig{})))));
        EXPECT_THAT(text, HasSubstr(describe_type(option)));
        EXPECT_THAT(text, HasSubstr(option.unit));
        for (const std::string& word : option.one_of) {
            EXPECT_THAT(text, HasSubstr(word));
        }
        EXPECT_FALSE(option.help.empty());
        EXPECT_THAT(text, HasSubstr(option.help));
        for (const std::string& alias : option.aliases) {
            EXPECT_THAT(text, HasSubstr("--" + alias));
        }
    }
}

TEST(OptionsHelp, NamesTheBuiltInEncoders) {
    const std::string help = options_help();
    EXPECT_THAT(help_of(help, "encoder.t5_encoder"), HasSubstr("`words` is built in"));
    EXPECT_THAT(help_of(help, "encoder.clip_encoder"), HasSubstr("`words` is built in"));
    EXPECT_THAT(help_of(help, "encoder.autoencoder_path"), HasSubstr("`dct` is built in"));
}

TEST(OptionsHelp, ShowsTheValuesOfAConfiguration) {
    const JobConfig config = load_words({"--training.steps=7"}).config;
    EXPECT_THAT(options_help(&config), HasSubstr("--training.steps = 7 (default 0)"));
    EXPECT_THAT(options_help(&config), HasSubstr("--training.batch_size = 8\n"));
}

TEST(OptionsMarkdown, HasARowForEveryOption) {
    const std::string text = options_markdown();
    for (const Option& option : all_options()) {
        EXPECT_THAT(text, HasSubstr("| `" + option.name() + "` |"));
    }
}

// The page is generated: FLUX_UPDATE=1 ctest --test-dir build -R OptionsMarkdown writes it anew.
TEST(OptionsMarkdown, IsThePageInConfigs) {
    const auto page = std::filesystem::path(FLUX_SOURCE_DIR) / "configs/options.md";
    if (std::getenv("FLUX_UPDATE") != nullptr) {
        write_text(page, options_markdown());
    }
    EXPECT_EQ(read_text(page), options_markdown()) << "run this test with FLUX_UPDATE=1";
}

}  // namespace
}  // namespace flux::config
