#include "flux/data/encoding_dataset.h"

#include <algorithm>

#include "data/arrow_table.h"
#include "data/fingerprint.h"
#include "data/table_files.h"
#include "data/timestep.h"
#include "flux/base/error.h"
#include "flux/base/log.h"
#include "flux/base/npy.h"
#include "flux/base/shape.h"
#include "flux/base/storage_error.h"
#include "flux/data/stored_encodings.h"

namespace flux::data {
namespace {

const std::vector<TableColumn>& columns() {
    static const std::vector<TableColumn> all = [] {
        std::vector<TableColumn> wanted;
        for (const auto& [name, kind] : stored_columns()) {
            wanted.push_back({name, kind == SavedKind::kText    ? CellKind::kText
                                    : kind == SavedKind::kInt32 ? CellKind::kInteger
                                                                : CellKind::kBytes});
        }
        wanted[kTimestep].required = false;
        return wanted;
    }();
    return all;
}

/// One stored array: its shape, and where its data lies.
struct Stored {
    std::vector<int64_t> shape;
    StoredEncodings::Cell cell;
};

Stored read_cell(const ArrowTable& table, int64_t row, StoredColumn column, size_t dimensions) {
    const std::string& name = columns()[column].name;
    auto bytes = table.bytes(row, column);
    if (!bytes) {
        fail("{} is null", name);
    }
    NpyView view = view_npy(bytes->bytes, name);
    if (view.descr != "<u2") {
        fail("{} holds elements of type '{}': must be '<u2', the bits of bfloat16", name,
             view.descr);
    }
    if (view.shape.size() != dimensions ||
        std::find(view.shape.begin(), view.shape.end(), 0) != view.shape.end()) {
        fail("{} has the shape {}: must have {} dimensions, none of them 0", name,
             shape_text(view.shape), dimensions);
    }
    return {std::move(view.shape), {view.data, std::move(bytes->owner)}};
}

void check_same(StoredColumn column, const std::vector<int64_t>& shape,
                const std::vector<int64_t>& expected) {
    if (shape != expected) {
        fail("{} has the shape {}, the other rows have {}", columns()[column].name,
             shape_text(shape), shape_text(expected));
    }
}

int64_t read_timestep(const ArrowTable& table, int64_t row) {
    const std::optional<int64_t> timestep = table.integer(row, kTimestep);
    return timestep ? check_timestep(*timestep) : -1;
}

}  // namespace

EncodingDataset::EncodingDataset(const EncodingDatasetSettings& settings)
    : settings_(settings), table_(open_table(settings.path, columns())) {
    size_ = table_->rows();
    if (settings_.subset_size > 0) {
        size_ = std::min(size_, settings_.subset_size);
    }
    if (size_ == 0) {
        fail("{}: the data set is empty: its {} files hold no row", settings_.path,
             table_->contents().size());
    }
    find_shape();
    if (settings_.needs_timesteps) {
        check_timesteps();
    }
    log::info("{}: {} encoded samples in {} files: {} text tokens of width {}, latents {} x {}",
              settings_.path, size_, table_->contents().size(), shape_.text_tokens,
              shape_.text_width, shape_.height, shape_.width);
}

EncodingDataset::~EncodingDataset() = default;

void EncodingDataset::find_shape() {
    std::string first_error;
    for (int64_t row = 0; row < size_; ++row) {
        try {
            read_checked(row, nullptr, shape_);
            return;
        } catch (const Error& error) {
            if (first_error.empty()) {
                first_error = error.what();
            }
        }
    }
    fail("{}: none of the {} rows can be used; the first one, {}", settings_.path, size_,
         first_error);
}

/// Of all rows at once: a validation would come upon a wrong one after hours of training.
void EncodingDataset::check_timesteps() const {
    for (int64_t row = 0; row < size_; ++row) {
        try {
            require_timestep(table_->integer(row, kTimestep));
        } catch (const Error& error) {
            fail_at(describe(row), error);
        }
    }
}

/// Checks against `expected` if given; `found` becomes the row's sizes.
Sample EncodingDataset::read_checked(int64_t row, const EncodingShape* expected,
                                     EncodingShape& found) const {
    try {
        Sample sample;
        sample.row = row;
        sample.key = key(row);
        const Stored t5 = read_cell(*table_, row, kT5, 2);
        const Stored clip = read_cell(*table_, row, kClip, 1);
        const Stored mean = read_cell(*table_, row, kMean, 3);
        const Stored logvar = read_cell(*table_, row, kLogvar, 3);
        if (expected != nullptr) {
            check_same(kT5, t5.shape, {expected->text_tokens, expected->text_width});
            check_same(kClip, clip.shape, {expected->pooled_width});
            check_same(kMean, mean.shape, {expected->channels, expected->height, expected->width});
        }
        if (logvar.shape != mean.shape) {
            fail("mean has the shape {} and logvar {}: must be equal", shape_text(mean.shape),
                 shape_text(logvar.shape));
        }
        sample.timestep = read_timestep(*table_, row);
        found = {t5.shape[0],   t5.shape[1],   clip.shape[0],
                 mean.shape[0], mean.shape[1], mean.shape[2]};
        sample.encodings = {t5.cell, clip.cell, mean.cell, logvar.cell};
        return sample;
    } catch (const Error& error) {
        fail_at(describe(row), error);
    }
}

Sample EncodingDataset::read(int64_t row, uint32_t /*epoch*/) const {
    EncodingShape found;
    return read_checked(row, &shape_, found);
}

std::string EncodingDataset::key(int64_t row) const {
    const auto bytes = table_->bytes(row, kKey);
    if (!bytes) {
        fail("{} is null", columns()[kKey].name);
    }
    return std::string(bytes->text());
}

std::string EncodingDataset::caption(int64_t row) const {
    fail("{}: holds an encoded caption, not its text", describe(row));
}

uint64_t EncodingDataset::fingerprint() const {
    Fingerprint fingerprint("encodings");
    fingerprint.add(static_cast<uint64_t>(size_));
    for (const auto& [file, rows] : table_->contents()) {
        fingerprint.add(file.filename().string()).add(static_cast<uint64_t>(rows));
    }
    for (const int64_t size : {shape_.text_tokens, shape_.text_width, shape_.pooled_width,
                               shape_.channels, shape_.height, shape_.width}) {
        fingerprint.add(static_cast<uint64_t>(size));
    }
    for (const int64_t row : {int64_t{0}, size_ / 2, size_ - 1}) {
        try {
            fingerprint.add(key(row));
        } catch (const Error&) {  // a damaged row; the others tell the sets apart
        }
    }
    return fingerprint.value();
}

std::string EncodingDataset::describe(int64_t row) const {
    try {
        return fmt::format("{} ({})", table_->describe(row), key(row));
    } catch (const Error&) {  // its key cannot be read
        return table_->describe(row);
    }
}

std::string EncodingDataset::source(int64_t row) const { return table_->file(row).string(); }

}  // namespace flux::data
