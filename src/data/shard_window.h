// The shards of a stream that are at hand: threads fetch and open those that come next, and drop
// what was read. Remote ones are taken out of the cache when it is full, those that are needed
// latest first.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "data/cache_file.h"
#include "flux/data/webdataset.h"

namespace flux::data {

/// Bits of a row number that count rows within a shard; those above them count shards.
inline constexpr int kShardRowBits = 32;

struct OpenShard {
    std::optional<CacheLease> lease{};   // of a remote one
    std::unique_ptr<WebDataset> rows{};  // nothing: it cannot be used
    int64_t size() const { return rows ? rows->size() : 0; }
};

class ShardWindow {
public:
    /// `shard_at`: the n-th shard to come, by its place in `names`.
    ShardWindow(const std::vector<std::string>& names, WebDatasetSettings settings, int ahead,
                std::function<size_t(int64_t)> shard_at);
    ~ShardWindow();
    ShardWindow(const ShardWindow&) = delete;
    ShardWindow& operator=(const ShardWindow&) = delete;

    /// The n-th shard is read now, and those after it are wanted soon.
    void advance(int64_t ordinal);

    /// Waits until the shard is open. Throws FetchError if it cannot be fetched, or on
    /// a stop.
    std::shared_ptr<const OpenShard> get(size_t shard, const std::stop_token& stop = {});

private:
    struct Place {
        bool done = false;
        std::shared_ptr<const OpenShard> opened;
        std::exception_ptr failure;
    };

    void work();
    std::optional<size_t> next_to_open();
    std::shared_ptr<const OpenShard> open(size_t shard) const;
    std::unordered_set<size_t> wanted() const;
    uint64_t evict_one();

    const std::vector<std::string>& names_;
    WebDatasetSettings settings_;
    const int64_t ahead_;
    const std::function<size_t(int64_t)> shard_at_;
    std::stop_source stop_;

    std::mutex mutex_;
    std::condition_variable_any work_to_do_;
    std::condition_variable_any opened_;
    int64_t front_ = -1;
    std::deque<size_t> asked_;  // and not begun
    std::unordered_map<size_t, std::shared_ptr<Place>> places_;
    std::vector<std::jthread> threads_;  // last: they use all of the above
};

}  // namespace flux::data
