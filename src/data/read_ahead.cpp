#include "data/read_ahead.h"

#include <algorithm>

#include "flux/base/error.h"
#include "flux/base/philox.h"
#include "flux/base/storage_error.h"

namespace flux::data {
namespace {

constexpr uint32_t kMaxSubstitutes = 100;

LoaderSettings checked(LoaderSettings settings) {
    if (settings.group_size == 0) {
        settings.group_size = settings.batch_size;
    }
    if (settings.batch_size < 1 || settings.first_sample < 0 || settings.group_offset < 0 ||
        settings.group_offset + settings.batch_size > settings.group_size) {
        fail(
            "loader: batch_size {} at offset {} of groups of {}, from sample {}: a slice must lie "
            "inside its group and hold at least one sample",
            settings.batch_size, settings.group_offset, settings.group_size, settings.first_sample);
    }
    if (settings.step_size == 0) {
        settings.step_size = settings.group_size;
    }
    if (settings.num_workers < 0 || settings.prefetch_factor < 1) {
        fail("loader: num_workers {} and prefetch_factor {}: must be at least 0 and 1",
             settings.num_workers, settings.prefetch_factor);
    }
    return settings;
}

/// Nothing where all pictures have one shape.
std::optional<BucketOrder> make_bucket_order(const Dataset& dataset,
                                             const LoaderSettings& settings) {
    if (dataset.buckets() == nullptr) {
        return std::nullopt;
    }
    if (settings.shuffle != config::Shuffle::kGlobal) {
        fail(
            "training.buckets: batches of one shape do not keep the stored order: "
            "training.shuffle must be global");
    }
    if (settings.step_size % settings.group_size != 0 ||
        settings.first_sample % settings.group_size != 0) {
        fail(
            "loader: steps of {} samples, from sample {}: must be multiples of the group size {}, "
            "so that no batch has two shapes",
            settings.step_size, settings.first_sample, settings.group_size);
    }
    return std::optional<BucketOrder>(std::in_place, *dataset.buckets(), settings.step_size,
                                      settings.seed);
}

std::optional<Order> make_order(const Dataset& dataset, const LoaderSettings& settings) {
    if (dataset.order() != nullptr || dataset.buckets() != nullptr) {
        return std::nullopt;
    }
    return std::optional<Order>(std::in_place, dataset.size(), settings.shuffle, settings.seed);
}

}  // namespace

ReadAhead::ReadAhead(const Dataset& dataset, const LoaderSettings& settings)
    : dataset_(dataset),
      settings_(checked(settings)),
      own_order_(dataset.order()),
      bucket_order_(make_bucket_order(dataset, settings_)),
      order_(make_order(dataset, settings_)),
      window_(std::max<size_t>(size_t(settings.num_workers) * settings.prefetch_factor, 1)),
      next_group_(settings.first_sample),
      pool_(settings.pinned) {
    for (int i = 0; i < settings_.num_workers; ++i) {
        threads_.emplace_back([this] { work(); });
    }
}

ReadAhead::~ReadAhead() {
    {
        const std::lock_guard lock(mutex_);
        stop_.request_stop();
    }
    work_to_do_.notify_all();
}

std::optional<ReadBatch> ReadAhead::next() {
    std::unique_lock lock(mutex_);
    if (settings_.num_workers == 0) {
        while (pending_.empty() || !pending_.front()->is_complete()) {
            const auto claimed = claim();
            if (!claimed) {
                return std::nullopt;
            }
            fill(claimed->pending->batch, claimed->slot);
            ++claimed->pending->done;
        }
    } else {
        batch_done_.wait(lock, [&] {
            return broken_ || (pending_.empty() ? !can_open() : pending_.front()->is_complete());
        });
        if (broken_) {
            std::rethrow_exception(broken_);
        }
        if (pending_.empty()) {
            return std::nullopt;
        }
    }
    ReadBatch batch = std::move(pending_.front()->batch);
    pending_.pop_front();
    work_to_do_.notify_all();
    return batch;
}

/// What each thread does until there is nothing left to read.
void ReadAhead::work() {
    std::unique_lock lock(mutex_);
    try {
        for (;;) {
            std::optional<Claim> claimed;
            work_to_do_.wait(
                lock, [&] { return stop_.stop_requested() || (claimed = claim()).has_value(); });
            if (stop_.stop_requested()) {
                return;
            }
            lock.unlock();
            fill(claimed->pending->batch, claimed->slot);
            lock.lock();
            ++claimed->pending->done;
            if (claimed->pending->is_complete()) {
                batch_done_.notify_all();
            }
        }
    } catch (...) {
        if (!lock.owns_lock()) {
            lock.lock();
        }
        broken_ = std::current_exception();
        batch_done_.notify_all();
    }
}

/// The next place to fill, if the window has one.
std::optional<ReadAhead::Claim> ReadAhead::claim() {
    if (pending_.empty() || pending_.back()->claimed == pending_.back()->batch.slots.size()) {
        if (!can_open()) {
            return std::nullopt;
        }
        open_batch();
    }
    Pending& last = *pending_.back();
    return Claim{&last, last.claimed++};
}

bool ReadAhead::can_open() const {
    const bool at_end = settings_.end >= 0 && next_group_ + settings_.group_offset >= settings_.end;
    return !at_end && pending_.size() < window_;
}

void ReadAhead::open_batch() {
    auto pending = std::make_unique<Pending>();
    ReadBatch& batch = pending->batch;
    batch.first_sample = next_group_ + settings_.group_offset;
    int64_t count = settings_.batch_size;
    if (settings_.end >= 0) {
        count = std::min(count, settings_.end - batch.first_sample);
    }
    batch.slots.resize(static_cast<size_t>(count));
    batch.payload = pool_.take(
        bucket_order_ ? bucket_order_->shape_at(batch.first_sample) : dataset_.payload(), count);
    next_group_ += settings_.group_size;
    pending_.push_back(std::move(pending));
}

void ReadAhead::fill(ReadBatch& batch, size_t index) const {
    Slot& slot = batch.slots[index];
    try {
        const int64_t sample = batch.first_sample + static_cast<int64_t>(index);
        slot.position = position_of(sample);
        std::optional<Sample> read = read_or_substitute(slot);
        if (!read) {
            return;
        }
        store_sample(batch.payload, static_cast<int64_t>(index), *read);
        slot.row = read->row;
        slot.timestep = read->timestep;
        slot.key = std::move(read->key);
        slot.filled = true;
    } catch (...) {
        slot.failure = std::current_exception();
    }
}

Position ReadAhead::position_of(int64_t sample) const {
    if (own_order_ != nullptr) {
        return own_order_->at(sample, stop_.get_token());
    }
    return bucket_order_ ? bucket_order_->at(sample) : order_->at(sample);
}

std::optional<Sample> ReadAhead::read_or_substitute(Slot& slot) const {
    int64_t row = slot.position.row;
    for (uint32_t attempt = 0; attempt <= kMaxSubstitutes && !stop_.stop_requested(); ++attempt) {
        if (attempt > 0) {
            const auto other = candidate(slot, attempt - 1);
            if (!other) {
                break;
            }
            row = *other;
        }
        try {
            return dataset_.read(row, slot.position.epoch);
        } catch (const FetchError&) {
            throw;  // the sample is good, and not here
        } catch (const StorageError& error) {
            if (!settings_.substitute) {
                throw;  // the sample may be good: it is not left out
            }
            slot.bad.push_back({row, error.what()});
        } catch (const Error& error) {
            slot.bad.push_back({row, error.what()});
        }
        if (!settings_.substitute) {
            return std::nullopt;
        }
    }
    if (stop_.stop_requested()) {
        return std::nullopt;
    }
    fail("no readable sample found: {} samples in a row are bad, the first one: {}",
         slot.bad.size(), slot.bad.front().error);
}

/// A keyed row to try instead of the slot's, of the same shape, and none twice; nothing when all
/// have been tried.
std::optional<int64_t> ReadAhead::candidate(const Slot& slot, uint32_t attempt) const {
    const int64_t row = slot.position.row;
    const Draw draw{settings_.seed, Purpose::kSubstitute, static_cast<uint64_t>(row),
                    slot.position.epoch};
    const auto rows_like = [&] {
        return own_order_ != nullptr ? own_order_->rows_like(row)
               : bucket_order_       ? bucket_order_->rows_like(row)
                                     : dataset_.size();
    };
    const auto row_like = [&](int64_t n) {
        return own_order_ != nullptr ? own_order_->row_like(row, n)
               : bucket_order_       ? bucket_order_->row_like(row, n)
                                     : n;
    };
    const int64_t rows = rows_like();
    const auto drawn = static_cast<int64_t>(draw.below(static_cast<uint64_t>(rows), attempt));
    for (int64_t step = 0; step < rows; ++step) {
        const int64_t other = row_like((drawn + step) % rows);
        if (std::none_of(slot.bad.begin(), slot.bad.end(),
                         [&](const BadRead& bad) { return bad.row == other; })) {
            return other;
        }
    }
    return std::nullopt;
}

}  // namespace flux::data
