// What writing through a file descriptor shares: all of it, or an error in words.
#pragma once

#include <cstddef>
#include <filesystem>

namespace flux {

/// Throws Error with the reason in errno, and what to do about a full disk.
[[noreturn]] void fail_errno(const std::filesystem::path& path, const char* operation);

/// Throws Error naming `path`.
void write_all(int descriptor, const void* data, size_t size_bytes,
               const std::filesystem::path& path);

}  // namespace flux
