// Parquet as one kind of table file.
#pragma once

#include <filesystem>
#include <memory>

#include "data/arrow_file.h"

namespace flux::data {

/// Throws Error naming the file and the reason.
std::unique_ptr<ArrowFile> open_parquet_file(const std::filesystem::path& path);

}  // namespace flux::data
