#include "flux/base/read_file.h"

#include <c10/util/Exception.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "flux/base/error.h"

namespace flux {

ReadFile::ReadFile(std::filesystem::path path) : path_(std::move(path)) {
    open(O_DIRECT);
    const Window window;
    if (descriptor_ < 0 ||
        ::pread(descriptor_, window.memory_.data(), AlignedBytes::kAlignment, 0) < 0) {
        open(0);
    }
    if (descriptor_ < 0) {
        fail("{}: cannot open: {}", path_.string(), std::strerror(errno));
    }
    ::posix_fadvise(descriptor_, 0, 0, POSIX_FADV_SEQUENTIAL);  // for reads through the page cache
}

ReadFile::~ReadFile() {
    if (descriptor_ >= 0) {
        ::close(descriptor_);
    }
}

void ReadFile::open(int flags) {
    if (descriptor_ >= 0) {
        ::close(descriptor_);
    }
    descriptor_ = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC | flags);
}

FileIdentity identity_of(const std::filesystem::path& path) {
    struct stat info {};
    if (::stat(path.c_str(), &info) != 0) {
        fail("{}: cannot open: {}", path.string(), std::strerror(errno));
    }
    return {info.st_dev, info.st_ino};
}

FileIdentity ReadFile::identity() const {
    struct stat info {};
    if (::fstat(descriptor_, &info) != 0) {
        fail("{}: cannot read: {}", path_.string(), std::strerror(errno));
    }
    return {info.st_dev, info.st_ino};
}

std::span<const std::byte> ReadFile::read(uint64_t offset, size_t size_bytes,
                                          Window& window) const {
    TORCH_CHECK(size_bytes <= Window::kBytes, "read of ", size_bytes, " bytes");
    constexpr size_t kAlignment = AlignedBytes::kAlignment;
    std::byte* const memory = window.memory_.data();
    const size_t skipped = offset % kAlignment, wanted = skipped + size_bytes;
    const size_t asked = (wanted + kAlignment - 1) / kAlignment * kAlignment;
    const uint64_t begin = offset - skipped;
    for (size_t there = 0; there < wanted;) {
        const ssize_t got =
            ::pread(descriptor_, memory + there, asked - there, static_cast<off_t>(begin + there));
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            fail("{}: cannot read: {}", path_.string(), std::strerror(errno));
        }
        const size_t end = there + static_cast<size_t>(got);
        const size_t whole = end < wanted ? end / kAlignment * kAlignment : end;
        if (whole <= there && end < wanted) {
            fail("{}: ends at byte {}, {} more are expected: it is truncated", path_.string(),
                 begin + end, wanted - end);
        }
        there = whole;
    }
    return {memory + skipped, size_bytes};
}

}  // namespace flux
