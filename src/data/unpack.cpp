#include "data/unpack.h"

#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <string_view>
#include <vector>

#include "flux/base/error.h"

namespace flux::data {
namespace {

constexpr size_t kChunkBytes = size_t{1} << 20;

using Sink = std::function<void(std::span<const uint8_t>)>;

void unpack_gzip(std::span<const uint8_t> in, const std::filesystem::path& path, const Sink& sink) {
    z_stream stream{};
    if (inflateInit2(&stream, 15 + 16) != Z_OK) {
        fail("{}: no memory to unpack it", path.string());
    }
    const std::unique_ptr<z_stream, decltype(&inflateEnd)> guard(&stream, inflateEnd);
    std::vector<uint8_t> out(kChunkBytes);
    size_t consumed = 0;
    for (;;) {
        const size_t offered = std::min(in.size() - consumed, kChunkBytes);
        stream.next_in = const_cast<Bytef*>(in.data() + consumed);
        stream.avail_in = static_cast<uInt>(offered);
        stream.next_out = out.data();
        stream.avail_out = static_cast<uInt>(out.size());
        const int status = inflate(&stream, Z_NO_FLUSH);
        const size_t used = offered - stream.avail_in;
        const size_t made = out.size() - stream.avail_out;
        consumed += used;
        sink(std::span(out).first(made));
        if (status == Z_STREAM_END) {
            if (consumed == in.size()) {
                return;
            }
            inflateReset(&stream);  // several gzip parts one after the other
        } else if (status != Z_OK || (used == 0 && made == 0)) {
            fail("{}: gzip data is damaged or truncated at byte {}", path.string(), consumed);
        }
    }
}

void unpack_zstd(std::span<const uint8_t> in, const std::filesystem::path& path, const Sink& sink) {
    const std::unique_ptr<ZSTD_DCtx, decltype(&ZSTD_freeDCtx)> context(ZSTD_createDCtx(),
                                                                       ZSTD_freeDCtx);
    if (!context) {
        fail("{}: no memory to unpack it", path.string());
    }
    std::vector<uint8_t> out(kChunkBytes);
    ZSTD_inBuffer input{in.data(), in.size(), 0};
    for (;;) {
        ZSTD_outBuffer output{out.data(), out.size(), 0};
        const size_t before = input.pos;
        const size_t status = ZSTD_decompressStream(context.get(), &output, &input);
        if (ZSTD_isError(status) != 0) {
            fail("{}: zstd data is damaged at byte {}: {}", path.string(), input.pos,
                 ZSTD_getErrorName(status));
        }
        sink(std::span(out).first(output.pos));
        if (status == 0 && input.pos == input.size) {
            return;
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

Packing packing_of(std::span<const uint8_t> bytes) {
    return begins(bytes, "\x1F\x8B")           ? Packing::kGzip
           : begins(bytes, "\x28\xB5\x2F\xFD") ? Packing::kZstd
                                               : Packing::kNone;
}

void unpack(std::span<const uint8_t> in, Packing packing, const std::filesystem::path& path,
            const Sink& sink) {
    switch (packing) {
        case Packing::kNone:
            return sink(in);
        case Packing::kGzip:
            return unpack_gzip(in, path, sink);
        case Packing::kZstd:
            return unpack_zstd(in, path, sink);
    }
}

}  // namespace flux::data
