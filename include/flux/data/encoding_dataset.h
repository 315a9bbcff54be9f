// Samples that were encoded beforehand, in Hugging Face save_to_disk folders: columns __key__,
// t5_encodings, clip_encodings, mean, logvar and (optional, may be null) timestep; the encodings
// are .npy bytes of uint16 that hold bfloat16 bits. `flux_train preprocess` writes such folders.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "flux/data/dataset.h"

namespace flux::data {

class ArrowTable;

struct EncodingDatasetSettings {
    std::string path{};       // see table_files.h
    int64_t subset_size = 0;  // > 0: only so many rows from the start
    bool needs_timesteps = false;
};

class EncodingDataset : public Dataset {
public:
    /// Opens all files and takes the sizes of the encodings from the first row that can be read.
    /// Throws Error naming what is missing, damaged or of a wrong type, and the row without a
    /// timestep where all need one.
    explicit EncodingDataset(const EncodingDatasetSettings& settings);
    ~EncodingDataset() override;

    int64_t size() const override { return size_; }
    PayloadShape payload() const override { return shape_; }
    Sample read(int64_t row, uint32_t epoch) const override;
    std::string caption(int64_t row) const override;
    uint64_t fingerprint() const override;
    std::string describe(int64_t row) const override;
    std::string source(int64_t row) const override;

private:
    Sample read_checked(int64_t row, const EncodingShape* expected, EncodingShape& found) const;
    void find_shape();
    void check_timesteps() const;
    std::string key(int64_t row) const;

    EncodingDatasetSettings settings_;
    std::unique_ptr<ArrowTable> table_;
    int64_t size_ = 0;
    EncodingShape shape_;
};

}  // namespace flux::data
