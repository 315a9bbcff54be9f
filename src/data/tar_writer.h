// Writes tar shards: POSIX ustar, all owners and times zero, so that the same contents give the
// same bytes.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "flux/base/file.h"

namespace flux::data {

class TarWriter {
public:
    /// The file appears under its name in finish(); destroyed before, nothing remains. Throws Error
    /// if there is one of this name already.
    explicit TarWriter(std::filesystem::path path);

    /// `name` of up to 100 bytes.
    void add(const std::string& name, std::string_view bytes);
    void finish();

private:
    std::filesystem::path path_;
    AtomicFile file_;
    size_t written_ = 0;
};

}  // namespace flux::data
