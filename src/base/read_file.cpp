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

ReadFile::ReadFile(std::filesystem::path path)
    : path_(std::move(path)),
      cached_(::open(path_.c_str(), O_RDONLY | O_CLOEXEC)),
      direct_(::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_DIRECT)) {
    if (cached_ < 0) {
        const int code = errno;
        ::close(direct_);
        fail("{}: cannot open: {}", path_.string(), std::strerror(code));
    }
    ::posix_fadvise(cached_, 0, 0, POSIX_FADV_SEQUENTIAL);
}

ReadFile::~ReadFile() {
    ::close(cached_);
    if (direct_ >= 0) {
        ::close(direct_);
    }
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
    if (::fstat(cached_, &info) != 0) {
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
    bool direct = direct_ >= 0;
    for (size_t there = 0; there < wanted;) {
        const ssize_t got = ::pread(direct ? direct_ : cached_, memory + there, asked - there,
                                    static_cast<off_t>(begin + there));
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0 && direct) {
            direct = false;  // what is wrong with the file itself comes again
            continue;
        }
        if (got < 0) {
            fail("{}: cannot read: {}", path_.string(), std::strerror(errno));
        }
        if (got == 0) {
            fail("{}: ends at byte {}, {} more are expected: it is truncated", path_.string(),
                 begin + there, wanted - there);
        }
        there += static_cast<size_t>(got);
        direct = direct && there % kAlignment == 0;  // else at the end
    }
    return {memory + skipped, size_bytes};
}

}  // namespace flux
