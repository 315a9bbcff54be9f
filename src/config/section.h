// Declares rows over member pointers: Section<Training>(...).row(&Training::steps, "steps", {...}).
// A member's C++ type decides the row's kind; enum types get their words from names_of().
#pragma once

#include <stdexcept>
#include <type_traits>
#include <utility>

#include "config/choices.h"
#include "config/options.h"

namespace flux::config {

/// What a row says beyond its name, type and default.
struct Row {
    std::string help = {};
    std::string unit = {};
    Range range = {};
    size_t length = 0;
    bool required = false;
    std::vector<std::string> one_of = {};
    std::vector<std::string> words_for_bool = {};
    std::vector<std::string> aliases = {};
    Status status = {};
};

constexpr double kManyTimes = 1e9;  // default upper limit of counts: products of two stay exact

inline Range at_least(double low, double high = kManyTimes) { return {low, high, false, false}; }
inline Range between(double low, double high) { return {low, high, false, false}; }
inline Range not_negative() { return {.low = 0}; }
inline Range above(double low) { return {.low = low, .open_low = true}; }
inline Range from_below(double low, double high) {
    return {.low = low, .high = high, .open_high = true};
}

inline Status no_meaning(std::string why) { return {State::kNoMeaning, std::move(why), {}}; }
inline Status used_with(std::string option) { return {State::kUsedWith, std::move(option), {}}; }
inline Status not_built(std::string what, std::vector<std::optional<Value>> accepted = {}) {
    return {State::kNotBuilt, std::move(what), std::move(accepted)};
}

template <class T>
struct IsOptional : std::false_type {};
template <class T>
struct IsOptional<std::optional<T>> : std::true_type {};
template <class T>
constexpr bool kIsOptionalNumber = false;
template <class T>
constexpr bool kIsOptionalNumber<std::optional<T>> = std::is_arithmetic_v<T>;

/// Number of members of an aggregate: the most initialisers it takes.
struct AnyMember {
    // An optional number is built from its number: a second way would make the call ambiguous.
    template <class T>
    requires(!kIsOptionalNumber<T>) operator T() const;
};
template <class S, class... Members>
constexpr size_t field_count() {
    if constexpr (requires { S{Members{}..., AnyMember{}}; }) {
        return field_count<S, Members..., AnyMember>();
    } else {
        return sizeof...(Members);
    }
}

template <class T>
constexpr Kind kind_of() {
    if constexpr (std::is_same_v<T, bool>) {
        return Kind::kBool;
    } else if constexpr (std::is_integral_v<T>) {
        return Kind::kInteger;
    } else if constexpr (std::is_floating_point_v<T>) {
        return Kind::kNumber;
    } else if constexpr (std::is_same_v<T, std::vector<std::string>>) {
        return Kind::kTexts;
    } else if constexpr (std::is_same_v<T, std::vector<int64_t>>) {
        return Kind::kIntegers;
    } else {
        static_assert(std::is_same_v<T, std::string> || std::is_enum_v<T>);
        return Kind::kText;
    }
}

/// A value that convert() has accepted, as a member's type.
template <class T>
T from_value(const Value& value) {
    if constexpr (std::is_enum_v<T>) {
        for (const auto& [choice, word] : names_of(T{})) {
            if (word == std::get<std::string>(value)) {
                return choice;
            }
        }
        throw std::logic_error("an enum value outside of its table");
    } else if constexpr (std::is_same_v<T, uint64_t>) {
        return static_cast<uint64_t>(std::get<int64_t>(value));
    } else {
        return std::get<T>(value);
    }
}

template <class T>
Value to_value(const T& member) {
    if constexpr (std::is_enum_v<T>) {
        for (const auto& [choice, word] : names_of(T{})) {
            if (choice == member) {
                return std::string(word);
            }
        }
        throw std::logic_error("an enum value outside of its table");
    } else if constexpr (std::is_same_v<T, uint64_t>) {
        return static_cast<int64_t>(member);
    } else {
        return member;
    }
}

/// Collects the rows of one section.
template <class S>
class Section {
public:
    Section(std::string name, S JobConfig::*section) : name_(std::move(name)), section_(section) {}

    template <class T>
    void row(T S::*member, std::string key, Row row) {
        Option option{.section = name_,
                      .key = std::move(key),
                      .required = row.required,
                      .unit = std::move(row.unit),
                      .help = std::move(row.help),
                      .range = row.range,
                      .length = row.length,
                      .one_of = std::move(row.one_of),
                      .words_for_bool = std::move(row.words_for_bool),
                      .aliases = std::move(row.aliases),
                      .status = std::move(row.status)};
        if constexpr (IsOptional<T>::value) {
            add<typename T::value_type>(std::move(option), member);
        } else {
            add<T>(std::move(option), member);
        }
    }

    /// Moves the rows to the table. A member without a row is a mistake in describe_*.cpp.
    void append_to(std::vector<Option>& table) {
        if (rows_.size() != field_count<S>()) {
            throw std::logic_error("section " + name_ + ": number of rows and members differ");
        }
        std::move(rows_.begin(), rows_.end(), std::back_inserter(table));
    }

    std::vector<Option>& rows() { return rows_; }

private:
    template <class T, class Member>
    void add(Option option, Member S::*member) {
        constexpr bool kOptional = IsOptional<Member>::value;
        option.kind = kind_of<T>();
        option.optional = kOptional;
        if constexpr (std::is_enum_v<T>) {
            option.required = true;
            for (const auto& [choice, word] : names_of(T{})) {
                option.one_of.emplace_back(word);
            }
        }
        option.store = [section = section_, member](JobConfig& config,
                                                    const std::optional<Value>& value) {
            if constexpr (kOptional) {
                config.*section.*member =
                    value ? std::optional<T>(from_value<T>(*value)) : std::nullopt;
            } else {
                config.*section.*member = value ? from_value<T>(*value) : T{};
            }
        };
        option.fetch = [section = section_,
                        member](const JobConfig& config) -> std::optional<Value> {
            const Member& field = config.*section.*member;
            if constexpr (kOptional) {
                return field ? std::optional(to_value<T>(*field)) : std::nullopt;
            } else {
                return to_value<T>(field);
            }
        };
        rows_.push_back(std::move(option));
    }

    std::string name_;
    S JobConfig::*section_;
    std::vector<Option> rows_;
};

// Each adds the rows of some sections, in the order of JobConfig; one per describe_*.cpp.
void describe_run(std::vector<Option>& table);             // job, metrics, mlperf
void describe_model(std::vector<Option>& table);           // model, encoder
void describe_training(std::vector<Option>& table);        // training .. kernels
void describe_eval(std::vector<Option>& table);            // eval, inference
void describe_infrastructure(std::vector<Option>& table);  // checkpoint .. preprocessing
void describe_compatibility(std::vector<Option>& table);   // profiling .. experimental

}  // namespace flux::config
