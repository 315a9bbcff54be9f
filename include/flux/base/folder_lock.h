// Keeps two processes from writing into one folder at the same time.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

namespace flux {

/// Holds `folder`/.lock (flock) while it lives; a killed process gives it up. Throws Error naming
/// the process that holds it. Where the file system cannot lock, a warning is logged and nothing is
/// held.
class FolderLock {
public:
    explicit FolderLock(const std::filesystem::path& folder);
    ~FolderLock();
    FolderLock(const FolderLock&) = delete;
    FolderLock& operator=(const FolderLock&) = delete;

private:
    int descriptor_ = -1;
};

/// The process that holds the lock of `folder`, as people call it; nothing if none does or none
/// can.
std::optional<std::string> lock_holder(const std::filesystem::path& folder);

}  // namespace flux
