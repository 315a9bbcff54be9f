#include "flux/data/shard.h"

#include <fcntl.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>

#include "flux/base/error.h"
#include "flux/base/file.h"

namespace flux::data {
namespace {

constexpr size_t kMaxUnpackedBytes = size_t{4} << 30;
constexpr size_t kChunkBytes = size_t{1} << 20;

std::span<const uint8_t> as_bytes(const MappedFile& file) {
    return {reinterpret_cast<const uint8_t*>(file.bytes().data()), file.bytes().size()};
}

/// Makes room for the next chunk of output; returns where it begins.
size_t grow(std::vector<uint8_t>& out, const std::filesystem::path& path) {
    const size_t begin = out.size();
    if (begin >= kMaxUnpackedBytes) {
        fail("{}: unpacks to more than {} bytes, which are held in memory: unpack the file",
             path.string(), kMaxUnpackedBytes);
    }
    out.resize(begin + kChunkBytes);
    return begin;
}

std::vector<uint8_t> unpack_gzip(std::span<const uint8_t> in, const std::filesystem::path& path) {
    z_stream stream{};
    if (inflateInit2(&stream, 15 + 16) != Z_OK) {
        fail("{}: no memory to unpack it", path.string());
    }
    const std::unique_ptr<z_stream, decltype(&inflateEnd)> guard(&stream, inflateEnd);
    std::vector<uint8_t> out;
    size_t consumed = 0;
    for (;;) {
        const size_t begin = grow(out, path);
        const size_t offered = std::min(in.size() - consumed, kChunkBytes);
        stream.next_in = const_cast<Bytef*>(in.data() + consumed);
        stream.avail_in = static_cast<uInt>(offered);
        stream.next_out = out.data() + begin;
        stream.avail_out = static_cast<uInt>(kChunkBytes);
        const int status = inflate(&stream, Z_NO_FLUSH);
        const size_t used = offered - stream.avail_in;
        consumed += used;
        const size_t made = kChunkBytes - stream.avail_out;
        out.resize(begin + made);
        if (status == Z_STREAM_END) {
            if (consumed == in.size()) {
                return out;
            }
            inflateReset(&stream);  // several gzip parts one after the other
        } else if (status != Z_OK || (used == 0 && made == 0)) {
            fail("{}: gzip data is damaged or truncated at byte {}", path.string(), consumed);
        }
    }
}

std::vector<uint8_t> unpack_zstd(std::span<const uint8_t> in, const std::filesystem::path& path) {
    const std::unique_ptr<ZSTD_DCtx, decltype(&ZSTD_freeDCtx)> context(ZSTD_createDCtx(),
                                                                       ZSTD_freeDCtx);
    if (!context) {
        fail("{}: no memory to unpack it", path.string());
    }
    std::vector<uint8_t> out;
    ZSTD_inBuffer input{in.data(), in.size(), 0};
    for (;;) {
        const size_t begin = grow(out, path);
        ZSTD_outBuffer output{out.data() + begin, kChunkBytes, 0};
        const size_t before = input.pos;
        const size_t status = ZSTD_decompressStream(context.get(), &output, &input);
        out.resize(begin + output.pos);
        if (ZSTD_isError(status) != 0) {
            fail("{}: zstd data is damaged at byte {}: {}", path.string(), input.pos,
                 ZSTD_getErrorName(status));
        }
        if (status == 0 && input.pos == input.size) {
            return out;
        }
        if (input.pos == before && output.pos == 0) {
            fail("{}: zstd data is truncated at byte {}", path.string(), input.pos);
        }
    }
}

bool begins(std::span<const uint8_t> bytes, std::string_view magic) {
    return bytes.size() >= magic.size() &&
           std::memcmp(bytes.data(), magic.data(), magic.size()) == 0;
}

}  // namespace

Shard::Shard(std::filesystem::path path) : path_(std::move(path)) {
    const MappedFile file(path_);
    const std::span<const uint8_t> bytes = as_bytes(file);
    if (bytes.empty()) {
        fail("{}: the file is empty, not a tar archive", path_.string());
    }
    if (begins(bytes, "\x1F\x8B")) {
        unpacked_ = unpack_gzip(bytes, path_);
    } else if (begins(bytes, "\x28\xB5\x2F\xFD")) {
        unpacked_ = unpack_zstd(bytes, path_);
    }
    unpacked_.shrink_to_fit();
    size_ = unpacked_.empty() ? bytes.size() : unpacked_.size();
}

ShardReader::ShardReader(const Shard& shard) : shard_(shard) {
    if (shard_.unpacked_.empty()) {
        descriptor_ = ::open(shard_.path_.c_str(), O_RDONLY | O_CLOEXEC);
        if (descriptor_ < 0) {
            fail("{}: cannot be opened: {}", shard_.path_.string(), std::strerror(errno));
        }
    }
}

ShardReader::~ShardReader() {
    if (descriptor_ >= 0) {
        ::close(descriptor_);
    }
}

size_t ShardReader::read_at(uint64_t offset, std::span<uint8_t> out) const {
    if (offset >= shard_.size_) {
        return 0;
    }
    const size_t wanted = std::min<uint64_t>(out.size(), shard_.size_ - offset);
    if (descriptor_ < 0) {
        std::memcpy(out.data(), shard_.unpacked_.data() + offset, wanted);
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
            fail("{}: cannot be read at byte {}: {}", shard_.path_.string(), offset + done,
                 count < 0 ? std::strerror(errno) : "the file has become shorter");
        }
        done += static_cast<size_t>(count);
    }
    return done;
}

}  // namespace flux::data
