#include "flux/base/folder_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <string>

#include "flux/base/error.h"
#include "flux/base/log.h"

namespace flux {
namespace {

constexpr const char* kLockFile = ".lock";

std::string this_process() {
    std::array<char, 256> host{};
    ::gethostname(host.data(), host.size() - 1);
    return fmt::format("process {} on {}", ::getpid(), host.data());
}

std::string holder(int descriptor) {
    std::array<char, 512> text{};
    const ssize_t size = ::pread(descriptor, text.data(), text.size() - 1, 0);
    return size > 0 ? std::string(text.data(), static_cast<size_t>(size)) : "another process";
}

}  // namespace

FolderLock::FolderLock(const std::filesystem::path& folder) {
    const std::filesystem::path path = folder / kLockFile;
    descriptor_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (descriptor_ < 0) {
        fail("{}: cannot open: {}", path.string(), std::strerror(errno));
    }
    if (::flock(descriptor_, LOCK_EX | LOCK_NB) == 0) {
        const std::string owner = this_process();
        if (::ftruncate(descriptor_, 0) != 0 || ::pwrite(descriptor_, owner.data(), owner.size(),
                                                         0) != static_cast<ssize_t>(owner.size())) {
            log::warning("{}: cannot write: {}", path.string(), std::strerror(errno));
        }
        return;
    }
    if (errno != EWOULDBLOCK) {
        log::warning("{}: cannot lock: {}; make sure that no other process uses this folder",
                     path.string(), std::strerror(errno));
        return;
    }
    const std::string owner = holder(descriptor_);
    ::close(descriptor_);
    fail("{}: is in use by {}; wait for it to end or choose another folder with --job.dump_folder",
         folder.string(), owner);
}

FolderLock::~FolderLock() { ::close(descriptor_); }

std::optional<std::string> lock_holder(const std::filesystem::path& folder) {
    const int descriptor = ::open((folder / kLockFile).c_str(), O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) {
        return std::nullopt;
    }
    const bool held = ::flock(descriptor, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
    std::optional<std::string> owner;
    if (held) {
        owner = holder(descriptor);
    }
    ::close(descriptor);
    return owner;
}

}  // namespace flux
