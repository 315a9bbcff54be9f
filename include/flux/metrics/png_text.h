// Texts inside PNG files (tEXt and uncompressed iTXt chunks), such as the prompt of a sample.
#pragma once

#include <cstddef>
#include <filesystem>
#include <map>
#include <span>
#include <string>

namespace flux::metrics {

/// Keyword -> UTF-8 text. Throws Error naming `path` if the bytes are not a whole PNG file.
std::map<std::string, std::string> read_png_text(std::span<const std::byte> bytes,
                                                 const std::filesystem::path& path);

std::map<std::string, std::string> read_png_text(const std::filesystem::path& path);

}  // namespace flux::metrics
