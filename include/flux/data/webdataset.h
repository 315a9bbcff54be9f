// Captioned pictures in webdataset tar shards, by row: an index built when the set
// is opened tells where every sample lies. The picture is the png, jpg, webp, gif or bmp member,
// the caption the .txt member, else "caption" in the .json.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "flux/data/dataset.h"
#include "flux/data/object_store.h"
#include "flux/data/shard.h"
#include "flux/data/shard_cache.h"
#include "flux/data/tar_index.h"
#include "flux/data/tar_sample.h"

namespace flux::data {

struct WebDatasetSettings {
    std::string path{};  // folder, file, glob, range in braces, URL, or comma list of these
    int img_size = 256;
    uint64_t seed = 0;        // of the crops
    int64_t first_row = 0;    // what the draws of the crops take row 0 for
    int64_t subset_size = 0;  // > 0: only so many samples from the start, small ones counted
    bool skip_low_resolution = true;  // leave out pictures with a side below img_size
    BucketSettings buckets{};         // where on, pictures that their bucket enlarges are left out
    bool read_timesteps = false;      // from "timestep" in the .json member
    int64_t max_image_pixels = kMaxImagePixels;
    int index_threads = 4;
    std::filesystem::path index_folder{};  // see shard_index.h; empty: shards are always scanned
    ShardLimits shard_limits{};
    RemoteSettings remote{};  // for items that are not local
};

/// The shards a path names, local paths and remote addresses, in name order (each item of a comma
/// list on its own), ranges in braces in counting order. Throws Error for an item that names none.
std::vector<std::string> name_shards(const std::string& path, const RemoteSettings& remote);

/// The local files of such shards: remote ones are fetched.
std::vector<std::filesystem::path> bring_shards(std::span<const std::string> named,
                                                const RemoteSettings& remote);

/// Both.
std::vector<std::filesystem::path> find_shards(const std::string& path,
                                               const RemoteSettings& remote = {});

class WebDataset : public Dataset {
public:
    /// Reads through all shards, with a subset_size through no more than that takes. One that
    /// cannot be read is left out with a warning. Throws Error
    /// if no usable sample remains, or if a compressed shard is too large to be held in memory.
    explicit WebDataset(const WebDatasetSettings& settings);

    int64_t size() const override { return static_cast<int64_t>(rows_.size()); }
    PayloadShape payload() const override { return PictureShape{settings_.img_size}; }
    const Buckets* buckets() const override { return buckets_ ? &*buckets_ : nullptr; }
    Sample read(int64_t row, uint32_t epoch) const override;
    std::string caption(int64_t row) const override;
    uint64_t fingerprint() const override;
    std::string describe(int64_t row) const override;
    std::string source(int64_t row) const override;

private:
    struct Row {
        std::string key;
        uint32_t shard = 0;
        TarSample parts;
    };

    void add_shards(std::span<const std::string> named);
    bool is_complete() const;
    void add_shard(Shard shard, const TarIndex& index);
    void add_sample(const IndexedSample& sample);
    void form_buckets();
    void check_not_empty() const;
    void log_contents() const;
    void check_known(int64_t row_number) const;
    std::vector<uint8_t> read_files(const Row& row, Sample& sample) const;

    WebDatasetSettings settings_;
    mutable ShardCache cache_;  // reading opens shards; safe to share between threads
    std::vector<Shard> shards_;
    std::vector<Row> rows_;
    std::unordered_map<int64_t, std::string> problems_;  // of rows that are known to be bad
    std::vector<std::optional<PictureSize>> sizes_;      // until the buckets are formed
    std::optional<Buckets> buckets_;
    int64_t samples_seen_ = 0;
    int64_t skipped_shards_ = 0;
    int64_t warnings_ = 0;
    std::string first_shard_error_;
    int64_t low_resolution_samples_ = 0;
};

}  // namespace flux::data
