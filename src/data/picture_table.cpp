#include "flux/data/picture_table.h"

#include <algorithm>
#include <cstring>
#include <optional>

#include "data/arrow_table.h"
#include "data/fingerprint.h"
#include "data/sample_picture.h"
#include "data/table_files.h"
#include "data/timestep.h"
#include "flux/base/error.h"
#include "flux/base/log.h"
#include "flux/base/storage_error.h"
#include "flux/base/utf8.h"
#include "flux/data/image_decode.h"

namespace flux::data {
namespace {

// The first that holds something wins, within pictures and within captions.
enum Column : size_t {
    kFirstPicture = 0,
    kFirstCaption = 5,
    kKey = 9,
    kTimestep = 10,
    kJsonTimestep = 11
};

const std::vector<TableColumn>& columns() {
    static const std::vector<TableColumn> all = {
        {"png", CellKind::kBytes, false},         {"jpg", CellKind::kBytes, false},
        {"jpeg", CellKind::kBytes, false},        {"webp", CellKind::kBytes, false},
        {"image", CellKind::kBytes, false},       {"txt", CellKind::kText, false},
        {"caption", CellKind::kText, false},      {"text", CellKind::kText, false},
        {"json.caption", CellKind::kText, false}, {"__key__", CellKind::kText, false},
        {"timestep", CellKind::kInteger, false},  {"json.timestep", CellKind::kInteger, false}};
    return all;
}

/// The first cell that is not null among columns [begin, end).
std::optional<CellBytes> first_cell(const ArrowTable& table, int64_t row, size_t begin,
                                    size_t end) {
    for (size_t column = begin; column < end; ++column) {
        if (auto cell = table.bytes(row, column)) {
            return cell;
        }
    }
    return std::nullopt;
}

std::span<const uint8_t> as_file(const CellBytes& cell) {
    return {reinterpret_cast<const uint8_t*>(cell.bytes.data()), cell.bytes.size()};
}

std::optional<PictureSize> probe(std::span<const uint8_t> file) {
    return probe_picture_size([&](uint64_t offset, std::span<uint8_t> out) -> size_t {
        if (offset >= file.size()) {
            return 0;
        }
        const size_t count = std::min<size_t>(out.size(), file.size() - offset);
        std::memcpy(out.data(), file.data() + offset, count);
        return count;
    });
}

}  // namespace

PictureTable::PictureTable(const PictureTableSettings& settings)
    : settings_(settings), table_(open_table(settings.path, columns())) {
    check_columns();
    find_rows();
    if (settings_.needs_timesteps) {
        check_timesteps();
    }
}

PictureTable::~PictureTable() = default;

void PictureTable::check_columns() const {
    const auto has_any = [&](size_t begin, size_t end) {
        for (size_t column = begin; column < end; ++column) {
            if (table_->has(column)) {
                return true;
            }
        }
        return false;
    };
    if (!has_any(kFirstPicture, kFirstCaption)) {
        fail("{}: has no picture column (png, jpg, jpeg, webp or image)", settings_.path);
    }
    if (!has_any(kFirstCaption, kKey)) {
        fail("{}: has no caption column (txt, caption, text, or caption in json)", settings_.path);
    }
}

void PictureTable::find_rows() {
    int64_t end = table_->rows();
    if (settings_.subset_size > 0) {
        end = std::min(end, settings_.subset_size);
    }
    const std::vector<std::optional<PictureSize>> sizes = look_at_rows(end);
    if (settings_.buckets.step > 0) {
        BucketedRows sorted = sort_into_buckets(sizes, settings_.img_size, settings_.buckets);
        rows_ = std::move(sorted.kept);
        buckets_ = std::move(sorted.buckets);
    } else {
        for (int64_t row = 0; row < end; ++row) {
            const auto& size = sizes[static_cast<size_t>(row)];
            if (!settings_.skip_low_resolution || !size ||
                std::min(size->width, size->height) >= settings_.img_size) {
                rows_.push_back(row);
            }
        }
    }
    const std::string too_small =
        buckets_ ? "are smaller than any bucket"
                 : fmt::format("have a side below {} pixels", settings_.img_size);
    if (rows_.empty()) {
        fail("{}: none of the {} rows can be used{}", settings_.path, end,
             end > 0 ? fmt::format(": all {}; choose a smaller img_size", too_small) : "");
    }
    const std::string left_out =
        end > size() ? fmt::format("; {} more {} and are left out", end - size(), too_small) : "";
    log::info("{}: {} samples{}", settings_.path, rows_.size(), left_out);
    if (buckets_) {
        log::info("{}: {}", settings_.path, to_text(*buckets_));
    }
}

/// The sizes of the first `end` pictures: nothing where there is no picture, or its head does not
/// tell; read() says what is wrong. In the same pass, what tells these rows from those of a table
/// of equal layout: key, caption and the picture's length, which lie in place without the picture.
std::vector<std::optional<PictureSize>> PictureTable::look_at_rows(int64_t end) {
    std::vector<std::optional<PictureSize>> sizes(static_cast<size_t>(end));
    const bool wants_sizes = settings_.skip_low_resolution || settings_.buckets.step > 0;
    Fingerprint contents("rows");
    for (int64_t row = 0; row < end; ++row) {
        try {
            const auto key = table_->bytes(row, kKey);
            const auto caption = first_cell(*table_, row, kFirstCaption, kKey);
            const auto picture = first_cell(*table_, row, kFirstPicture, kFirstCaption);
            contents.add(key ? key->text() : "").add(caption ? caption->text() : "");
            contents.add(picture ? picture->bytes.size() : 0);
            if (picture && wants_sizes) {
                sizes[static_cast<size_t>(row)] = probe(as_file(*picture));
            }
        } catch (const Error&) {
            contents.add(static_cast<uint64_t>(row));
        }
    }
    contents_ = contents.value();
    return sizes;
}

/// Of all rows at once: a validation would come upon a wrong one after hours of training.
void PictureTable::check_timesteps() const {
    for (int64_t row = 0; row < size(); ++row) {
        try {
            require_timestep(timestep_at(rows_[static_cast<size_t>(row)]));
        } catch (const Error& error) {
            fail_at(describe(row), error);
        }
    }
}

std::string PictureTable::caption_at(int64_t table_row) const {
    const auto cell = first_cell(*table_, table_row, kFirstCaption, kKey);
    if (!cell) {
        fail("has no caption");
    }
    if (const auto bad = first_invalid_utf8(cell->text())) {
        fail("the caption is not UTF-8 at byte {}", *bad);
    }
    return std::string(cell->text());
}

std::string PictureTable::caption(int64_t row) const {
    try {
        return caption_at(rows_.at(static_cast<size_t>(row)));
    } catch (const Error& error) {
        fail_at(describe(row), error);
    }
}

std::string PictureTable::key_at(int64_t table_row) const {
    const auto cell = table_->bytes(table_row, kKey);
    return cell ? std::string(cell->text()) : std::to_string(table_row);
}

std::string PictureTable::key(int64_t row) const {
    return key_at(rows_.at(static_cast<size_t>(row)));
}

std::optional<int64_t> PictureTable::timestep_at(int64_t table_row) const {
    const auto timestep = table_->integer(table_row, kTimestep);
    return timestep ? timestep : table_->integer(table_row, kJsonTimestep);
}

StoredPicture PictureTable::stored_at(int64_t table_row) const {
    StoredPicture stored;
    stored.key = key_at(table_row);
    stored.caption = caption_at(table_row);
    if (settings_.read_timesteps) {
        const auto timestep = timestep_at(table_row);
        stored.timestep = timestep ? check_timestep(*timestep) : -1;
    }
    const auto file = first_cell(*table_, table_row, kFirstPicture, kFirstCaption);
    if (!file) {
        fail("has no picture: the bytes of every picture column are null");
    }
    stored.file = as_file(*file);
    stored.owner = file->owner;
    return stored;
}

StoredPicture PictureTable::stored(int64_t row) const {
    try {
        return stored_at(rows_.at(static_cast<size_t>(row)));
    } catch (const Error& error) {
        fail_at(describe(row), error);
    }
}

Sample PictureTable::read(int64_t row, uint32_t epoch) const {
    try {
        return to_sample(stored_at(rows_.at(static_cast<size_t>(row))),
                         {buckets_ ? buckets_->shape(row) : settings_.img_size, settings_.seed,
                          settings_.max_image_pixels},
                         row, epoch);
    } catch (const Error& error) {
        fail_at(describe(row), error);
    }
}

uint64_t PictureTable::fingerprint() const {
    Fingerprint fingerprint("pictures");
    for (const auto& [file, rows] : table_->contents()) {
        fingerprint.add(file.filename().string()).add(static_cast<uint64_t>(rows));
    }
    fingerprint.add(contents_).add(rows_.size());
    for (const int64_t row : rows_) {
        fingerprint.add(static_cast<uint64_t>(row));
    }
    add_to(fingerprint, buckets());
    return fingerprint.value();
}

std::string PictureTable::describe(int64_t row) const {
    return table_->describe(rows_.at(static_cast<size_t>(row)));
}

std::string PictureTable::source(int64_t row) const {
    return table_->file(rows_.at(static_cast<size_t>(row))).string();
}

}  // namespace flux::data
