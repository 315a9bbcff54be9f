#include "base/block_output.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <system_error>
#include <utility>

#include "base/descriptor.h"
#include "flux/base/error.h"

namespace flux {

BlockOutput::BlockOutput(int descriptor, std::filesystem::path path)
    : descriptor_(descriptor), path_(std::move(path)) {}

void BlockOutput::write(const void* data, size_t size_bytes) {
    check();
    const auto* from = static_cast<const std::byte*>(data);
    while (size_bytes > 0) {
        AlignedBytes& block = blocks_.front();
        if (block.size() == 0) {
            block = AlignedBytes(kBlockBytes);
        }
        const size_t count = std::min(size_bytes, kBlockBytes - filled_bytes_);
        std::memcpy(block.data() + filled_bytes_, from, count);
        from += count;
        size_bytes -= count;
        filled_bytes_ += count;
        if (filled_bytes_ == kBlockBytes) {
            send();
        }
    }
}

/// What failed has left a gap.
void BlockOutput::check() const {
    if (failed_) {
        fail("{}: cannot be written on: an earlier part failed", path_.string());
    }
}

void BlockOutput::await() {
    if (under_way_.valid()) {
        failed_ = true;
        under_way_.get();
        failed_ = false;
    }
}

void BlockOutput::send() {
    if (!under_way_.valid()) {
        set_direct(true);  // the first
    }
    await();
    const std::byte* const block = blocks_.front().data();
    try {
        under_way_ = std::async(std::launch::async, [this, block] { send_block(block); });
    } catch (const std::system_error&) {  // no thread is to be had
        failed_ = true;
        send_block(block);
        failed_ = false;
    }
    std::swap(blocks_.front(), blocks_.back());
    filled_bytes_ = 0;
}

void BlockOutput::send_block(const std::byte* block) {
    ssize_t written = direct_ ? ::write(descriptor_, block, kBlockBytes) : 0;
    if (written == static_cast<ssize_t>(kBlockBytes)) {
        return;
    }
    set_direct(false);  // refused, or at the disk's end: then this says so
    written = std::max<ssize_t>(written, 0);
    write_all(descriptor_, block + written, kBlockBytes - static_cast<size_t>(written), path_);
}

void BlockOutput::finish() {
    check();
    await();
    set_direct(false);  // its size is no whole number of sectors
    failed_ = true;
    write_all(descriptor_, blocks_.front().data(), filled_bytes_, path_);
    failed_ = false;
    filled_bytes_ = 0;
}

void BlockOutput::set_direct(bool direct) {
    if (direct == direct_) {
        return;
    }
    const int flags = ::fcntl(descriptor_, F_GETFL);
    const int wanted = direct ? flags | O_DIRECT : flags & ~O_DIRECT;
    if (flags >= 0 && ::fcntl(descriptor_, F_SETFL, wanted) == 0) {
        direct_ = direct;
    }
}

}  // namespace flux
