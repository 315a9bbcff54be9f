#include "config/toml_reader.h"

// toml++ asserts on some malformed keys just before its own check reports them with their place:
// let it come that far.
#define TOML_ASSERT(expression) static_assert(true)
#include <toml++/toml.h>

#include <algorithm>

#include "flux/base/error.h"
#include "flux/base/file.h"

namespace flux::config {
namespace {

template <class T>
std::vector<T> list_of(const toml::array& array) {
    std::vector<T> list;
    for (const toml::node& entry : array) {
        list.push_back(*entry.value_exact<T>());
    }
    return list;
}

Value read_value(const toml::node& node) {
    if (const auto* array = node.as_array()) {
        if (array->empty() || array->is_homogeneous<std::string>()) {
            return list_of<std::string>(*array);
        }
        if (array->is_homogeneous<int64_t>()) {
            return list_of<int64_t>(*array);
        }
        return OtherValue{"(a list of other or mixed types)"};
    }
    if (const auto* flag = node.as_boolean()) {
        return flag->get();
    }
    if (const auto* integer = node.as_integer()) {
        return integer->get();
    }
    if (const auto* number = node.as_floating_point()) {
        return number->get();
    }
    if (const auto* text = node.as_string()) {
        return text->get();
    }
    return OtherValue{node.is_table() ? "(a table)" : "(a date or time)"};
}

int64_t line_of(const toml::node& node) { return node.source().begin.line; }

toml::table parse(const std::string& text, const std::string& name) {
    try {
        return toml::parse(text, name);
    } catch (const toml::parse_error& problem) {
        const auto& begin = problem.source().begin;
        fail_config("{}:{}:{}: TOML syntax: {}", name, begin.line, begin.column,
                    problem.description());
    }
}

}  // namespace

TomlFile read_toml(const std::string& path) {
    std::string text;
    try {
        text = read_text(path);
    } catch (const Error& problem) {
        fail_config("{} (given by --job.config_file)", problem.what());
    }
    return parse_toml(text, path);
}

TomlFile parse_toml(const std::string& text, const std::string& name) {
    const toml::table root = parse(text, name);
    TomlFile file;
    for (const auto& [section, node] : root) {
        const std::string section_name(section.str());
        const toml::table* table = node.as_table();
        if (table == nullptr) {
            file.settings.push_back({section_name, read_value(node), line_of(node)});
            continue;
        }
        file.sections.push_back({section_name, line_of(*table)});
        for (const auto& [key, value] : *table) {
            file.settings.push_back(
                {section_name + "." + std::string(key.str()), read_value(value), line_of(value)});
        }
    }
    const auto by_line = [](const auto& a, const auto& b) { return a.line < b.line; };
    std::sort(file.sections.begin(), file.sections.end(), by_line);
    std::stable_sort(file.settings.begin(), file.settings.end(), by_line);
    return file;
}

}  // namespace flux::config
