// Which row is the n-th sample of a run: a keyed permutation per epoch, computed and not stored, so
// that resuming at any sample costs nothing.
#pragma once

#include <cstdint>
#include <stop_token>

#include "flux/config/job_config.h"

namespace flux::data {

struct Position {
    uint32_t epoch = 0;
    int64_t row = 0;
};

/// The order of a data set that has one of its own, because not all of its rows are known. Safe to
/// use from several threads.
class SampleOrder {
public:
    virtual ~SampleOrder() = default;

    /// Place of global sample number `sample` >= 0. May wait for storage; throws Error on a stop.
    virtual Position at(int64_t sample, const std::stop_token& stop) const = 0;
    /// Rows that may stand in for `row`, and the n-th of them.
    virtual int64_t rows_like(int64_t row) const = 0;
    virtual int64_t row_like(int64_t row, int64_t n) const = 0;
};

/// Keyed permutations of `size` indexes, another one for every (seed, stream, epoch). The stream is
/// the index of Purpose::kOrder.
class Permutation {
public:
    /// Throws Error unless `size` is 1 to 2^46.
    Permutation(int64_t size, uint64_t seed, uint64_t stream);

    int64_t at(int64_t index, uint32_t epoch) const;

private:
    uint64_t round_value(uint32_t epoch, uint32_t round, uint64_t half) const;

    int64_t size_;
    uint64_t seed_;
    uint64_t stream_;
    uint64_t left_size_;   // left_size_ * right_size_ is the least such product >= size_
    uint64_t right_size_;  // with left_size_ = ceil(sqrt(size_))
};

class Order {
public:
    /// Throws Error unless `rows` >= 1 and the order is one of all rows (not by shards).
    Order(int64_t rows, config::Shuffle shuffle, uint64_t seed);

    /// Place of global sample number `sample` >= 0.
    Position at(int64_t sample) const;

private:
    int64_t rows_;
    config::Shuffle shuffle_;
    Permutation permutation_;
};

}  // namespace flux::data
