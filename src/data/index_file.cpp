// Layout, numbers little-endian: "FLUXIDX2", the stamp, packing, size of the tar, damage, whether
// the end mark was there, the samples; last a CRC-32C of all before. A text is its length and
// bytes.
#include "data/index_file.h"

#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <span>
#include <string>

#include "flux/base/crc32c.h"
#include "flux/base/error.h"
#include "flux/base/file.h"

namespace flux::data {
namespace {

constexpr std::string_view kMagic = "FLUXIDX2";

uint32_t checksum(std::string_view bytes) { return crc32c(std::as_bytes(std::span(bytes))); }

class Writer {
public:
    void number(uint64_t value, int bytes = 8) {
        for (int i = 0; i < bytes; ++i) {
            out_ += static_cast<char>(value >> (8 * i));
        }
    }
    void text(std::string_view value) {
        number(value.size(), 4);
        out_ += value;
    }
    void raw(std::string_view value) { out_ += value; }

    void sample(const IndexedSample& value) {
        text(value.key);
        text(value.problem);
        number(static_cast<uint64_t>(value.picture ? value.picture->width : 0), 4);
        number(static_cast<uint64_t>(value.picture ? value.picture->height : 0), 4);
        number(value.members.size(), 4);
        for (const IndexedMember& member : value.members) {
            text(member.extension);
            number(member.offset);
            number(member.size);
        }
    }
    const std::string& bytes() const { return out_; }

private:
    std::string out_;
};

/// Throws Error at the end of the bytes.
class Reader {
public:
    explicit Reader(std::string_view bytes) : rest_(bytes) {}

    std::string_view raw(uint64_t count) {
        if (count > rest_.size()) {
            fail("ends too early");
        }
        const std::string_view taken = rest_.substr(0, count);
        rest_.remove_prefix(count);
        return taken;
    }
    uint64_t number(int bytes = 8) {
        const std::string_view taken = raw(static_cast<uint64_t>(bytes));
        uint64_t value = 0;
        for (int i = 0; i < bytes; ++i) {
            value |= static_cast<uint64_t>(static_cast<unsigned char>(taken[i])) << (8 * i);
        }
        return value;
    }
    /// Of things that take at least `least_bytes` each: a damaged number takes no memory.
    uint64_t count(int bytes, uint64_t least_bytes) {
        const uint64_t value = number(bytes);
        if (value > rest_.size() / least_bytes) {
            fail("counts more than it holds");
        }
        return value;
    }
    std::string text() { return std::string(raw(number(4))); }

    IndexedSample sample() {
        IndexedSample value{text(), {}, std::nullopt, text()};
        const PictureSize size{static_cast<int>(number(4)), static_cast<int>(number(4))};
        if (size.width > 0 && size.height > 0) {
            value.picture = size;
        }
        value.members.resize(count(4, 20));
        for (IndexedMember& member : value.members) {
            member.extension = text();
            member.offset = number();
            member.size = number();
        }
        return value;
    }

private:
    std::string_view rest_;
};

StoredIndex parse(std::string_view bytes, const std::filesystem::path& shard,
                  const FileStamp& stamp) {
    constexpr size_t kChecksumBytes = 4;
    if (bytes.size() < kMagic.size() + kChecksumBytes || !bytes.starts_with(kMagic)) {
        fail("no index");
    }
    const std::string_view body = bytes.substr(0, bytes.size() - kChecksumBytes);
    if (Reader(bytes.substr(body.size())).number(kChecksumBytes) != checksum(body)) {
        fail("damaged");
    }
    Reader reader(body.substr(kMagic.size()));
    const uint64_t size_bytes = reader.number();
    const auto changed_ns = static_cast<int64_t>(reader.number());
    if (FileStamp{size_bytes, changed_ns} != stamp) {
        fail("the shard has changed");
    }
    const uint64_t packing = reader.number(1);
    if (packing > static_cast<uint64_t>(Packing::kZstd)) {
        fail("unknown packing");
    }
    const uint64_t unpacked = reader.number();
    StoredIndex stored{Shard(shard, static_cast<Packing>(packing), unpacked), {}};
    stored.index.damage = reader.text();
    stored.index.has_end_mark = reader.number(1) != 0;
    stored.index.samples.resize(reader.count(8, 20));
    for (IndexedSample& sample : stored.index.samples) {
        sample = reader.sample();
    }
    return stored;
}

}  // namespace

FileStamp stamp_of(const std::filesystem::path& path) {
    struct stat info {};
    if (::stat(path.c_str(), &info) != 0) {
        fail("{}: {}", path.string(), std::strerror(errno));
    }
    return {static_cast<uint64_t>(info.st_size),
            int64_t{info.st_mtim.tv_sec} * 1'000'000'000 + info.st_mtim.tv_nsec};
}

std::optional<StoredIndex> read_index_file(const std::filesystem::path& file,
                                           const std::filesystem::path& shard,
                                           const FileStamp& stamp) {
    std::error_code error;
    if (!std::filesystem::is_regular_file(file, error)) {
        return std::nullopt;
    }
    try {
        return parse(read_text(file), shard, stamp);
    } catch (const Error&) {  // it is made anew
        return std::nullopt;
    }
}

void write_index_file(const std::filesystem::path& file, const Shard& shard, const TarIndex& index,
                      const FileStamp& stamp) {
    Writer out;
    out.raw(kMagic);
    out.number(stamp.size_bytes);
    out.number(static_cast<uint64_t>(stamp.changed_ns));
    out.number(static_cast<uint64_t>(shard.packing()), 1);
    out.number(shard.size());
    out.text(index.damage);
    out.number(index.has_end_mark ? 1 : 0, 1);
    out.number(index.samples.size());
    for (const IndexedSample& sample : index.samples) {
        out.sample(sample);
    }
    out.number(checksum(out.bytes()), 4);
    write_text(file, out.bytes());
}

}  // namespace flux::data
