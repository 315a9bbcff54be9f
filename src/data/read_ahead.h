// The loader's reader threads: they claim samples one by one, in order, and fill the batches of a
// bounded window, so that the first batch is ready soonest and a slow picture delays nobody else.
#pragma once

#include <condition_variable>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "flux/data/bucket_order.h"
#include "flux/data/dataset.h"
#include "flux/data/loader.h"
#include "flux/data/order.h"
#include "flux/data/payload.h"

namespace flux::data {

struct BadRead {
    int64_t row;
    std::string error;
};

/// One place in a batch, and how it came to be filled.
struct Slot {
    Position position;           // what the order asks for
    std::vector<BadRead> bad;    // the row itself, then substitutes, that could not be read
    bool filled = false;         // false: left out
    std::exception_ptr failure;  // no batch can be made of this
    int64_t row = 0;
    int64_t timestep = -1;
    std::string key;
};

struct ReadBatch {
    Payload payload;
    std::vector<Slot> slots;
    int64_t first_sample = 0;
};

class ReadAhead {
public:
    ReadAhead(const Dataset& dataset, const LoaderSettings& settings);
    ~ReadAhead();
    ReadAhead(const ReadAhead&) = delete;
    ReadAhead& operator=(const ReadAhead&) = delete;

    /// The next batch in order; nothing at the end of a finite pass.
    std::optional<ReadBatch> next();

private:
    struct Pending {
        ReadBatch batch;
        size_t claimed = 0;
        size_t done = 0;
        bool is_complete() const { return done == batch.slots.size(); }
    };
    struct Claim {
        Pending* pending = nullptr;
        size_t slot = 0;
    };

    void work();
    std::optional<Claim> claim();
    bool can_open() const;
    void open_batch();
    void fill(ReadBatch& batch, size_t slot) const;
    Position position_of(int64_t sample) const;
    std::optional<Sample> read_or_substitute(Slot& slot) const;
    std::optional<int64_t> candidate(const Slot& slot, uint32_t attempt) const;

    const Dataset& dataset_;
    const LoaderSettings settings_;
    // Exactly one of them.
    const SampleOrder* const own_order_;             // the data set's
    const std::optional<BucketOrder> bucket_order_;  // with buckets
    const std::optional<Order> order_;
    const size_t window_;  // batches under way
    int64_t next_group_;   // global number of the next group's first sample
    PayloadPool pool_;

    std::mutex mutex_;
    std::condition_variable work_to_do_;
    std::condition_variable batch_done_;
    std::deque<std::unique_ptr<Pending>> pending_;
    std::exception_ptr broken_;
    std::stop_source stop_;
    std::vector<std::jthread> threads_;  // last: they use all of the above
};

}  // namespace flux::data
