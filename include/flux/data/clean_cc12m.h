// The cleaned CC12M training set of the reference, and the search for pictures that cannot be read.
// A row's number is its position over all tar shards in name order.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "flux/data/object_store.h"
#include "flux/data/shard_cache.h"
#include "flux/data/tar_index.h"

namespace flux::data {

struct CleanSettings {
    std::string input_dir{};          // of the tar shards
    std::vector<int64_t> left_out{};  // numbers of rows to drop, in any order
    int output_size = 256;            // side of the pictures
    int64_t subset_size = 1'099'776;  // rows to keep: there must be as many
    int num_workers = 16;             // threads
    RemoteSettings remote{};          // for shards that are not local
};

/// One row of the cleaned set.
struct CleanRow {
    std::string key;
    std::string url;           // the shard's path or address
    std::vector<uint8_t> jpg;  // the picture's file as it was
    std::string json;          // empty: the sample has none
    std::string txt;
    std::string png;  // the square picture, in the mode of its source
};

/// Chooses rows: first the listed ones are dropped, then those with a side below output_size; the
/// first subset_size of the rest are kept, in order.
class CleanCc12m {
public:
    /// Reads the shards' headers, up to the last row that is kept. Throws Error for a picture whose
    /// header cannot be read and which is not listed, and if too few rows remain.
    explicit CleanCc12m(const CleanSettings& settings);

    int64_t size() const { return static_cast<int64_t>(rows_.size()); }
    /// Number of a kept row in the input.
    int64_t index(int64_t row) const { return rows_.at(static_cast<size_t>(row)).index; }
    /// Safe to call from several threads. Throws Error with place and remedy if the picture is
    /// damaged.
    CleanRow read(int64_t row) const;

private:
    struct Row {
        int64_t index = 0;
        size_t shard = 0;
        IndexedSample sample;
    };

    void choose(const IndexedSample& sample, size_t shard);
    std::string describe(const Row& row) const;

    CleanSettings settings_;
    mutable ShardCache cache_;  // reading opens shards; safe to share between threads
    std::vector<Shard> shards_;
    std::vector<std::string> names_;  // of the shards, as they were given
    std::vector<Row> rows_;
    int64_t seen_ = 0;
};

/// Writes the kept rows as a save_to_disk folder with the columns jpg, json, txt, __key__, __url__
/// and png, and returns their number. A killed call is gone on with by calling again.
int64_t write_clean_cc12m(const CleanSettings& settings, const std::filesystem::path& output_dir);

/// Row numbers, one a line, blank lines allowed. Throws Error naming file and line.
std::vector<int64_t> read_row_numbers(const std::filesystem::path& path);

struct ProblematicRow {
    int64_t index = 0;
    std::string reason;
};

/// The rows whose picture cannot be decoded, in order.
std::vector<ProblematicRow> find_problematic(const std::string& input_dir, int num_workers,
                                             const RemoteSettings& remote = {});

}  // namespace flux::data
