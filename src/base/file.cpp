#include "flux/base/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <random>
#include <utility>

#include "base/block_output.h"
#include "base/descriptor.h"
#include "flux/base/error.h"

namespace flux {
namespace {

[[noreturn]] void fail_exists(const std::filesystem::path& path) {
    fail("{}: exists already and is not replaced: choose another name, or remove it first",
         path.string());
}

/// As rename(2); with kRefuse also what has come to be there in the meantime stays, where the file
/// system knows how.
int rename_to(const std::filesystem::path& from, const std::filesystem::path& to,
              Existing existing) {
    if (existing == Existing::kRefuse) {
        if (::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_NOREPLACE) == 0) {
            return 0;
        }
        if (errno != EINVAL && errno != ENOSYS) {
            return -1;
        }
    }
    return ::rename(from.c_str(), to.c_str());
}

constexpr std::string_view kUnfinished = ".tmp";
constexpr size_t kTagDigits = 8;

}  // namespace

MappedFile::MappedFile(const std::filesystem::path& path) : path_(path) {
    // O_NONBLOCK: a pipe without a writer is refused below, not waited for.
    const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (descriptor < 0) {
        fail_errno(path, "cannot open");
    }
    struct stat info {};
    if (::fstat(descriptor, &info) != 0 || !S_ISREG(info.st_mode)) {
        ::close(descriptor);
        fail("{}: not a regular file", path.string());
    }
    size_ = static_cast<size_t>(info.st_size);
    if (size_ > 0) {
        void* mapped = ::mmap(nullptr, size_, PROT_READ, MAP_SHARED, descriptor, 0);
        ::close(descriptor);
        if (mapped == MAP_FAILED) {
            fail_errno(path, "cannot map");
        }
        data_ = static_cast<const std::byte*>(mapped);
    } else {
        ::close(descriptor);
    }
}

MappedFile::~MappedFile() {
    if (data_ != nullptr) {
        ::munmap(const_cast<std::byte*>(data_), size_);
    }
}

MappedFile::MappedFile(MappedFile&& other) noexcept { *this = std::move(other); }

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
    std::swap(path_, other.path_);
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
}

AtomicFile::AtomicFile(std::filesystem::path path, Existing existing)
    : path_(std::move(path)), existing_(existing) {
    struct stat info {};
    if (::lstat(path_.c_str(), &info) == 0) {
        if (existing_ == Existing::kRefuse) {
            fail_exists(path_);
        }
        if (::stat(path_.c_str(), &info) != 0 || !S_ISREG(info.st_mode)) {
            fail("{}: is not a regular file and is not replaced: choose another name",
                 path_.string());
        }
    }
    create();
    output_ = std::make_unique<BlockOutput>(descriptor_, temporary_);
}

/// Processes of several hosts and containers may share a process id, hence a drawn name.
void AtomicFile::create() {
    std::random_device entropy;
    do {
        temporary_ = path_.string() + fmt::format(".{:0{}x}{}", static_cast<uint32_t>(entropy()),
                                                  kTagDigits, kUnfinished);
        descriptor_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    } while (descriptor_ < 0 && errno == EEXIST);
    if (descriptor_ < 0 && errno == ENOENT) {
        fail("{}: cannot create: the folder does not exist: create it, or choose another place",
             path_.string());
    }
    if (descriptor_ < 0) {
        fail_errno(temporary_, "cannot create");
    }
}

AtomicFile::~AtomicFile() {
    output_.reset();  // it may still be writing
    if (descriptor_ >= 0) {
        ::close(descriptor_);
        ::unlink(temporary_.c_str());
    }
}

void AtomicFile::write(const void* data, size_t size_bytes) { output_->write(data, size_bytes); }

void AtomicFile::commit() {
    output_->finish();
    if (::fsync(descriptor_) != 0) {
        fail_errno(temporary_, "cannot flush to disk");
    }
    ::close(std::exchange(descriptor_, -1));
    if (rename_to(temporary_, path_, existing_) != 0) {
        const int code = errno;
        ::unlink(temporary_.c_str());
        if (code == EEXIST) {
            fail_exists(path_);
        }
        errno = code;
        fail_errno(path_, "cannot rename the finished file");
    }
    sync_folder(path_.parent_path());
}

std::string_view unfinished_name(std::string_view temporary) {
    constexpr size_t kAdded = 1 + kTagDigits + kUnfinished.size();
    if (temporary.size() <= kAdded || !temporary.ends_with(kUnfinished)) {
        return {};
    }
    const std::string_view tag = temporary.substr(temporary.size() - kAdded, 1 + kTagDigits);
    const bool drawn =
        tag[0] == '.' && std::all_of(tag.begin() + 1, tag.end(),
                                     [](unsigned char c) { return std::isxdigit(c) != 0; });
    return drawn ? temporary.substr(0, temporary.size() - kAdded) : std::string_view();
}

void remove_unfinished(const std::filesystem::path& path) {
    for (const auto& entry : list_folder(path.has_parent_path() ? path.parent_path() : ".")) {
        if (unfinished_name(entry.filename().native()) == path.filename().native() &&
            ::unlink(entry.c_str()) != 0 && errno != ENOENT) {
            fail_errno(entry, "cannot remove");
        }
    }
}

std::string read_text(const std::filesystem::path& path) {
    const MappedFile file(path);
    const auto bytes = file.bytes();
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

void write_text(const std::filesystem::path& path, std::string_view text) {
    AtomicFile file(path);
    file.write(text);
    file.commit();
}

AppendFile::AppendFile(std::filesystem::path path) : path_(std::move(path)) {
    descriptor_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (descriptor_ < 0) {
        fail_errno(path_, "cannot open");
    }
}

AppendFile::~AppendFile() { ::close(descriptor_); }

void AppendFile::write(std::string_view text) {
    write_all(descriptor_, text.data(), text.size(), path_);
}

std::vector<std::filesystem::path> list_folder(const std::filesystem::path& folder,
                                               std::error_code& problem) {
    std::vector<std::filesystem::path> entries;
    for (std::filesystem::directory_iterator entry(folder, problem), end; !problem && entry != end;
         entry.increment(problem)) {
        entries.push_back(entry->path());
    }
    std::sort(entries.begin(), entries.end());
    return entries;
}

std::vector<std::filesystem::path> list_folder(const std::filesystem::path& folder) {
    std::error_code problem;
    std::vector<std::filesystem::path> entries = list_folder(folder, problem);
    if (problem) {
        fail("{}: the folder cannot be read: {}", folder.string(), problem.message());
    }
    return entries;
}

void sync_folder(const std::filesystem::path& folder) {
    const std::filesystem::path name = folder.empty() ? "." : folder;
    const int descriptor = ::open(name.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (descriptor < 0) {
        fail_errno(name, "cannot open the folder");
    }
    const bool synced =
        ::fsync(descriptor) == 0 || errno == EINVAL;  // some network file systems refuse
    ::close(descriptor);
    if (!synced) {
        fail_errno(name, "cannot flush the folder");
    }
}

void make_writable_folder(const std::filesystem::path& folder, std::string_view remedy) {
    std::error_code code;
    std::filesystem::create_directories(folder, code);
    if (code) {
        fail("{}: cannot create the folder: {}: {}", folder.string(), code.message(), remedy);
    }
    const std::filesystem::path probe = folder / fmt::format(".write_probe.{}", ::getpid());
    const int descriptor = ::open(probe.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    if (descriptor < 0) {
        fail("{}: cannot write into the folder: {}: {}", folder.string(), std::strerror(errno),
             remedy);
    }
    ::close(descriptor);
    ::unlink(probe.c_str());
}

}  // namespace flux
