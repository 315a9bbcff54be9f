// Reading much data of a file once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <utility>

namespace flux {

/// Device and number: another file of the same name has others.
using FileIdentity = std::pair<uint64_t, uint64_t>;

/// Throws Error naming the path and the reason.
FileIdentity identity_of(const std::filesystem::path& path);

/// A file that is read from front to back, from wherever one begins: for much data that is taken
/// once, which a map would fetch page by page.
class ReadFile {
public:
    /// Throws Error naming the path and the reason.
    explicit ReadFile(std::filesystem::path path);
    ~ReadFile();
    ReadFile(const ReadFile&) = delete;
    ReadFile& operator=(const ReadFile&) = delete;

    FileIdentity identity() const;

    /// Fills `into` with the bytes from `offset` on. Throws Error if the file ends before.
    void read(uint64_t offset, std::span<std::byte> into) const;

private:
    std::filesystem::path path_;
    int descriptor_ = -1;
};

}  // namespace flux
