#include "data/brace_expand.h"

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <optional>

#include "flux/base/error.h"

namespace flux::data {
namespace {

constexpr size_t kMost = 1'000'000;

[[noreturn]] void fail_too_many(std::string_view item) {
    fail("{}: stands for more than {} names", item, kMost);
}

std::optional<uint64_t> number(std::string_view text) {
    uint64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    return error == std::errc() && end == text.data() + text.size() ? std::optional(value)
                                                                    : std::nullopt;
}

/// The choices that stand between two braces; nothing if they are of another form.
std::vector<std::string> choices_of(std::string_view inside, std::string_view item) {
    std::vector<std::string> choices;
    if (const size_t dots = inside.find(".."); dots != std::string_view::npos) {
        const auto first = number(inside.substr(0, dots));
        const auto last = number(inside.substr(dots + 2));
        if (!first || !last || *first > *last) {
            return {};
        }
        if (*last - *first >= kMost) {
            fail_too_many(item);
        }
        const bool padded = inside.size() > 1 && inside[0] == '0';
        const size_t width = padded ? dots : 0;
        for (uint64_t value = *first; value <= *last; ++value) {
            choices.push_back(fmt::format("{:0{}}", value, width));
        }
    } else if (inside.find(',') != std::string_view::npos) {
        for (size_t begin = 0; begin <= inside.size();) {
            const size_t comma = std::min(inside.find(',', begin), inside.size());
            choices.emplace_back(inside.substr(begin, comma - begin));
            begin = comma + 1;
        }
    }
    return choices;
}

}  // namespace

std::vector<std::string> split_list(std::string_view list) {
    std::vector<std::string> items;
    std::string item;
    int depth = 0;
    for (size_t at = 0; at < list.size(); ++at) {
        if (item.empty() && list.substr(at).starts_with("pipe:")) {
            item = list.substr(at);
            break;
        }
        const char c = list[at];
        depth += c == '{' ? 1 : c == '}' && depth > 0 ? -1 : 0;
        if (c != ',' || depth > 0) {
            item += c;
        } else if (!item.empty()) {
            items.push_back(std::exchange(item, {}));
        }
    }
    if (!item.empty()) {
        items.push_back(std::move(item));
    }
    return items;
}

std::vector<std::string> expand_braces(std::string_view item) {
    std::vector<std::string> expanded{""};
    for (size_t at = 0; at < item.size();) {
        const size_t open = std::min(item.find('{', at), item.size());
        const size_t close = std::min(item.find('}', open), item.size());
        std::vector<std::string> choices;
        if (close < item.size()) {
            choices = choices_of(item.substr(open + 1, close - open - 1), item);
        }
        const bool plain = choices.empty();
        const size_t end = plain ? std::min(open + 1, item.size()) : close + 1;
        if (plain) {
            choices.emplace_back(item.substr(open, end - open));
        }
        if (expanded.size() > kMost / choices.size()) {
            fail_too_many(item);
        }
        const std::string_view before = item.substr(at, open - at);
        std::vector<std::string> longer;
        for (const std::string& beginning : expanded) {
            for (const std::string& choice : choices) {
                longer.push_back(beginning + std::string(before) + choice);
            }
        }
        expanded = std::move(longer);
        at = end;
    }
    return expanded;
}

}  // namespace flux::data
