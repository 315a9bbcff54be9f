#include "flux/data/order.h"

#include <cmath>

#include "flux/base/error.h"
#include "flux/base/philox.h"

namespace flux::data {
namespace {

constexpr uint32_t kRounds = 8;
constexpr int64_t kMaxRows = int64_t{1} << 46;  // each half has less than 24 bits

}  // namespace

Permutation::Permutation(int64_t size, uint64_t seed, uint64_t stream)
    : size_(size), seed_(seed), stream_(stream) {
    if (size < 1 || size > kMaxRows) {
        fail("an order of {} rows: must be 1 to {}", size, kMaxRows);
    }
    left_size_ = static_cast<uint64_t>(std::sqrt(static_cast<double>(size)));
    while (left_size_ * left_size_ < static_cast<uint64_t>(size)) {
        ++left_size_;
    }
    right_size_ = (static_cast<uint64_t>(size) + left_size_ - 1) / left_size_;
}

/// The draw that mixes one half of an index into the other.
uint64_t Permutation::round_value(uint32_t epoch, uint32_t round, uint64_t half) const {
    const PhiloxBlock block = philox_block(philox_key(seed_, Purpose::kOrder), stream_, epoch,
                                           round << 24 | static_cast<uint32_t>(half));
    return static_cast<uint64_t>(block.word[0]) << 32 | block.word[1];
}

/// A Feistel network on pairs (left, right), left < left_size_ and right < right_size_, permutes
/// all left_size_ * right_size_ indexes; one that lands beyond the size goes round again, which
/// leaves a permutation of the rest. The halves take turns, so their sizes need not be equal.
int64_t Permutation::at(int64_t index, uint32_t epoch) const {
    auto value = static_cast<uint64_t>(index);
    do {
        uint64_t left = value / right_size_;
        uint64_t right = value % right_size_;
        for (uint32_t round = 0; round < kRounds; round += 2) {
            left = (left + round_value(epoch, round, right) % left_size_) % left_size_;
            right = (right + round_value(epoch, round + 1, left) % right_size_) % right_size_;
        }
        value = left * right_size_ + right;
    } while (value >= static_cast<uint64_t>(size_));
    return static_cast<int64_t>(value);
}

Order::Order(int64_t rows, config::Shuffle shuffle, uint64_t seed)
    : rows_(rows), shuffle_(shuffle), permutation_(rows, seed, /*stream=*/0) {
    if (shuffle == config::Shuffle::kShards) {
        fail("training.shuffle = shards: is for training data in tar shards: use global or none");
    }
}

Position Order::at(int64_t sample) const {
    const auto epoch = static_cast<uint32_t>(sample / rows_);
    const int64_t index = sample % rows_;
    return {epoch, shuffle_ == config::Shuffle::kGlobal ? permutation_.at(index, epoch) : index};
}

}  // namespace flux::data
