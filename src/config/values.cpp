#include "config/values.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "flux/base/error.h"

namespace flux::config {
namespace {

/// "1_000" -> "1000": underscores between digits, as TOML allows them.
std::string without_underscores(std::string_view text) {
    std::string plain;
    for (size_t i = 0; i < text.size(); ++i) {
        const auto digit = [&](size_t at) {
            return at < text.size() && text[at] >= '0' && text[at] <= '9';
        };
        if (text[i] != '_' || i == 0 || !digit(i - 1) || !digit(i + 1)) {
            plain += text[i];
        }
    }
    return plain;
}

template <class T>
std::optional<T> parse_number(std::string_view text) {
    std::string plain = without_underscores(text);
    if (plain.starts_with('+')) {
        plain.erase(0, 1);
    }
    T number{};
    const auto [end, error] = std::from_chars(plain.data(), plain.data() + plain.size(), number);
    if (error != std::errc() || end != plain.data() + plain.size()) {
        return std::nullopt;
    }
    return number;
}

std::vector<std::string> split_list(std::string_view text) {
    if (text.starts_with('[') && text.ends_with(']')) {
        text = text.substr(1, text.size() - 2);
    }
    std::vector<std::string> parts;
    while (!text.empty()) {
        const size_t comma = std::min(text.find(','), text.size());
        std::string_view part = text.substr(0, comma);
        const auto strip = [&part](std::string_view characters) {
            const size_t first = part.find_first_not_of(characters);
            part = first == part.npos
                       ? ""
                       : part.substr(first, part.find_last_not_of(characters) - first + 1);
        };
        strip(" \t");
        strip("\"'");
        parts.emplace_back(part);
        text.remove_prefix(std::min(comma + 1, text.size()));
    }
    return parts;
}

std::string describe_range(const Range& range) {
    const bool low = std::isfinite(range.low);
    const bool high = std::isfinite(range.high);
    if (low && high && !range.open_low && !range.open_high) {
        return fmt::format(" from {:.12g} to {:.12g}", range.low, range.high);
    }
    std::string text;
    if (low) {
        text += fmt::format(" {} {:.12g}", range.open_low ? ">" : ">=", range.low);
    }
    if (high) {
        text += fmt::format("{} {} {:.12g}", low ? " and" : "",
                            range.open_high ? "<" : "<=", range.high);
    }
    return text;
}

[[noreturn]] void refuse(const Option& option, std::string_view where) {
    fail_config("{}: must be {}{}", where, describe_type(option),
                option.unit.empty() ? "" : " (" + option.unit + ")");
}

std::vector<std::string> texts_of(const std::vector<Value>& values) {
    std::vector<std::string> texts;
    std::transform(values.begin(), values.end(), std::back_inserter(texts),
                   [](const Value& value) { return to_text(value); });
    return texts;
}

std::string quoted(std::string_view text) {
    std::string out = "\"";
    for (const char c : text) {
        if (c == '"' || c == '\\') {
            out += '\\';
            out += c;
        } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
            out += fmt::format("\\u{:04X}", static_cast<unsigned>(c));
        } else {
            out += c;
        }
    }
    return out + "\"";
}

/// The shortest text that reads as the same number, always with a point or an exponent.
std::string number_text(double number) {
    std::string text = fmt::format("{}", number);
    if (text.find_first_of(".en") == text.npos) {
        text += ".0";
    }
    return text;
}

/// The value in the row's kind, or nothing if its type does not fit.
std::optional<Value> change_kind(const Option& option, const Value& raw) {
    const auto keep = [&]<class T>(T*) -> std::optional<Value> {
        return std::holds_alternative<T>(raw) ? std::optional(raw) : std::nullopt;
    };
    const auto* texts = std::get_if<std::vector<std::string>>(&raw);
    switch (option.kind) {
        case Kind::kBool:
            return keep(static_cast<bool*>(nullptr));
        case Kind::kInteger:
            return keep(static_cast<int64_t*>(nullptr));
        case Kind::kNumber:
            if (const auto* integer = std::get_if<int64_t>(&raw)) {
                return static_cast<double>(*integer);
            }
            return keep(static_cast<double*>(nullptr));
        case Kind::kText:
            if (const auto* flag = std::get_if<bool>(&raw);
                flag && !option.words_for_bool.empty()) {
                return option.words_for_bool.at(*flag ? 1 : 0);
            }
            return keep(static_cast<std::string*>(nullptr));
        case Kind::kTexts:
            return keep(static_cast<std::vector<std::string>*>(nullptr));
        case Kind::kIntegers:
            if (texts != nullptr && texts->empty()) {
                return std::vector<int64_t>{};  // an empty list has no type of its own
            }
            return keep(static_cast<std::vector<int64_t>*>(nullptr));
    }
    return std::nullopt;
}

bool is_allowed(const Option& option, const Value& value) {
    if (const auto* integer = std::get_if<int64_t>(&value)) {
        return option.range.contains(static_cast<double>(*integer));
    }
    if (const auto* number = std::get_if<double>(&value)) {
        return std::isfinite(*number) && option.range.contains(*number);
    }
    if (const auto* text = std::get_if<std::string>(&value)) {
        if (text->empty()) {
            return !option.required;
        }
        return option.one_of.empty() ||
               std::find(option.one_of.begin(), option.one_of.end(), *text) != option.one_of.end();
    }
    if (const auto* list = std::get_if<std::vector<int64_t>>(&value)) {
        return (option.length == 0 || list->size() == option.length) &&
               std::all_of(list->begin(), list->end(), [&](int64_t entry) {
                   return option.range.contains(static_cast<double>(entry));
               });
    }
    return true;
}

}  // namespace

bool Range::contains(double number) const {
    return (open_low ? number > low : number >= low) &&
           (open_high ? number < high : number <= high);
}

Value convert(const Option& option, const Value& raw, std::string_view where) {
    const std::optional<Value> value = change_kind(option, raw);
    if (!value || !is_allowed(option, *value)) {
        refuse(option, where);
    }
    return *value;
}

std::optional<bool> parse_bool(std::string_view text) {
    std::string word(text);
    std::transform(word.begin(), word.end(), word.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    if (word == "true" || word == "1" || word == "yes" || word == "on") {
        return true;
    }
    if (word == "false" || word == "0" || word == "no" || word == "off") {
        return false;
    }
    return std::nullopt;
}

std::optional<Value> parse_text(const Option& option, std::string_view text) {
    const bool means_nothing = text.empty() || text == "none" || text == "None" || text == "unset";
    const Value unread = std::string(text);
    switch (option.kind) {
        case Kind::kBool: {
            if (option.optional && means_nothing) {
                return std::nullopt;
            }
            const std::optional<bool> flag = parse_bool(text);
            return flag ? Value(*flag) : unread;
        }
        case Kind::kInteger:
        case Kind::kNumber:
            if (option.optional && means_nothing) {
                return std::nullopt;
            }
            if (const auto integer = parse_number<int64_t>(text)) {
                return *integer;
            }
            if (const auto number = parse_number<double>(text)) {
                return *number;
            }
            return unread;
        case Kind::kText:
            if (const auto flag = parse_bool(text); flag && !option.words_for_bool.empty()) {
                return *flag;
            }
            return !option.required && means_nothing ? Value(std::string()) : unread;
        case Kind::kTexts:
            return split_list(means_nothing ? "" : text);
        case Kind::kIntegers: {
            if (option.optional && means_nothing) {
                return std::nullopt;
            }
            std::vector<int64_t> integers;
            for (const std::string& part : split_list(text)) {
                const auto integer = parse_number<int64_t>(part);
                if (!integer) {
                    return unread;
                }
                integers.push_back(*integer);
            }
            return integers;
        }
    }
    return unread;
}

std::string describe_type(const Option& option) {
    switch (option.kind) {
        case Kind::kBool:
            return "true or false";
        case Kind::kInteger:
            return "an integer" + describe_range(option.range);
        case Kind::kNumber:
            return "a finite number" + describe_range(option.range);
        case Kind::kText: {
            if (option.one_of.empty()) {
                return option.required ? "a text that is not empty" : "a text";
            }
            std::string words = fmt::format("one of {}", fmt::join(option.one_of, ", "));
            if (!option.words_for_bool.empty()) {
                words += fmt::format(", false (= {}), true (= {})", option.words_for_bool[0],
                                     option.words_for_bool[1]);
            }
            return option.required ? words : words + ", or empty";
        }
        case Kind::kTexts:
            return "a list of texts";
        case Kind::kIntegers:
            return fmt::format("a list of {}integers{}",
                               option.length > 0 ? fmt::format("{} ", option.length) : "",
                               describe_range(option.range));
    }
    return "";
}

std::string to_text(const Value& value) {
    const auto list = [](const auto& entries) {
        return fmt::format(
            "[{}]", fmt::join(texts_of(std::vector<Value>(entries.begin(), entries.end())), ", "));
    };
    return std::visit(
        [&](const auto& held) -> std::string {
            using T = std::decay_t<decltype(held)>;
            if constexpr (std::is_same_v<T, bool>) {
                return held ? "true" : "false";
            } else if constexpr (std::is_same_v<T, int64_t>) {
                return fmt::format("{}", held);
            } else if constexpr (std::is_same_v<T, double>) {
                return number_text(held);
            } else if constexpr (std::is_same_v<T, std::string>) {
                return quoted(held);
            } else if constexpr (std::is_same_v<T, OtherValue>) {
                return held.text;
            } else {
                return list(held);
            }
        },
        value);
}

std::string to_text(const std::optional<Value>& value) { return value ? to_text(*value) : "unset"; }

}  // namespace flux::config
