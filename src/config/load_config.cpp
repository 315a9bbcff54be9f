#include "flux/config/load_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <stdexcept>

#include "config/options.h"
#include "config/toml_reader.h"
#include "config/values.h"
#include "flux/base/error.h"

namespace flux::config {
namespace {

constexpr const char* kCommandLine = "command line";

const Option& known_option(std::string_view name) {
    const Option* option = find_option(name);
    if (option == nullptr) {
        throw std::logic_error("no option is called " + std::string(name));
    }
    return *option;
}

void check_sections(const std::string& path, const TomlFile& file) {
    for (const TomlSection& section : file.sections) {
        if (!is_section(section.name)) {
            const auto near = nearest_section(section.name);
            fail_config("{}:{}: [{}]: unknown section{}", path, section.line, section.name,
                        near ? fmt::format("; did you mean [{}]?", *near) : "");
        }
    }
}

[[noreturn]] void fail_unknown(const std::string& origin, const std::string& name) {
    if (name.find('.') == name.npos) {
        fail_config("{}: {}: options stand below a section, such as [training]", origin, name);
    }
    const auto near = nearest_option(name);
    fail_config("{}: {}: unknown option; {}", origin, name,
                near ? fmt::format("did you mean {}?", *near) : "--help lists all");
}

/// Applies defaults, file and command line to one JobConfig, in this order.
class Loader {
public:
    LoadedConfig load(const CommandLine& command_line, const BaseConfig& base) {
        if (!base.toml.empty()) {
            apply_file(base.name, parse_toml(base.toml, base.name));
            loaded_.notices.clear();  // were given when that configuration was made
        }
        const std::map<std::string, std::string, std::less<>> base_origins = loaded_.origins;
        for (const Override& entry : command_line.overrides) {
            if (entry.name == "job.config_file") {
                if (entry.text.empty()) {
                    fail_config("{}: {}: names no file; leave it out for the defaults",
                                kCommandLine, entry.shown);
                }
                set(known_option(entry.name), entry.text, kCommandLine);
            }
        }
        if (const std::string& path = config().job.config_file; !path.empty()) {
            apply_file(path, read_toml(path));
        }
        apply_command_line(command_line);
        if (newer_file_) {
            apply_newer_defaults();
        }
        if (!validation_wanted_.empty() && config().eval.dataset.empty()) {
            fail_config("{}: needs eval.dataset, the name of a validation set", validation_wanted_);
        }
        note_options_without_meaning(base_origins);
        return std::move(loaded_);
    }

private:
    struct Seen {
        std::string name;
        int64_t line;
        Value value;
    };

    JobConfig& config() { return loaded_.config; }

    void set(const Option& option, const std::optional<Value>& value, const std::string& origin) {
        option.store(config(), value);
        loaded_.origins.insert_or_assign(option.name(), origin);
    }

    void apply_file(const std::string& path, const TomlFile& file) {
        check_sections(path, file);
        newer_file_ = std::any_of(file.settings.begin(), file.settings.end(), [](const auto& s) {
            return s.name == "training.local_batch_size";
        });
        has_validation_section_ = std::any_of(
            file.settings.begin(), file.settings.end(),
            [](const auto& s) { return s.name.starts_with(validation_switch().section + "."); });
        std::map<std::string, Seen> seen;
        std::string switched_off;
        for (const TomlSetting& setting : file.settings) {
            const std::string origin = fmt::format("{}:{}", path, setting.line);
            const std::string where =
                fmt::format("{}: {} = {}", origin, setting.name, to_text(setting.value));
            const Option* option = find_option(setting.name);
            if (option == nullptr) {
                fail_unknown(origin, setting.name);
            }
            if (option->name() == "job.config_file") {
                fail_config("{}: a file cannot name another; give it on the command line", where);
            }
            if (newer_file_ && option->name() == "eval.eval_freq") {
                option = &known_option("eval.freq_steps");
            }
            const Value value = convert(*option, setting.value, where);
            const auto [earlier, is_new] =
                seen.try_emplace(option->name(), Seen{setting.name, setting.line, value});
            if (!is_new && earlier->second.value != value) {
                fail_config("{}: is the same option as {} = {} in line {}; keep one of them", where,
                            earlier->second.name, to_text(earlier->second.value),
                            earlier->second.line);
            }
            if (option == &validation_switch()) {
                take_validation_switch(value, origin, where, switched_off);
            } else {
                set(*option, value, origin);
            }
        }
        empty_validation_set(switched_off);
    }

    void apply_command_line(const CommandLine& command_line) {
        std::string switched_off;
        for (const Override& entry : command_line.overrides) {
            const Option& option = known_option(entry.name);
            const std::string where = fmt::format("{}: {}", kCommandLine, entry.shown);
            std::optional<Value> value = parse_text(option, entry.text);
            if (value) {
                value = convert(option, *value, where);
            }
            if (&option == &validation_switch()) {
                take_validation_switch(*value, kCommandLine, where, switched_off);
            } else {
                set(option, value, kCommandLine);
                if (option.name() == "eval.dataset") {
                    validation_wanted_.clear();  // the later word on the matter
                }
            }
        }
        empty_validation_set(switched_off);
        const auto from_here = [&](const char* name) {
            const auto found = loaded_.origins.find(name);
            return found != loaded_.origins.end() && found->second == kCommandLine;
        };
        // The file's freq_steps would win over the frequency just given.
        if (from_here("eval.eval_freq") && !from_here("eval.freq_steps") &&
            config().eval.freq_steps) {
            loaded_.notices.push_back(
                "command line: eval.eval_freq (samples) replaces eval.freq_steps of the file");
            config().eval.freq_steps.reset();
        }
    }

    /// validation.enable: false, said at `origin`, will empty eval.dataset.
    void take_validation_switch(const Value& wanted, const std::string& origin,
                                const std::string& where, std::string& switched_off) {
        const bool on = std::get<bool>(wanted);
        switched_off = on ? "" : origin;
        validation_wanted_ = on ? where : "";
    }

    void empty_validation_set(const std::string& switched_off) {
        if (!switched_off.empty()) {
            set(known_option("eval.dataset"), Value(std::string()), switched_off);
        }
    }

    /// A file with training.local_batch_size was written for a newer torchtitan, where some words
    /// mean something else.
    void apply_newer_defaults() {
        if (!loaded_.is_set("training.dropout_mode")) {
            config().training.dropout_mode = DropoutMode::kIndependent;
        }
        if (has_validation_section_ && !loaded_.is_set("eval.timestep_grid")) {
            config().eval.timestep_grid = TimestepGrid::kMidpoints;
        }
        loaded_.notices.push_back(fmt::format(
            "{}: training.local_batch_size marks a file for newer torchtitan: eval_freq counts "
            "steps (eval.freq_steps), training.dropout_mode defaults to independent{}",
            config().job.config_file,
            has_validation_section_ ? ", with [validation] eval.timestep_grid to (k+0.5)/8" : ""));
    }

    /// But for those that the base configuration holds, in which every option is written out.
    void note_options_without_meaning(
        const std::map<std::string, std::string, std::less<>>& base_origins) {
        for (const Option& option : all_options()) {
            const auto origin = loaded_.origins.find(option.name());
            const auto base = base_origins.find(option.name());
            const bool inherited = base != base_origins.end() && base->second == origin->second;
            if (option.status.state == State::kNoMeaning && origin != loaded_.origins.end() &&
                !inherited) {
                loaded_.notices.push_back(fmt::format("{}: {} does nothing: {}", origin->second,
                                                      option.name(), option.status.note));
            }
        }
    }

    LoadedConfig loaded_;
    bool newer_file_ = false;
    bool has_validation_section_ = false;
    std::string validation_wanted_;  // where validation.enable was set to true
};

}  // namespace

bool LoadedConfig::is_set(std::string_view name) const {
    return origins.contains(known_option(name).name());
}

std::string LoadedConfig::place(std::string_view name) const {
    const Option& option = known_option(name);
    const auto origin = origins.find(option.name());
    return fmt::format("{}{} = {}", origin == origins.end() ? "" : origin->second + ": ",
                       option.name(), to_text(option.fetch(config)));
}

std::string LoadedConfig::located(const std::string& message) const {
    const auto is_part = [](char c) {
        return std::islower(c) || std::isdigit(c) || c == '_' || c == '.';
    };
    for (auto begin = message.begin(); begin != message.end();) {
        const auto end = std::find_if_not(begin, message.end(), is_part);
        const std::string word(begin, end);
        if (begin == message.begin() && find_option(word) == nullptr) {
            break;
        }
        if (const auto origin = origins.find(word); origin != origins.end()) {
            return origin->second + ": " + message;
        }
        begin = std::find_if(end, message.end(), is_part);
    }
    return message;
}

std::vector<std::string> differences(const JobConfig& before, const JobConfig& after) {
    std::vector<std::string> found;
    for (const Option& option : all_options()) {
        const auto old_value = option.fetch(before);
        const auto new_value = option.fetch(after);
        if (old_value != new_value) {
            found.push_back(fmt::format("{} = {} (was {})", option.name(), to_text(new_value),
                                        to_text(old_value)));
        }
    }
    return found;
}

std::map<std::string, std::string> section_values(const JobConfig& config,
                                                  std::string_view section) {
    std::map<std::string, std::string> values;
    for (const Option& option : all_options()) {
        if (option.section == section) {
            values[option.name()] = to_text(option.fetch(config));
        }
    }
    return values;
}

LoadedConfig load_config(const CommandLine& command_line, const BaseConfig& base) {
    return Loader().load(command_line, base);
}

}  // namespace flux::config
