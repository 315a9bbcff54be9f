#include "flux/base/crc32c.h"

#include <array>
#include <bit>
#include <cstring>

namespace flux {
namespace {

using Table = std::array<std::array<uint32_t, 256>, 8>;

/// tables[k][b]: the effect of byte b followed by k zero bytes, so that eight bytes take one step.
constexpr Table make_tables() {
    constexpr uint32_t kReversedPolynomial = 0x82F63B78u;
    Table tables{};
    for (uint32_t byte = 0; byte < 256; ++byte) {
        uint32_t value = byte;
        for (int bit = 0; bit < 8; ++bit) {
            value = (value >> 1) ^ ((value & 1u) != 0 ? kReversedPolynomial : 0u);
        }
        tables[0][byte] = value;
    }
    for (size_t k = 1; k < tables.size(); ++k) {
        for (size_t byte = 0; byte < 256; ++byte) {
            const uint32_t before = tables[k - 1][byte];
            tables[k][byte] = (before >> 8) ^ tables[0][before & 0xFFu];
        }
    }
    return tables;
}

constexpr Table kTables = make_tables();
static_assert(std::endian::native == std::endian::little, "eight bytes are taken as one number");

uint64_t load_word(const std::byte* from) {
    uint64_t word = 0;
    std::memcpy(&word, from, sizeof(word));
    return word;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) uint32_t crc32c_sse42(std::span<const std::byte> data,
                                                        uint32_t previous) {
    uint64_t crc = static_cast<uint32_t>(~previous);
    for (; data.size() >= sizeof(uint64_t); data = data.subspan(sizeof(uint64_t))) {
        crc = __builtin_ia32_crc32di(crc, load_word(data.data()));
    }
    auto rest = static_cast<uint32_t>(crc);
    for (const std::byte byte : data) {
        rest = __builtin_ia32_crc32qi(rest, static_cast<uint8_t>(byte));
    }
    return ~rest;
}
#endif

}  // namespace

uint32_t crc32c_portable(std::span<const std::byte> data, uint32_t previous) {
    uint32_t crc = ~previous;
    for (; data.size() >= sizeof(uint64_t); data = data.subspan(sizeof(uint64_t))) {
        const uint64_t word = load_word(data.data()) ^ crc;
        crc = 0;
        for (size_t i = 0; i < sizeof(uint64_t); ++i) {
            crc ^= kTables[7 - i][(word >> (8 * i)) & 0xFFu];
        }
    }
    for (const std::byte byte : data) {
        crc = (crc >> 8) ^ kTables[0][(crc ^ static_cast<uint32_t>(byte)) & 0xFFu];
    }
    return ~crc;
}

uint32_t crc32c(std::span<const std::byte> data, uint32_t previous) {
#if defined(__x86_64__)
    static const bool has_instruction = __builtin_cpu_supports("sse4.2") != 0;
    if (has_instruction) {
        return crc32c_sse42(data, previous);
    }
#endif
    return crc32c_portable(data, previous);
}

}  // namespace flux
