#include "flux/config/print.h"

#include <fmt/format.h>

#include <algorithm>

#include "config/options.h"
#include "config/values.h"

namespace flux::config {
namespace {

/// Calls `begin` once for each section, before `each` for its rows.
template <class Begin, class Each>
void for_sections(const Begin& begin, const Each& each) {
    const std::string* section = nullptr;
    for (const Option& option : all_options()) {
        if (section == nullptr || *section != option.section) {
            begin(option.section);
        }
        section = &option.section;
        each(option);
    }
}

/// "a number >= 0, samples"
std::string type_and_unit(const Option& option) {
    return describe_type(option) + (option.unit.empty() ? "" : ", " + option.unit) +
           (option.optional ? ", or unset" : "");
}

/// What the help adds for a row that cannot do everything.
std::string describe_status(const Option& option) {
    switch (option.status.state) {
        case State::kActive:
            break;
        case State::kUsedWith:
            return fmt::format("Used only with {}.", option.status.note);
        case State::kNoMeaning:
            return fmt::format("Does nothing: {}.", option.status.note);
        case State::kNotBuilt:
            return fmt::format("Not built yet: {}.", option.status.note);
    }
    return "";
}

/// The help and what it adds for such a row.
std::string meaning_of(const Option& option) {
    const std::string status = describe_status(option);
    return option.help + "." + (status.empty() ? "" : " " + status);
}

/// Breaks at blanks so that lines stay below 100 characters.
std::string wrapped(const std::string& text, size_t indent) {
    constexpr size_t kWidth = 100;
    const std::string margin(indent, ' ');
    std::string out;
    std::string line;
    for (size_t begin = 0; begin < text.size();) {
        const size_t end = std::min(text.find(' ', begin), text.size());
        const std::string word = text.substr(begin, end - begin);
        if (!line.empty() && indent + line.size() + 1 + word.size() > kWidth) {
            out += margin + line + "\n";
            line.clear();
        }
        line += (line.empty() ? "" : " ") + word;
        begin = end + 1;
    }
    return out + margin + line + "\n";
}

/// The same with the user and the query of each address masked.
std::string masked(std::string_view text) {
    constexpr std::string_view kScheme = "://";
    constexpr std::string_view kBlank = " \t\r\n";
    std::string out;
    for (size_t at; (at = text.find(kScheme)) != text.npos;) {
        at += kScheme.size();
        out += text.substr(0, at);
        text.remove_prefix(at);
        const size_t host_end = std::min(text.find_first_of("/?# \t\r\n"), text.size());
        if (const size_t user = text.substr(0, host_end).rfind('@'); user != text.npos) {
            out += "***";
            text.remove_prefix(user);
        }
        const size_t end = std::min(text.find_first_of(kBlank), text.size());
        // A query may hold commas, so it takes what follows in a list along, up to a blank.
        const size_t next = std::min(text.find(kScheme), end);
        if (const size_t query = text.substr(0, next).find('?'); query != text.npos) {
            out.append(text.substr(0, query)).append("?***");
            text.remove_prefix(end);
        }
    }
    return out.append(text);
}

std::string markdown_cell(std::string text) {
    for (size_t at = text.find('|'); at != text.npos; at = text.find('|', at + 2)) {
        text.insert(at, "\\");
    }
    return text;
}

}  // namespace

std::string to_toml(const JobConfig& config) {
    std::string text;
    for_sections(
        [&](const std::string& section) {
            text += fmt::format("{}[{}]\n", text.empty() ? "" : "\n", section);
        },
        [&](const Option& option) {
            const std::optional<Value> value = option.fetch(config);
            // A file cannot name another file, and TOML has no word for "unset".
            const bool only_said = !value || option.name() == "job.config_file";
            text += fmt::format("{}{} = {}\n", only_said ? "# " : "", option.key, to_text(value));
        });
    return text;
}

std::vector<std::pair<std::string, std::string>> option_texts(const JobConfig& config) {
    std::vector<std::pair<std::string, std::string>> texts;
    for (const Option& option : all_options()) {
        texts.emplace_back(option.name(), to_text(option.fetch(config)));
    }
    return texts;
}

JobConfig published(JobConfig config) {
    for (const Option& option : all_options()) {
        std::optional<Value> value = option.fetch(config);
        if (option.kind == Kind::kText && value && option.one_of.empty()) {
            option.store(config, masked(std::get<std::string>(*value)));
        } else if (option.kind == Kind::kTexts && value) {
            auto texts = std::get<std::vector<std::string>>(*value);
            std::transform(texts.begin(), texts.end(), texts.begin(), masked);
            option.store(config, texts);
        }
    }
    return config;
}

std::string options_help(const JobConfig* config) {
    const JobConfig defaults;
    std::string text;
    for_sections([&](const std::string& section) { text += fmt::format("\n[{}]\n", section); },
                 [&](const Option& option) {
                     const std::string usual = to_text(option.fetch(defaults));
                     const std::string value = config ? to_text(option.fetch(*config)) : usual;
                     text += fmt::format("  --{} = {}{}\n", option.name(), value,
                                         value == usual ? "" : fmt::format(" (default {})", usual));
                     text += wrapped(type_and_unit(option), 6);
                     text += wrapped(meaning_of(option), 6);
                     if (!option.aliases.empty()) {
                         text += wrapped(
                             fmt::format("also --{}", fmt::join(option.aliases, ", --")), 6);
                     }
                 });
    return text;
}

std::string options_markdown() {
    const JobConfig defaults;
    std::string text =
        "# Options\n\nSet them in a TOML file (`[section]`, `key = value`) or on the command line "
        "(`--section.key=value`),\nwhich wins. `flux_train --help` prints the same list.\n";
    for_sections(
        [&](const std::string& section) {
            text += fmt::format(
                "\n## {}\n\n| option | default | takes | meaning |\n|---|---|---|---|\n", section);
        },
        [&](const Option& option) {
            std::string meaning = meaning_of(option);
            if (!option.aliases.empty()) {
                meaning += fmt::format(" Also `{}`.", fmt::join(option.aliases, "`, `"));
            }
            text += fmt::format("| `{}` | `{}` | {} | {} |\n", option.name(),
                                to_text(option.fetch(defaults)),
                                markdown_cell(type_and_unit(option)), markdown_cell(meaning));
        });
    return text;
}

}  // namespace flux::config
