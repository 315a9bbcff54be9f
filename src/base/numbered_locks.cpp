// One byte of the file for each number. The locks belong to the open file (F_OFD), not to the
// process, so that another open of the same file cannot drop them.
#include "flux/base/numbered_locks.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "flux/base/error.h"
#include "flux/base/log.h"

namespace flux {
namespace {

struct flock range(short type, int64_t number) {
    struct flock request {};
    request.l_type = type;
    request.l_whence = SEEK_SET;
    request.l_start = number;
    request.l_len = 1;
    return request;
}

}  // namespace

NumberedLocks::Held::Held(Held&& other) noexcept
    : descriptor_(std::exchange(other.descriptor_, -1)), number_(other.number_) {}

void NumberedLocks::Held::release() {
    if (descriptor_ >= 0) {
        struct flock request = range(F_UNLCK, number_);
        ::fcntl(descriptor_, F_OFD_SETLK, &request);  // nothing to do if it was not locked
        descriptor_ = -1;
    }
}

NumberedLocks::NumberedLocks(std::filesystem::path file, bool alone)
    : file_(std::move(file)), alone_(alone) {
    descriptor_ = ::open(file_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (descriptor_ < 0) {
        fail("{}: cannot open: {}", file_.string(), std::strerror(errno));
    }
}

NumberedLocks::~NumberedLocks() { ::close(descriptor_); }

bool NumberedLocks::take(int64_t number, bool wait) {
    struct flock request = range(F_WRLCK, number);
    while (::fcntl(descriptor_, wait ? F_OFD_SETLKW : F_OFD_SETLK, &request) != 0) {
        if (errno == EINTR) {
            continue;
        }
        if (!wait && (errno == EAGAIN || errno == EACCES)) {
            return false;
        }
        if (!alone_) {
            fail(
                "{}: cannot lock: {}; several processes need a file system with locks: mount it "
                "with them, choose another, or use one process",
                file_.string(), std::strerror(errno));
        }
        if (!std::exchange(warned_, true)) {
            log::warning("{}: cannot lock: {}; make sure that no other process uses this folder",
                         file_.string(), std::strerror(errno));
        }
        return true;
    }
    return true;
}

std::optional<NumberedLocks::Held> NumberedLocks::try_lock(int64_t number) {
    return take(number, false) ? std::optional(Held(descriptor_, number)) : std::nullopt;
}

NumberedLocks::Held NumberedLocks::lock(int64_t number) {
    take(number, true);
    return {descriptor_, number};
}

}  // namespace flux
