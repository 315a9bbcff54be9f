// A failure of storage, kept apart from damage of what it holds.
#pragma once

#include <string>
#include <utility>

#include "flux/base/error.h"

namespace flux {

/// Storage did not give what it holds: input and output errors, as of a file server that hangs.
/// Tells nothing about the data, so nothing may be concluded from it for good.
class StorageError : public Error {
public:
    using Error::Error;
};

/// Throws StorageError with the formatted message.
template <class... Args>
[[noreturn]] void fail_storage(fmt::format_string<Args...> format, Args&&... args) {
    throw StorageError(fmt::format(format, std::forward<Args>(args)...));
}

/// Throws the error again with a place in front of its message; a StorageError remains one.
[[noreturn]] inline void fail_at(const std::string& place, const Error& error) {
    if (dynamic_cast<const StorageError*>(&error) != nullptr) {
        fail_storage("{}: {}", place, error.what());
    }
    fail("{}: {}", place, error.what());
}

}  // namespace flux
