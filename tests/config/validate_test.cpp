#include "flux/config/validate.h"

#include <fmt/format.h>

#include "config/options.h"
#include "config/values.h"
#include "config_support.h"
#include "flux/config/run_files.h"
#include "support/problem.h"

namespace flux::config {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

std::string error_of(const std::vector<std::string>& words) {
    return config_error([&] { validate(load_words(words)); });
}

std::string training_error_of(const std::vector<std::string>& words) {
    return config_error([&] { validate_training(load_words(words)); });
}

std::string unbuilt_error_of(const std::vector<std::string>& words) {
    return config_error([&] { refuse_unbuilt(load_words(words)); });
}

TEST(Validate, AcceptsTheDefaults) {
    EXPECT_NO_THROW(validate(load_words({})));
    EXPECT_NO_THROW(validate_training(load_words({"--training.steps=1"})));
    EXPECT_NO_THROW(refuse_unbuilt(load_words({})));
}

TEST(Validate, NamesTheLineOfTheOffendingKey) {
    const ConfigFile file("[training]\nbatch_size = 3\nglobal_batch_size = 16\n");
    EXPECT_EQ(config_error([&] { validate(file.load()); }),
              file.line(3) +
                  ": training.global_batch_size = 16: must be a multiple of training.batch_size = "
                  "3");
}

TEST(Validate, KeepsARunInItsFolder) {
    for (const char* folder : {"..", "../x", "a/../../x", "/tmp/x", "."}) {
        EXPECT_THAT(error_of({"--checkpoint.folder", folder}),
                    HasSubstr("inside of job.dump_folder"))
            << folder;
    }
    EXPECT_THAT(error_of({"--eval.save_img_folder=/img"}), HasSubstr("inside of job.dump_folder"));
    for (const char* folder : {"metrics.jsonl", "report.html/x", "earlier-1"}) {
        EXPECT_THAT(error_of({"--checkpoint.folder", folder}), HasSubstr("choose another"));
    }
    std::vector<std::string_view> names(kRunFiles.begin(), kRunFiles.end());
    names.insert(names.end(), kRunMarks.begin(), kRunMarks.end());
    for (const std::string_view name : names) {
        EXPECT_THAT(error_of({fmt::format("--metrics.save_tb_folder={}/tb", name)}),
                    HasSubstr("writes a file of this name"))
            << name;
    }
    for (const char* folder : {"checkpoint", "checkpoint/step-20", "./checkpoint/"}) {
        EXPECT_THAT(error_of({"--eval.save_img_folder", folder}), HasSubstr("must lie beside"));
    }
    EXPECT_THAT(error_of({"--checkpoint.folder=img/x", "--eval.save_img_folder=img"}),
                HasSubstr("must lie beside"));
    EXPECT_THAT(error_of({"--metrics.save_tb_folder=../tb"}),
                HasSubstr("inside of job.dump_folder"));
    for (const char* option : {"--checkpoint.folder=x/y", "--eval.save_img_folder=x"}) {
        EXPECT_THAT(error_of({option, "--metrics.save_tb_folder=x"}), HasSubstr("must lie beside"));
    }
    EXPECT_NO_THROW(validate(load_words({"--checkpoint.folder=a/b", "--eval.save_img_folder="})));
}

TEST(Validate, ComparesBatchSizeAndAccumulation) {
    EXPECT_NO_THROW(
        validate(load_words({"--training.batch_size=4", "--training.global_batch_size=16",
                             "--training.gradient_accumulation_steps=4"})));
    Training training;
    training.batch_size = 4;
    training.gradient_accumulation_steps = 3;
    EXPECT_EQ(global_batch_size(training, 1), 12);
    EXPECT_EQ(global_batch_size(training, 2), 24);
    training.global_batch_size = 16;
    EXPECT_EQ(global_batch_size(training, 2), 16);
}

TEST(Validate, BucketsFitTheSide) {
    EXPECT_NO_THROW(validate(load_words({"--training.buckets=64", "--training.img_size=1024"})));
    EXPECT_THAT(error_of({"--training.buckets=32"}), HasSubstr("must be 0 (off), 16, 64 or 128"));
    EXPECT_THAT(error_of({"--training.buckets=128", "--training.img_size=320"}),
                HasSubstr("training.img_size = 320 must be a multiple of it"));
    EXPECT_THAT(error_of({"--training.buckets=128", "--training.img_size=128"}),
                HasSubstr("at least twice as much"));
    EXPECT_THAT(error_of({"--training.buckets=64", "--training.shuffle=none"}),
                HasSubstr("training.shuffle must be global"));
}

TEST(Validate, WantsPictureSizesInWholeTokens) {
    EXPECT_EQ(error_of({"--training.img_size=100"}),
              "command line: training.img_size = 100: must be a multiple of 16; the nearest below "
              "is 96");
    EXPECT_THAT(error_of({"--inference.img_size=100"}), HasSubstr("inference.img_size = 100"));
    EXPECT_NO_THROW(validate(load_words({"--inference.img_size=96"})));
}

TEST(Validate, ValidatesOnSomethingOrOnAll) {
    EXPECT_THAT(error_of({"--eval.steps=0"}), HasSubstr("eval.steps = 0: must be -1"));
    EXPECT_NO_THROW(validate(load_words({"--eval.steps=-1"})));
}

TEST(Validate, RefusesToKeepOneCheckpoint) {
    EXPECT_THAT(error_of({"--checkpoint.keep_latest_k=1"}),
                HasSubstr("must be 0 (keep all) or >= 2"));
}

TEST(Validate, ReadsTheSelectiveOption) {
    ActivationCheckpoint section;
    EXPECT_EQ(parse_selective_option(section).every_nth, 2);
    section.selective_ac_option = "0.5";
    EXPECT_EQ(parse_selective_option(section).fraction, 0.5);
    EXPECT_EQ(parse_selective_option(section).every_nth, 0);
    for (const char* text : {"0", "-1", "1.5", "nan", "2x", "two"}) {
        section.selective_ac_option = text;
        EXPECT_THROW(parse_selective_option(section), ConfigError) << text;
    }
    EXPECT_THAT(error_of({"--activation_checkpoint.selective_ac_option=op"}),
                HasSubstr("not by operator"));
}

TEST(Validate, WantsStepsForTraining) {
    EXPECT_THAT(training_error_of({}), StartsWith("training.steps = 0: must be >= 1"));
}

TEST(Validate, WantsTheConverterOfARecipe) {
    const std::vector<std::string> words{"--training.steps=1", "--float8.recipe_name=rowwise"};
    EXPECT_THAT(training_error_of(words),
                HasSubstr("float8.recipe_name = \"rowwise\": does nothing without "
                          "model.converters = [\"float8\"]"));
    EXPECT_THAT(training_error_of({"--training.steps=1", "--float8.emulate"}),
                HasSubstr("float8.emulate = true: does nothing without"));
    EXPECT_NO_THROW(validate_training(load_words(
        {"--training.steps=1", "--float8.recipe_name=rowwise", "--model.converters=float8"})));
    // Files for other models name layers although nothing is converted.
    EXPECT_NO_THROW(
        validate_training(load_words({"--training.steps=1", "--float8.filter_fqns=output"})));
}

TEST(Validate, WantsWhatOnlyAnEncoderKnows) {
    const std::vector<std::string> encoded = {
        "--training.steps=1",
        "--encoder.t5_encoder=", "--encoder.clip_encoder=", "--encoder.autoencoder_path="};
    const auto with = [&](std::initializer_list<std::string> more) {
        std::vector<std::string> words = encoded;
        words.insert(words.end(), more);
        return words;
    };
    EXPECT_THAT(training_error_of(encoded), HasSubstr("encoder.autoencoder_shift = unset"));
    EXPECT_THAT(training_error_of(with({"--encoder.autoencoder_shift=0"})),
                HasSubstr("encoder.autoencoder_scale = unset"));
    const std::string shift = "--encoder.autoencoder_shift=0";
    const std::string scale = "--encoder.autoencoder_scale=1";
    const std::string dropout = "--training.classifier_free_guidance_prob=0.1";
    EXPECT_NO_THROW(validate_training(load_words(with({shift, scale}))));
    EXPECT_THAT(training_error_of(with({shift, scale, dropout})),
                HasSubstr("needs encoder.empty_encodings_path"));
    EXPECT_NO_THROW(validate_training(
        load_words(with({shift, scale, dropout, "--encoder.empty_encodings_path=/empty"}))));
    EXPECT_THAT(training_error_of({"--training.steps=1", "--encoder.t5_encoder="}),
                HasSubstr("encoder.t5_encoder = \"\": must be set where encoder.clip_encoder is"));
    EXPECT_NO_THROW(validate_training(load_words(with({"--training.test_mode"}))));
}

TEST(RefuseUnbuilt, NamesWhatIsPossible) {
    EXPECT_EQ(
        unbuilt_error_of({"--optimizer.early_step_in_backward"}),
        "command line: optimizer.early_step_in_backward = true: updating during the backward pass "
        "is not built yet; possible so far: false");
    EXPECT_NO_THROW(refuse_unbuilt(load_words({"--training.shuffle=shards"})));
    EXPECT_NO_THROW(
        refuse_unbuilt(load_words({"--model.converters=float8", "--float8.recipe_name=rowwise"})));
    EXPECT_THAT(unbuilt_error_of({"--model.converters=float8,mx"}),
                HasSubstr("conversion to anything but float8 is not built yet"));
    EXPECT_NO_THROW(refuse_unbuilt(load_words({"--parallelism.data_parallel_shard_degree=1"})));
}

TEST(RefuseUnbuilt, RefusesOneValueAtLeastOfEveryUnbuiltOption) {
    size_t rows = 0;
    for (const Option& option : all_options()) {
        if (option.status.state != State::kNotBuilt) {
            continue;
        }
        ++rows;
        LoadedConfig loaded;
        std::vector<Value> candidates = {true, false, int64_t{4}, std::string("other"),
                                         std::vector<std::string>{"a"}};
        for (const std::string& word : option.one_of) {
            candidates.emplace_back(word);
        }
        bool refused = option.one_of.size() == 1;  // nothing else can be said
        for (const Value& value : candidates) {
            const std::string problem = test::problem_of<ConfigError>([&] {
                option.store(loaded.config, convert(option, value, ""));
                refuse_unbuilt(loaded);
            });
            refused = refused || problem.find("not built yet") != std::string::npos;
        }
        EXPECT_TRUE(refused) << option.name();
    }
    EXPECT_GT(rows, 10u);
}

}  // namespace
}  // namespace flux::config
