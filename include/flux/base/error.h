// The two kinds of failure a user can cause. `main` turns them into exit codes: ConfigError 2, any
// other Error 1. A message names place, value, rule and remedy: "configs/x.toml:41: eval.batch_size
// = 0: must be >= 1". Bugs (states that no input may reach) use TORCH_CHECK instead.
#pragma once

#include <fmt/core.h>

#include <exception>
#include <stdexcept>
#include <string>
#include <utility>

namespace flux {

class Error : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

/// The configuration or the command line is wrong; nothing has been written.
class ConfigError : public Error {
public:
    using Error::Error;
};

/// What any failure means, in words for people: an Error's message as it is, memory that ran out
/// with its remedy, a bug as "internal error" with LibTorch's trace.
std::string failure_text(const std::exception& problem);

inline constexpr int kExitFailure = 1;
inline constexpr int kExitConfiguration = 2;

/// What the process ends with.
inline int exit_code(const std::exception& problem) {
    return dynamic_cast<const ConfigError*>(&problem) != nullptr ? kExitConfiguration
                                                                 : kExitFailure;
}

/// Throws Error with the formatted message.
template <class... Args>
[[noreturn]] void fail(fmt::format_string<Args...> format, Args&&... args) {
    throw Error(fmt::format(format, std::forward<Args>(args)...));
}

/// Throws ConfigError with the formatted message.
template <class... Args>
[[noreturn]] void fail_config(fmt::format_string<Args...> format, Args&&... args) {
    throw ConfigError(fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace flux
