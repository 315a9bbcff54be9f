#include "flux/data/stored_encodings.h"

namespace flux::data {

const std::vector<SavedColumn>& stored_columns() {
    static const std::vector<SavedColumn> all = {
        {"__key__", SavedKind::kText},         {"t5_encodings", SavedKind::kBytes},
        {"clip_encodings", SavedKind::kBytes}, {"mean", SavedKind::kBytes},
        {"logvar", SavedKind::kBytes},         {"timestep", SavedKind::kInt32}};
    return all;
}

void add_row(ArrowWriter& writer, const StoredRow& row) {
    SavedCell timestep;  // null
    if (row.timestep) {
        timestep = *row.timestep;
    }
    writer.add({row.key, row.t5, row.clip, row.mean, row.logvar, timestep});
}

}  // namespace flux::data
