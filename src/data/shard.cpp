#include "flux/data/shard.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "data/unpack.h"
#include "flux/base/error.h"
#include "flux/base/file.h"
#include "flux/base/storage_error.h"

namespace flux::data {
namespace {

std::span<const uint8_t> as_bytes(const MappedFile& file) {
    return {reinterpret_cast<const uint8_t*>(file.bytes().data()), file.bytes().size()};
}

/// All of a compressed shard, in exactly the memory that was counted for it.
std::vector<uint8_t> unpack_whole(const Shard& shard) {
    const MappedFile file(shard.path());
    std::vector<uint8_t> out(shard.size());
    size_t filled = 0;
    unpack(as_bytes(file), shard.packing(), shard.path(), [&](std::span<const uint8_t> piece) {
        if (piece.size() > out.size() - filled) {
            fail("{}: the file has changed since the data set was opened: restart",
                 shard.path().string());
        }
        std::copy(piece.begin(), piece.end(), out.begin() + static_cast<ptrdiff_t>(filled));
        filled += piece.size();
    });
    if (filled < out.size()) {
        fail("{}: the file has become shorter since the data set was opened: restart",
             shard.path().string());
    }
    return out;
}

}  // namespace

Shard::Shard(std::filesystem::path path, uint64_t most_unpacked) : path_(std::move(path)) {
    const MappedFile file(path_);
    const std::span<const uint8_t> bytes = as_bytes(file);
    if (bytes.empty()) {
        fail("{}: the file is empty, not a tar archive", path_.string());
    }
    packing_ = packing_of(bytes);
    if (packing_ == Packing::kNone) {
        size_ = bytes.size();
    } else {
        unpack(bytes, packing_, path_, [&](std::span<const uint8_t> piece) {
            size_ += piece.size();
            if (size_ > most_unpacked) {
                fail(
                    "{}: the compressed shard unpacks to more than {} bytes, which is what can be "
                    "held in memory: repack it as plain .tar, or as several smaller shards",
                    path_.string(), most_unpacked);
            }
        });
    }
}

ShardReader::ShardReader(Shard shard) : shard_(std::move(shard)) {
    if (shard_.packing() != Packing::kNone) {
        unpacked_ = unpack_whole(shard_);
        return;
    }
    descriptor_ = ::open(shard_.path().c_str(), O_RDONLY | O_CLOEXEC);
    if (descriptor_ < 0) {
        fail_storage("{}: cannot be opened: {}", shard_.path().string(), std::strerror(errno));
    }
}

ShardReader::~ShardReader() {
    if (descriptor_ >= 0) {
        ::close(descriptor_);
    }
}

size_t ShardReader::read_at(uint64_t offset, std::span<uint8_t> out) const {
    if (offset >= shard_.size()) {
        return 0;
    }
    const size_t wanted = std::min<uint64_t>(out.size(), shard_.size() - offset);
    if (descriptor_ < 0) {
        std::memcpy(out.data(), unpacked_.data() + offset, wanted);
        return wanted;
    }
    size_t done = 0;
    while (done < wanted) {
        const ssize_t count = ::pread(descriptor_, out.data() + done, wanted - done,
                                      static_cast<off_t>(offset + done));
        if (count < 0 && errno == EINTR) {
            continue;
        }
        if (count <= 0) {
            fail_storage("{}: cannot be read at byte {}: {}", shard_.path().string(), offset + done,
                         count < 0 ? std::strerror(errno) : "the file has become shorter");
        }
        done += static_cast<size_t>(count);
    }
    return done;
}

}  // namespace flux::data
