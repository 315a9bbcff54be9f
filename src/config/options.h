// The table of all options: one row per member of JobConfig. Reading TOML, the command line, help,
// the effective TOML, the documentation table and all checks of single values work from these rows;
// describe_*.cpp declares them.
#pragma once

#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "flux/config/job_config.h"

namespace flux::config {

/// A TOML value that no option takes (a date, a list of mixed types, a table).
struct OtherValue {
    std::string text;
    bool operator==(const OtherValue&) const = default;
};

using Value = std::variant<bool, int64_t, double, std::string, std::vector<std::string>,
                           std::vector<int64_t>, OtherValue>;

enum class Kind { kBool, kInteger, kNumber, kText, kTexts, kIntegers };

/// Limits of a number, or of each number of a list.
struct Range {
    double low = -std::numeric_limits<double>::infinity();
    double high = std::numeric_limits<double>::infinity();
    bool open_low = false;   // `low` itself is excluded
    bool open_high = false;  // `high` itself is excluded

    bool contains(double number) const;
};

enum class State {
    kActive,
    kUsedWith,   // read only together with another option, which is not built yet
    kNoMeaning,  // accepted for the sake of existing files; a notice says that it does nothing
    kNotBuilt,   // only the values in `accepted` are possible yet
};

struct Status {
    State state = State::kActive;
    std::string note;
    std::vector<std::optional<Value>> accepted;  // kNotBuilt; empty: only the default
};

struct Option {
    std::string section = {};
    std::string key = {};
    Kind kind = Kind::kBool;
    bool optional = false;  // may be unset
    bool required = false;  // a text that may not be empty
    std::string unit = {};
    std::string help = {};
    Range range = {};
    size_t length = 0;                             // of a list; 0: any
    std::vector<std::string> one_of = {};          // allowed texts; empty: any
    std::vector<std::string> words_for_bool = {};  // what false and true stand for in a text
    std::vector<std::string> aliases = {};
    Status status = {};
    std::function<void(JobConfig&, const std::optional<Value>&)> store = {};
    std::function<std::optional<Value>(const JobConfig&)> fetch = {};

    std::string name() const { return section + "." + key; }
};

/// All rows, in the order of JobConfig's sections.
const std::vector<Option>& all_options();

/// The switch `validation.enable` of newer torchtitan files. It is no option of its own: false
/// empties `eval.dataset`.
const Option& validation_switch();

/// The row with this name or alias ("section.key", underscores); nullptr if there is none.
const Option* find_option(std::string_view name);

/// "training" and so on, and the sections that exist as aliases only.
bool is_section(std::string_view name);

/// The known name most like an unknown one, or nothing when none comes near.
std::optional<std::string> nearest_option(std::string_view name);
std::optional<std::string> nearest_section(std::string_view name);

}  // namespace flux::config
