#include "flux/config/command_line.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <optional>
#include <string_view>

#include "config/options.h"
#include "config/values.h"
#include "flux/base/error.h"
#include "flux/base/utf8.h"

namespace flux::config {
namespace {

/// One word --name or --name=value.
struct Word {
    std::string_view shown;
    std::string name;  // underscores for dashes
    std::optional<std::string> value;
};

Word split_word(std::string_view shown) {
    const std::string_view body = shown.substr(2);
    const size_t equals = body.find('=');
    Word word{shown, std::string(body.substr(0, equals)), std::nullopt};
    std::replace(word.name.begin(), word.name.end(), '-', '_');
    if (equals != body.npos) {
        word.value = body.substr(equals + 1);
    }
    return word;
}

class Parser {
public:
    Parser(const std::vector<std::string>& words, const std::vector<Flag>& flags, size_t most_words)
        : words_(words), flags_(flags), most_words_(most_words) {}

    CommandLine parse() {
        while (next_ < words_.size()) {
            const std::string& shown = words_[next_++];
            if (shown == "-h" || shown == "--help") {
                result_.help = true;
            } else if (shown.starts_with("--") && shown.size() > 2) {
                take_option(split_word(shown));
            } else {
                take_word(shown);
            }
        }
        return std::move(result_);
    }

private:
    void take_word(const std::string& shown) {
        if (result_.words.size() == most_words_ || (shown.size() > 1 && shown[0] == '-')) {
            fail_config(
                "command line: {}: unexpected argument: options are written --section.key=value "
                "(--help lists them)",
                shown);
        }
        result_.words.push_back(shown);
    }

    void take_option(const Word& word) {
        if (word.name == "print_config") {
            refuse_value(word);
            result_.print_config = true;
        } else if (word.name.find('.') != word.name.npos) {
            take_override(word);
        } else {
            take_flag(word);
        }
    }

    void take_override(const Word& word) {
        const Option* option = find_option(word.name);
        if (option == nullptr && take_negation(word)) {
            return;
        }
        if (option == nullptr) {
            const std::optional<std::string> near = nearest_option(word.name);
            fail_config("command line: {}: unknown option; {}", word.shown,
                        near ? fmt::format("did you mean --{}?", *near) : "--help lists all");
        }
        std::string text;
        if (word.value) {
            text = *word.value;
        } else if (option->kind == Kind::kBool) {
            const bool takes_next = next_ < words_.size() && parse_bool(words_[next_]);
            text = takes_next ? words_[next_++] : "true";
        } else {
            text = take_value(word, describe_type(*option));
        }
        add(word, word.name, text);
    }

    /// --section.no_switch
    bool take_negation(const Word& word) {
        const size_t key = word.name.find('.') + 1;
        if (word.name.compare(key, 3, "no_") != 0) {
            return false;
        }
        const std::string positive = word.name.substr(0, key) + word.name.substr(key + 3);
        const Option* option = find_option(positive);
        if (option == nullptr || option->kind != Kind::kBool) {
            return false;
        }
        refuse_value(word);
        add(word, positive, "false");
        return true;
    }

    void add(const Word& word, const std::string& name, const std::string& text) {
        const std::string shown = word.value || text.empty()
                                      ? std::string(word.shown)
                                      : fmt::format("{} {}", word.shown, text);
        if (const auto position = first_invalid_utf8(text)) {  // TOML could not hold it
            fail_config("command line: --{}: the value is not valid UTF-8 at byte {}", word.name,
                        *position);
        }
        result_.overrides.push_back({name, text, shown});
    }

    void take_flag(const Word& word) {
        const auto flag = std::find_if(flags_.begin(), flags_.end(), [&](const Flag& candidate) {
            std::string name = candidate.name;
            std::replace(name.begin(), name.end(), '-', '_');
            return name == word.name;
        });
        if (flag == flags_.end()) {
            fail_unknown_flag(word);
        }
        std::visit([&](auto* target) { set_flag(word, *flag, *target); }, flag->target);
    }

    [[noreturn]] void fail_unknown_flag(const Word& word) const {
        if (const std::optional<std::string> near = nearest_option(word.name)) {
            fail_config("command line: {}: options are written --section.key; did you mean --{}?",
                        word.shown, *near);
        }
        std::string known = "--help, --print-config";
        for (const Flag& flag : flags_) {
            known += ", --" + flag.name;
        }
        fail_config(
            "command line: {}: unknown flag; there are {}, and options written "
            "--section.key=value",
            word.shown, known);
    }

    void set_flag(const Word& word, const Flag&, bool& target) {
        refuse_value(word);
        target = true;
    }
    void set_flag(const Word& word, const Flag& flag, std::string& target) {
        target = take_value(word, flag.value_name);
    }
    void set_flag(const Word& word, const Flag& flag, std::vector<std::string>& target) {
        target.push_back(take_value(word, flag.value_name));
    }
    void set_flag(const Word& word, const Flag& flag, int64_t& target) {
        const std::string text = take_value(word, flag.value_name);
        const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), target);
        if (error != std::errc() || end != text.data() + text.size() || target < 0) {
            fail_config("command line: --{} {}: must be an integer >= 0", flag.name, text);
        }
    }

    void refuse_value(const Word& word) const {
        if (word.value) {
            fail_config("command line: {}: takes no value", word.shown);
        }
    }

    /// What follows = or, without it, the next word.
    std::string take_value(const Word& word, std::string_view what) {
        if (word.value) {
            return *word.value;
        }
        if (next_ == words_.size() || words_[next_].starts_with("--")) {
            fail_config("command line: {}: needs a value: {}", word.shown, what);
        }
        return words_[next_++];
    }

    const std::vector<std::string>& words_;
    const std::vector<Flag>& flags_;
    const size_t most_words_;
    size_t next_ = 0;
    CommandLine result_;
};

}  // namespace

CommandLine parse_command_line(const std::vector<std::string>& words,
                               const std::vector<Flag>& flags, size_t most_words) {
    return Parser(words, flags, most_words).parse();
}

std::string flags_help(const std::vector<Flag>& flags) {
    std::string text;
    for (const Flag& flag : flags) {
        const std::string usage =
            flag.value_name.empty() ? flag.name : flag.name + " " + flag.value_name;
        text += fmt::format("  --{:<22} {}\n", usage, flag.help);
    }
    return text;
}

}  // namespace flux::config
