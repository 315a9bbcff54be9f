// Files that users already have: the options torchtitan accepts, with their types and defaults, and
// five of its TOML files, value by value.
#include <fmt/format.h>

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "config/options.h"
#include "config/toml_reader.h"
#include "config/values.h"
#include "config_support.h"

namespace flux::config {
namespace {

using nlohmann::json;

/// Options whose default differs on purpose, each with its reason.
const std::map<std::string, std::string>& other_defaults() {
    static const std::map<std::string, std::string> table = {
        {"job.dump_folder", "no folder of another project's name"},
        {"model.name", "the only model is flux, not a language model"},
        {"model.flavor", "the flavors are those of flux"},
        {"model.tokenizer_path", "there is no such file"},
        {"encoder.context_in_dim", "unset: the flavor's width, which the published sizes fix"},
        {"training.dataset", "an image data set, not text"},
        {"training.mixed_precision_param", "auto: bfloat16 on a GPU as there, float32 on a CPU"},
        {"activation_checkpoint.mode", "full, which is what selective does there"},
    };
    return table;
}

/// The reference's Python type as this program's row would say it.
std::string python_type(const Option& option) {
    static const std::map<Kind, std::string> names = {
        {Kind::kBool, "bool"}, {Kind::kInteger, "int"},     {Kind::kNumber, "float"},
        {Kind::kText, "str"},  {Kind::kTexts, "list[str]"}, {Kind::kIntegers, "list[int]"}};
    return names.at(option.kind);
}

/// "str | None" -> "str"; a Literal is a text, and "float | int" a number.
std::string plain_type(std::string type) {
    if (type.starts_with("Literal")) {
        return "str";
    }
    return type.substr(0, type.find(" |"));
}

std::optional<Value> as_value(const Option& option, const json& value) {
    switch (option.kind) {
        case Kind::kBool:
            return value.get<bool>();
        case Kind::kInteger:
            return value.is_null() ? std::nullopt : std::optional<Value>(value.get<int64_t>());
        case Kind::kNumber:
            return value.is_null() ? std::nullopt : std::optional<Value>(value.get<double>());
        case Kind::kText:  // an unset text is an empty one here
            return value.is_null() ? std::string() : value.get<std::string>();
        case Kind::kTexts:
            return value.get<std::vector<std::string>>();
        case Kind::kIntegers:
            return value.get<std::vector<int64_t>>();
    }
    return std::nullopt;
}

TEST(ParityOptions, EveryReferenceOptionHasARowOfItsTypeAndDefault) {
    FLUX_SKIP_WITHOUT_REFERENCE();
    const json reference =
        json::parse(read_text(*test::reference_dir() / "torchtitan_options.json"));
    size_t count = 0;
    for (const auto& [section, options] : reference.items()) {
        for (const auto& [key, facts] : options.items()) {
            const std::string name = section + "." + key;
            SCOPED_TRACE(name);
            const Option* option = find_option(name);
            ASSERT_NE(option, nullptr);
            EXPECT_EQ(python_type(*option), plain_type(facts.at("type")));
            const std::optional<Value> value = as_value(*option, facts.at("default"));
            if (other_defaults().contains(name)) {
                EXPECT_NE(option->fetch(JobConfig{}), value) << "is no longer different";
            } else {
                EXPECT_EQ(to_text(option->fetch(JobConfig{})), to_text(value));
            }
            ++count;
        }
    }
    EXPECT_GT(count, 0u);
}

TEST(ParityOptions, EveryReferenceChoiceIsAccepted) {
    FLUX_SKIP_WITHOUT_REFERENCE();
    const json reference =
        json::parse(read_text(*test::reference_dir() / "torchtitan_options.json"));
    size_t count = 0;
    for (const auto& [section, options] : reference.items()) {
        for (const auto& [key, facts] : options.items()) {
            const std::string type = facts.at("type");
            if (!type.starts_with("Literal[")) {
                continue;
            }
            const Option* option = find_option(section + "." + key);
            ASSERT_NE(option, nullptr);
            const json words = json::parse(type.substr(7, type.find(']') - 6));
            for (const std::string word : words) {
                EXPECT_NO_THROW(convert(*option, word, option->name())) << word;
                ++count;
            }
        }
    }
    EXPECT_GT(count, 0u);
}

/// The option a key of a reference file stands for, written independently of the table of aliases.
std::string canonical_name(const std::string& name, bool newer_file) {
    static const std::map<std::string, std::string> renamed = {
        {"job.print_config", "job.print_args"},
        {"training.local_batch_size", "training.batch_size"},
        {"training.classifer_free_guidance_prob", "training.classifier_free_guidance_prob"},
        {"eval.enable_classifer_free_guidance", "eval.enable_classifier_free_guidance"},
        {"eval.classifer_free_guidance_scale", "eval.classifier_free_guidance_scale"},
        {"validation.freq", "eval.freq_steps"},
        {"validation.local_batch_size", "eval.batch_size"},
        {"checkpoint.enable", "checkpoint.enable_checkpoint"},
        {"checkpoint.last_save_model_only", "checkpoint.model_weights_only"},
    };
    if (newer_file && name == "eval.eval_freq") {
        return "eval.freq_steps";
    }
    if (const auto found = renamed.find(name); found != renamed.end()) {
        return found->second;
    }
    return name.starts_with("validation.") ? "eval." + name.substr(name.find('.') + 1) : name;
}

/// The value under which a key of a reference file must come back.
Value canonical_value(const Option& option, const Value& value) {
    if (const auto* integer = std::get_if<int64_t>(&value);
        integer && option.kind == Kind::kNumber) {
        return static_cast<double>(*integer);
    }
    if (option.name() == "parallelism.fsdp_reshard_after_forward") {
        if (const auto* flag = std::get_if<bool>(&value)) {
            return std::string(*flag ? "always" : "never");
        }
    }
    return value;
}

TEST(ParityConfigs, EveryValueComesBackUnderItsCanonicalKey) {
    FLUX_SKIP_WITHOUT_REFERENCE();
    size_t files = 0;
    for (const auto& entry :
         std::filesystem::directory_iterator(*test::reference_dir() / "configs")) {
        SCOPED_TRACE(entry.path());
        const JobConfig config = load_words({"--job.config_file", entry.path().string()}).config;
        const TomlFile file = read_toml(entry.path().string());
        std::set<std::string> names;
        for (const TomlSetting& setting : file.settings) {
            names.insert(setting.name);
        }
        const bool newer_file = names.contains("training.local_batch_size");
        for (const TomlSetting& setting : file.settings) {
            if (setting.name == "validation.enable") {
                EXPECT_EQ(!config.eval.dataset.empty(), std::get<bool>(setting.value));
                continue;
            }
            const std::string name = canonical_name(setting.name, newer_file);
            const Option* option = find_option(name);
            ASSERT_NE(option, nullptr) << name;
            EXPECT_EQ(option->name(), name);
            EXPECT_EQ(to_text(option->fetch(config)),
                      to_text(canonical_value(*option, setting.value)))
                << name;
        }
        EXPECT_FALSE(file.settings.empty());
        ++files;
    }
    EXPECT_GE(files, 1u);
}

}  // namespace
}  // namespace flux::config
