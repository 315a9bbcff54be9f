// Tar shards read one after the other, for sets that are too large or too far away to be indexed
// as a whole (training.shuffle = shards): training begins with the first shard while the next ones
// are fetched, and a bounded cache holds those that come soonest.
//
// The order of an epoch is a keyed permutation of the shards, within each a keyed permutation of
// its rows. How many rows a shard has is known once it was open, so the place of the n-th sample
// follows from the counts of the shards before it: a resumed run goes on exactly where it ended.
// Counts are kept in a small file; without it the shards before are opened again to be counted.
//
// Keys (Purpose::kOrder): index 2 for the shards, 2^63 + shard for the rows of one; sub = epoch.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <stop_token>
#include <string>
#include <vector>

#include "flux/data/dataset.h"
#include "flux/data/order.h"
#include "flux/data/webdataset.h"

namespace flux::data {

class ShardWindow;

struct ShardStreamSettings {
    WebDatasetSettings shards{};  // path: all of them; neither subset nor buckets
    int ahead = 4;                // shards that are made ready before they are needed
};

class ShardStream : public Dataset, private SampleOrder {
public:
    /// Lists the shards, opens none. Throws Error if the path names none.
    explicit ShardStream(const ShardStreamSettings& settings);
    ~ShardStream() override;

    /// Rows of an epoch; an estimate until every shard was open.
    int64_t size() const override;
    PayloadShape payload() const override { return PictureShape{settings_.shards.img_size}; }
    const SampleOrder* order() const override { return this; }
    /// Where the shard is not at hand, waits until it is fetched.
    Sample read(int64_t row, uint32_t epoch) const override;
    std::string caption(int64_t row) const override;
    uint64_t fingerprint() const override;
    std::string describe(int64_t row) const override;
    std::string source(int64_t row) const override;

private:
    Position at(int64_t sample, const std::stop_token& stop) const override;
    int64_t rows_like(int64_t row) const override;
    int64_t row_like(int64_t row, int64_t n) const override;

    int64_t shards() const { return static_cast<int64_t>(names_.size()); }
    size_t shard_at(int64_t ordinal) const;
    int64_t rows_of(int64_t ordinal, const std::stop_token& stop) const;
    void note_count(size_t shard, int64_t rows) const;
    void check_epoch(int64_t ordinal) const;
    std::filesystem::path counts_file() const;
    void read_counts();
    void write_counts() const;

    const ShardStreamSettings settings_;
    const std::vector<std::string> names_;
    const Permutation permutation_;
    mutable std::vector<std::atomic<int64_t>> counts_;  // rows of each shard; -1: not known yet

    mutable std::mutex mutex_;             // of what follows
    mutable std::vector<int64_t> begins_;  // first sample of the n-th shard to come, from the first
                                           // epoch's first; the last is that of what is not known
    mutable bool warned_ = false;
    std::unique_ptr<ShardWindow> window_;  // last: its threads end first
};

}  // namespace flux::data
