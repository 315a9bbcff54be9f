// Tar shards with members that no picture is in.
#pragma once

#include <cstdio>
#include <string>

namespace flux::test {

/// One ustar member, padded.
inline std::string tar_member(const std::string& name, const std::string& data) {
    std::string header(512, '\0');
    header.replace(0, name.size(), name);
    header.replace(100, 7, "0000644");
    char size[13];
    std::snprintf(size, sizeof size, "%011zo", data.size());
    header.replace(124, 11, size);
    header[156] = '0';
    header.replace(257, 5, "ustar");
    header.replace(263, 2, "00");
    header.replace(148, 8, "        ");
    unsigned sum = 0;
    for (const char c : header) {
        sum += static_cast<unsigned char>(c);
    }
    std::snprintf(size, sizeof size, "%06o", sum);
    header.replace(148, 7, std::string(size, 7));
    header[155] = ' ';
    return header + data + std::string((512 - data.size() % 512) % 512, '\0');
}

}  // namespace flux::test
