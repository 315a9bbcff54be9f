// Files: read-only memory maps, and writing that never leaves half a file under the final name.
#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

namespace flux {

class BlockOutput;

/// A whole file mapped read-only. Movable; an empty file gives an empty span.
class MappedFile {
public:
    /// Throws Error naming the path and the reason.
    explicit MappedFile(const std::filesystem::path& path);
    ~MappedFile();
    MappedFile(MappedFile&& other) noexcept;
    MappedFile& operator=(MappedFile&& other) noexcept;
    MappedFile(const MappedFile&) = delete;
    MappedFile& operator=(const MappedFile&) = delete;

    std::span<const std::byte> bytes() const { return {data_, size_}; }
    const std::filesystem::path& path() const { return path_; }

private:
    std::filesystem::path path_;
    const std::byte* data_ = nullptr;
    size_t size_ = 0;
};

/// What becomes of a file that has the name already. Only regular files are ever replaced.
enum class Existing { kReplace, kRefuse };

/// Writes to "<path>.<8 digits>.tmp", a name of its own, and takes the final one in commit():
/// write, fsync, rename, fsync of the folder. So several may write one path at once; the last one
/// to commit wins. Destroyed before commit(), it removes the temporary file. All failures throw
/// Error naming path and reason, those of write() at the latest in commit().
class AtomicFile {
public:
    explicit AtomicFile(std::filesystem::path path, Existing existing = Existing::kReplace);
    ~AtomicFile();
    AtomicFile(const AtomicFile&) = delete;
    AtomicFile& operator=(const AtomicFile&) = delete;

    void write(const void* data, size_t size_bytes);
    void write(std::string_view text) { write(text.data(), text.size()); }
    void commit();

private:
    void create();

    std::filesystem::path path_;
    std::filesystem::path temporary_;
    Existing existing_;
    int descriptor_ = -1;
    std::unique_ptr<BlockOutput> output_;
};

/// Removes what killed processes left of their AtomicFiles of this path. Only for who alone writes
/// it.
void remove_unfinished(const std::filesystem::path& path);

/// The name that an AtomicFile of this temporary name was to have; empty: it is no such name.
std::string_view unfinished_name(std::string_view temporary);

/// The whole file as a string. Throws Error naming the path and the reason.
std::string read_text(const std::filesystem::path& path);

/// Replaces `path` in one step (AtomicFile).
void write_text(const std::filesystem::path& path, std::string_view text);

/// Appends one piece of text and flushes it to the system, so that a killed process loses nothing
/// it logged.
class AppendFile {
public:
    explicit AppendFile(std::filesystem::path path);
    ~AppendFile();
    AppendFile(const AppendFile&) = delete;
    AppendFile& operator=(const AppendFile&) = delete;

    void write(std::string_view text);

private:
    std::filesystem::path path_;
    int descriptor_ = -1;
};

/// The entries of a folder, sorted. What ends the listing early is in `problem`.
std::vector<std::filesystem::path> list_folder(const std::filesystem::path& folder,
                                               std::error_code& problem);

/// The same. Throws Error naming the folder and the reason if it cannot be read.
std::vector<std::filesystem::path> list_folder(const std::filesystem::path& folder);

/// Makes names in `folder` (created or renamed entries) durable.
void sync_folder(const std::filesystem::path& folder);

/// Creates `folder` and its parents, and proves that files can be written there. Throws Error that
/// ends with `remedy`, which should name the option that chose the folder.
void make_writable_folder(const std::filesystem::path& folder,
                          std::string_view remedy = "choose another");

}  // namespace flux
