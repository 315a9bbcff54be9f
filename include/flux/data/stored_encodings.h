// The table of stored encodings, as `preprocess` writes it and training reads it: its columns stand
// here and nowhere else.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "flux/data/arrow_writer.h"

namespace flux::data {

/// Places in stored_columns().
enum StoredColumn : size_t { kKey, kT5, kClip, kMean, kLogvar, kTimestep };

const std::vector<SavedColumn>& stored_columns();

/// A row; the encodings are .npy bytes.
struct StoredRow {
    std::string_view key;
    std::string_view t5;
    std::string_view clip;
    std::string_view mean;
    std::string_view logvar;
    std::optional<int32_t> timestep{};
};

/// To a table of stored_columns().
void add_row(ArrowWriter& writer, const StoredRow& row);

}  // namespace flux::data
