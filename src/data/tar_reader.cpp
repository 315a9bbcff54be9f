#include "flux/data/tar_reader.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <string_view>

#include "flux/base/error.h"

namespace flux::data {
namespace {

constexpr uint64_t kBlock = 512;
constexpr uint64_t kMaxExtensionBytes = 1 << 20;  // long names and PAX records
constexpr uint64_t kMaxSize = uint64_t{1} << 62;

struct Field {
    size_t offset;
    size_t size;
};
constexpr Field kName{0, 100}, kSize{124, 12}, kChecksum{148, 8}, kMagic{257, 6}, kPrefix{345, 155};
constexpr size_t kType = 156;

using Block = std::array<uint8_t, kBlock>;

/// A text field up to its first NUL.
std::string text(const Block& block, Field field) {
    const char* begin = reinterpret_cast<const char*>(block.data()) + field.offset;
    return {begin, strnlen(begin, field.size)};
}

/// Octal digits between blanks, or GNU's binary form. Nothing if it is neither.
std::optional<uint64_t> number(const Block& block, Field field) {
    const uint8_t* bytes = block.data() + field.offset;
    uint64_t value = 0;
    if (bytes[0] == 0x80) {
        for (size_t i = 1; i < field.size; ++i) {
            if (value >> 54 != 0) {
                return std::nullopt;
            }
            value = value << 8 | bytes[i];
        }
        return value;
    }
    const auto is_blank = [](uint8_t byte) { return byte == ' ' || byte == '\0'; };
    size_t i = 0;
    while (i < field.size && bytes[i] == ' ') {
        ++i;
    }
    for (; i < field.size && bytes[i] >= '0' && bytes[i] <= '7'; ++i) {
        value = value << 3 | static_cast<uint64_t>(bytes[i] - '0');
    }
    return std::all_of(bytes + i, bytes + field.size, is_blank) ? std::optional(value)
                                                                : std::nullopt;
}

/// Old programs summed signed bytes.
bool checksum_fits(const Block& block) {
    int64_t plain = 0;
    int64_t signed_sum = 0;
    for (size_t i = 0; i < kBlock; ++i) {
        const bool inside = i >= kChecksum.offset && i < kChecksum.offset + kChecksum.size;
        const uint8_t byte = inside ? ' ' : block[i];
        plain += byte;
        signed_sum += static_cast<int8_t>(byte);
    }
    const auto stored = number(block, kChecksum);
    return stored &&
           (static_cast<int64_t>(*stored) == plain || static_cast<int64_t>(*stored) == signed_sum);
}

uint64_t padded(uint64_t size) { return (size + kBlock - 1) / kBlock * kBlock; }

}  // namespace

struct TarReader::Header {
    std::string name;
    char type = '\0';
    uint64_t size = 0;
    uint64_t data_offset = 0;

    bool is_regular() const { return type == '0' || type == '\0' || type == '7'; }
    /// Links, devices, folders and pipes have no bytes, whatever their size field says.
    bool has_bytes() const { return type < '1' || type > '6'; }
};

/// What preceding extension headers say about the next member.
struct TarReader::Overrides {
    std::optional<std::string> name;
    std::optional<uint64_t> size;
    bool sparse = false;
};

TarReader::TarReader(const ShardReader& reader) : reader_(reader) {}

void TarReader::fail_here(const std::string& reason) const {
    fail("{}: at byte {}: {}", reader_.shard().path().string(), header_position_, reason);
}

bool TarReader::is_cut(const TarMember& member) const {
    const uint64_t end = reader_.shard().size();
    return member.size > end || member.offset > end - member.size;
}

std::optional<TarReader::Header> TarReader::read_header() {
    header_position_ = position_;
    Block block{};
    const size_t count = reader_.read_at(position_, block);
    if (count == 0) {
        return std::nullopt;
    }
    if (count < kBlock) {
        fail_here(fmt::format("the archive is truncated: {} bytes where a header of {} belongs",
                              count, kBlock));
    }
    if (std::all_of(block.begin(), block.end(), [](uint8_t byte) { return byte == 0; })) {
        saw_end_mark_ = true;
        return std::nullopt;
    }
    if (!checksum_fits(block)) {
        fail_here("not a tar header (its checksum does not fit)");
    }
    const std::string magic = text(block, kMagic);
    if (!magic.empty() && !magic.starts_with("ustar")) {
        fail_here("not a tar header (unknown kind of archive)");
    }
    const auto size = number(block, kSize);
    if (!size || *size > kMaxSize) {
        fail_here("the size field of the header is no valid number");
    }
    Header header;
    header.type = static_cast<char>(block[kType]);
    header.size = *size;
    header.name = text(block, kName);
    const std::string prefix = text(block, kPrefix);
    if (magic == "ustar" && !prefix.empty()) {  // GNU's "ustar  " has other fields there
        header.name = prefix + "/" + header.name;
    }
    header.data_offset = position_ + kBlock;
    return header;
}

/// The bytes of a long name or of PAX records.
std::string TarReader::read_extension(const Header& header) const {
    if (header.size > kMaxExtensionBytes) {
        fail_here(fmt::format("an extension header of {} bytes, more than the limit of {}",
                              header.size, kMaxExtensionBytes));
    }
    std::string bytes(header.size, '\0');
    const size_t count = reader_.read_at(header.data_offset,
                                         {reinterpret_cast<uint8_t*>(bytes.data()), bytes.size()});
    if (count < bytes.size()) {
        fail_here("the archive is truncated inside an extension header");
    }
    return bytes;
}

/// Records are "<length> <key>=<value>\n", the length counting all of it.
void TarReader::apply_pax(const std::string& records, Overrides& overrides) const {
    std::string_view rest = records;
    while (!rest.empty() && rest[0] != '\0') {
        size_t length = 0;
        const auto [after, error] = std::from_chars(rest.data(), rest.data() + rest.size(), length);
        const size_t start = static_cast<size_t>(after - rest.data()) + 1;
        if (error != std::errc() || length > rest.size() || length <= start ||
            rest[start - 1] != ' ' || rest[length - 1] != '\n') {
            fail_here("a PAX record has no valid length");
        }
        const std::string_view record = rest.substr(start, length - start - 1);
        rest.remove_prefix(length);
        const size_t equals = record.find('=');
        if (equals == std::string_view::npos) {
            fail_here("a PAX record has no value");
        }
        const std::string_view key = record.substr(0, equals);
        const std::string_view value = record.substr(equals + 1);
        if (key == "path") {
            overrides.name = std::string(value);
        } else if (key == "size") {
            uint64_t size = 0;
            const auto [end, size_error] =
                std::from_chars(value.data(), value.data() + value.size(), size);
            if (size_error != std::errc() || end != value.data() + value.size() ||
                size > kMaxSize) {
                fail_here("a PAX record holds an invalid size");
            }
            overrides.size = size;
        } else if (key.starts_with("GNU.sparse.")) {
            overrides.sparse = true;
        }
    }
}

std::optional<TarMember> TarReader::next() {
    Overrides overrides;
    while (auto header = read_header()) {
        const uint64_t size = !header->has_bytes() ? 0 : overrides.size.value_or(header->size);
        switch (header->type) {
            case 'L':
                overrides.name = read_extension(*header).c_str();  // up to the first NUL
                position_ = header->data_offset + padded(header->size);
                continue;
            case 'x':
                apply_pax(read_extension(*header), overrides);
                position_ = header->data_offset + padded(header->size);
                continue;
            case 'K':
            case 'g':  // long link targets; defaults for all members, none of which concern us
                position_ = header->data_offset + padded(header->size);
                continue;
            default:
                break;
        }
        TarMember member{overrides.name.value_or(header->name), false, header->data_offset, size};
        const bool is_folder = !member.name.empty() && member.name.back() == '/';
        member.regular = header->is_regular() && !overrides.sparse && !is_folder;
        position_ = header->data_offset + padded(size);
        return member;
    }
    return std::nullopt;
}

}  // namespace flux::data
