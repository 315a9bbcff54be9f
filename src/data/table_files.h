// Which files a data set's path names: those of Hugging Face save_to_disk folders, in the order
// their state.json gives, folders of Parquet files, or single files; and their table.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "data/arrow_table.h"

namespace flux::data {

/// `path`: a folder, a file, a pattern, or a comma list of these. A folder of save_to_disk folders
/// stands for all of them, in name order. Throws Error naming what is missing or damaged.
std::vector<std::filesystem::path> find_table_files(const std::string& path);

/// The table of these files. Throws Error as ArrowTable does, and for a save_to_disk folder that
/// has lost rows, as far as the files beside its data tell.
std::unique_ptr<ArrowTable> open_table(const std::string& path, std::vector<TableColumn> columns);

}  // namespace flux::data
