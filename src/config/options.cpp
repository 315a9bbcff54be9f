#include "config/options.h"

#include <algorithm>
#include <map>
#include <stdexcept>

#include "config/section.h"
#include "flux/base/nearest.h"

namespace flux::config {
namespace {

std::vector<std::string> known_sections() {
    std::vector<std::string> sections = {validation_switch().section};
    for (const Option& option : all_options()) {
        if (std::find(sections.begin(), sections.end(), option.section) == sections.end()) {
            sections.push_back(option.section);
        }
    }
    return sections;
}

using Index = std::map<std::string, const Option*, std::less<>>;

Index make_index() {
    Index index;
    const auto add = [&](const std::string& name, const Option& option) {
        if (!index.emplace(name, &option).second) {
            throw std::logic_error("two options are called " + name);
        }
    };
    for (const Option& option : all_options()) {
        add(option.name(), option);
        for (const std::string& alias : option.aliases) {
            add(alias, option);
        }
    }
    add(validation_switch().name(), validation_switch());
    return index;
}

const Index& option_index() {
    static const Index index = make_index();
    return index;
}

}  // namespace

const std::vector<Option>& all_options() {
    static const std::vector<Option> table = [] {
        std::vector<Option> rows;
        describe_run(rows);
        describe_model(rows);
        describe_training(rows);
        describe_eval(rows);
        describe_infrastructure(rows);
        describe_compatibility(rows);
        return rows;
    }();
    return table;
}

const Option& validation_switch() {
    static const Option option{.section = "validation", .key = "enable", .kind = Kind::kBool};
    return option;
}

const Option* find_option(std::string_view name) {
    const auto found = option_index().find(name);
    return found == option_index().end() ? nullptr : found->second;
}

bool is_section(std::string_view name) {
    const std::vector<std::string> sections = known_sections();
    return std::find(sections.begin(), sections.end(), name) != sections.end();
}

std::optional<std::string> nearest_option(std::string_view name) {
    const std::string_view key = name.substr(std::min(name.rfind('.') + 1, name.size()));
    std::vector<std::string> known;
    for (const auto& [candidate, option] : option_index()) {
        known.push_back(candidate);
    }
    // A key that exists under one other section only is most likely in the wrong section.
    std::vector<std::string> same_key;
    for (const Option& option : all_options()) {
        if (option.key == key) {
            same_key.push_back(option.name());
        }
    }
    return same_key.size() == 1 ? same_key.front() : nearest(name, known);
}

std::optional<std::string> nearest_section(std::string_view name) {
    return nearest(name, known_sections());
}

}  // namespace flux::config
