// Reading much data of a file once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <utility>

#include "flux/base/aligned_bytes.h"

namespace flux {

/// Device and number: another file of the same name has others.
using FileIdentity = std::pair<uint64_t, uint64_t>;

/// Throws Error naming the path and the reason.
FileIdentity identity_of(const std::filesystem::path& path);

/// A file of which much is read once: past the page cache where the file system allows, as giving
/// the bytes pages there takes longer than reading them. Several threads may read. What several
/// processes of a machine read comes from the disk for each.
class ReadFile {
public:
    /// What a thread reads into.
    class Window {
    public:
        static constexpr size_t kBytes = size_t{1} << 20;  // at most, in one call

    private:
        friend class ReadFile;
        AlignedBytes memory_{kBytes + 2 * AlignedBytes::kAlignment};
    };

    /// Throws Error naming the path and the reason.
    explicit ReadFile(std::filesystem::path path);
    ~ReadFile();
    ReadFile(const ReadFile&) = delete;
    ReadFile& operator=(const ReadFile&) = delete;

    FileIdentity identity() const;

    /// The bytes from `offset` on, at most Window::kBytes; they stay until the next call with the
    /// window. Their address is aligned as their offset is, up to a page. Throws Error if the file
    /// ends before.
    std::span<const std::byte> read(uint64_t offset, size_t size_bytes, Window& window) const;

private:
    std::filesystem::path path_;
    int cached_;  // descriptors: through the page cache,
    int direct_;  // and past it; -1 where that is refused
};

}  // namespace flux
