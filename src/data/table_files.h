// Which files a data set's path names: those of Hugging Face save_to_disk folders, in the order
// their state.json gives, folders of Parquet files, or single files.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace flux::data {

/// `path`: a folder, a file, a pattern, or a comma list of these. A folder of save_to_disk folders
/// stands for all of them, in name order. Throws Error naming what is missing or damaged.
std::vector<std::filesystem::path> find_table_files(const std::string& path);

}  // namespace flux::data
