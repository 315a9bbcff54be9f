#include "base/descriptor.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "flux/base/error.h"

namespace flux {

void fail_errno(const std::filesystem::path& path, const char* operation) {
    const int code = errno;
    const char* remedy =
        code == ENOSPC || code == EDQUOT ? " (free some space and start again)" : "";
    fail("{}: {}: {}{}", path.string(), operation, std::strerror(code), remedy);
}

void write_all(int descriptor, const void* data, size_t size_bytes,
               const std::filesystem::path& path) {
    const char* from = static_cast<const char*>(data);
    while (size_bytes > 0) {
        const ssize_t written = ::write(descriptor, from, size_bytes);
        if (written < 0) {
            if (errno == EINTR) {
                continue;
            }
            fail_errno(path, "cannot write");
        }
        from += written;
        size_bytes -= static_cast<size_t>(written);
    }
}

}  // namespace flux
