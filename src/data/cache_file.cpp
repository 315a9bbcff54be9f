#include "data/cache_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <sstream>
#include <utility>

#include "data/cache_space.h"
#include "flux/base/error.h"
#include "flux/base/file.h"

namespace flux::data {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void fail_errno(const fs::path& path, std::string_view action) {
    fail("{}: {}: {}", path.string(), action, std::strerror(errno));
}

/// The open file still has this name.
bool is_named(int descriptor, const fs::path& path) {
    struct stat held {};
    struct stat named {};
    return ::fstat(descriptor, &held) == 0 && ::stat(path.c_str(), &named) == 0 &&
           held.st_ino == named.st_ino;
}

/// Opens and locks the file under this name: one that was renamed while waiting is let go.
int open_locked(const fs::path& path) {
    for (;;) {
        const int descriptor = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
        if (descriptor < 0) {
            fail_errno(path, "cannot create");
        }
        while (::flock(descriptor, LOCK_EX) != 0) {
            if (errno == ENOLCK || errno == EOPNOTSUPP) {
                break;  // a file system without locks
            }
            if (errno != EINTR) {
                ::close(descriptor);
                fail_errno(path, "cannot lock");
            }
        }
        if (is_named(descriptor, path)) {
            return descriptor;
        }
        ::close(descriptor);
    }
}

/// What stands beside a file: the size it must have (0 while it grows), then the validator.
struct Origin {
    uint64_t whole_size = 0;
    std::string validator{};
};

Origin read_origin(const fs::path& path) {
    Origin origin;
    if (fs::is_regular_file(path)) {
        std::istringstream text(read_text(path));
        text >> origin.whole_size;
        text.ignore(1);
        std::getline(text, origin.validator);
    }
    return origin;
}

}  // namespace

CacheFile::CacheFile(fs::path path, const RemoteSettings& settings)
    : path_(std::move(path)),
      part_(path_.string() + ".part"),
      origin_(path_.string() + ".from"),
      settings_(settings) {
    fs::create_directories(path_.parent_path());
    if (take_finished()) {
        return;
    }
    descriptor_ = open_locked(part_);
    if (take_finished()) {  // by the process that was waited for
        ::unlink(part_.c_str());
        ::close(std::exchange(descriptor_, -1));
        return;
    }
    size_ = static_cast<uint64_t>(::lseek(descriptor_, 0, SEEK_END));
    validator_ = read_origin(origin_).validator;
    if (validator_.empty() && size_ > 0) {
        restart({});
    }
}

CacheFile::~CacheFile() {
    if (descriptor_ >= 0) {
        ::close(descriptor_);  // what has come stays for the next start
    }
}

bool CacheFile::take_finished() {
    std::error_code error;
    const uint64_t size = fs::file_size(path_, error);
    if (error || size == 0 ||  // an empty one is asked for again
        size != read_origin(origin_).whole_size) {
        return false;
    }
    size_ = size;
    return true;
}

void CacheFile::write_origin(uint64_t whole_size) const {
    write_text(origin_, fmt::format("{}\n{}\n", whole_size, validator_));
}

void CacheFile::restart(const std::string& validator) {
    if (::ftruncate(descriptor_, 0) != 0 || ::lseek(descriptor_, 0, SEEK_SET) != 0) {
        fail_errno(part_, "cannot be emptied");
    }
    CacheSpace::of(settings_.cache_dir).give_back(size_);
    size_ = 0;
    validator_ = validator;
    write_origin(0);
}

void CacheFile::append(std::span<const char> bytes) {
    CacheSpace::of(settings_.cache_dir).take(bytes.size(), settings_);
    while (!bytes.empty()) {
        const ssize_t written = ::write(descriptor_, bytes.data(), bytes.size());
        if (written < 0 && errno != EINTR) {
            fail_errno(part_, "cannot write");
        }
        if (written > 0) {
            bytes = bytes.subspan(static_cast<size_t>(written));
            size_ += static_cast<uint64_t>(written);
        }
    }
}

void CacheFile::commit() {
    if (::fsync(descriptor_) != 0) {
        fail_errno(part_, "cannot flush to disk");
    }
    write_origin(size_);
    if (::rename(part_.c_str(), path_.c_str()) != 0) {
        fail_errno(path_, "cannot rename the finished file");
    }
    sync_folder(path_.parent_path());
    ::close(std::exchange(descriptor_, -1));
}

CacheLease::CacheLease(const fs::path& path)
    : descriptor_(::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
    if (descriptor_ < 0) {
        return;
    }
    (void)::flock(descriptor_, LOCK_SH);  // a file system without locks has no other processes
    if (!is_named(descriptor_, path)) {
        ::close(std::exchange(descriptor_, -1));
    }
}

CacheLease::~CacheLease() {
    if (descriptor_ >= 0) {
        ::close(descriptor_);
    }
}

uint64_t evict_cached(const fs::path& path) {
    const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) {
        return 0;
    }
    struct stat info {};
    const bool free = ::flock(descriptor, LOCK_EX | LOCK_NB) == 0 && is_named(descriptor, path) &&
                      ::fstat(descriptor, &info) == 0 && ::unlink(path.c_str()) == 0;
    ::close(descriptor);
    return free ? static_cast<uint64_t>(info.st_size) : 0;
}

}  // namespace flux::data
