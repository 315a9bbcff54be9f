// Tar archives made byte by byte, also wrong ones.
#pragma once

#include <fmt/format.h>

#include <cstring>
#include <filesystem>
#include <string>

#include "flux/base/file.h"

namespace flux::test {

struct TarHeader {
    std::string name{};
    char type = '0';
    std::string size_field{};  // 11 octal digits if empty
    std::string prefix{};
    std::string magic = std::string("ustar\0", 6) + "00";
    bool good_checksum = true;
};

inline std::string tar_header(const TarHeader& header, size_t size) {
    std::string block(512, '\0');
    const auto put = [&](size_t offset, const std::string& text) {
        std::memcpy(block.data() + offset, text.data(), text.size());
    };
    put(0, header.name);
    put(100, "0000644");
    put(124, header.size_field.empty() ? fmt::format("{:011o}", size) : header.size_field);
    put(148, "        ");
    block[156] = header.type;
    put(257, header.magic);
    put(345, header.prefix);
    unsigned sum = header.good_checksum ? 0 : 1;
    for (const char c : block) {
        sum += static_cast<unsigned char>(c);
    }
    put(148, fmt::format("{:06o}", sum));
    block[154] = '\0';
    return block;
}

inline std::string tar_padded(std::string bytes) {
    bytes.resize((bytes.size() + 511) / 512 * 512);
    return bytes;
}

inline std::string tar_special(const TarHeader& header, const std::string& bytes) {
    return tar_header(header, bytes.size()) + tar_padded(bytes);
}

inline std::string tar_member(const std::string& name, const std::string& bytes) {
    return tar_special({.name = name}, bytes);
}

inline std::string tar_end() { return std::string(1024, '\0'); }

/// "17 path=some/name\n", its length counted.
inline std::string pax_record(const std::string& key, const std::string& value) {
    const std::string rest = " " + key + "=" + value + "\n";
    size_t length = rest.size() + 1;
    while (std::to_string(length).size() + rest.size() != length) {
        ++length;
    }
    return std::to_string(length) + rest;
}

}  // namespace flux::test
