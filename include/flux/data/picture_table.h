// Captioned pictures in save_to_disk folders, as the cleaned CC12M is stored, or in Parquet: a
// picture column (png, jpg, jpeg, webp or image; files as binary, or as a struct with `bytes`), a
// caption column (txt, caption, text, or `caption` in the struct json), __key__ and timestep.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "flux/data/dataset.h"

namespace flux::data {

class ArrowTable;

struct PictureTableSettings {
    std::string path{};  // see table_files.h
    int img_size = 256;
    uint64_t seed = 0;                // of the crops
    int64_t subset_size = 0;          // > 0: only so many rows from the start, small ones counted
    bool skip_low_resolution = true;  // leave out pictures with a side below img_size
    BucketSettings buckets{};         // where on, pictures that their bucket enlarges are left out
    bool read_timesteps = false;
    bool needs_timesteps = false;  // each row must have one
    int64_t max_image_pixels = kMaxImagePixels;
};

class PictureTable : public Dataset {
public:
    /// Looks at the head of every picture. Throws Error if a file is damaged, a picture or caption
    /// column is missing, a timestep that is needed is missing or wrong, or no usable row remains.
    explicit PictureTable(const PictureTableSettings& settings);
    ~PictureTable() override;

    int64_t size() const override { return static_cast<int64_t>(rows_.size()); }
    PayloadShape payload() const override { return PictureShape{settings_.img_size}; }
    const Buckets* buckets() const override { return buckets_ ? &*buckets_ : nullptr; }
    Sample read(int64_t row, uint32_t epoch) const override;
    std::string caption(int64_t row) const override;
    std::string key(int64_t row) const;       // the row's number if there is no __key__
    StoredPicture stored(int64_t row) const;  // throws Error as read() does
    uint64_t fingerprint() const override;
    std::string describe(int64_t row) const override;
    std::string source(int64_t row) const override;

private:
    void check_columns() const;
    void find_rows();
    void check_timesteps() const;
    std::vector<std::optional<PictureSize>> look_at_rows(int64_t end);
    std::string key_at(int64_t table_row) const;
    std::string caption_at(int64_t table_row) const;
    std::optional<int64_t> timestep_at(int64_t table_row) const;
    StoredPicture stored_at(int64_t table_row) const;

    PictureTableSettings settings_;
    std::unique_ptr<ArrowTable> table_;
    std::vector<int64_t> rows_;  // of the table
    uint64_t contents_ = 0;      // hash of the rows looked at
    std::optional<Buckets> buckets_;
};

}  // namespace flux::data
