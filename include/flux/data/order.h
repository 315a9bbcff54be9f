// Which row is the n-th sample of a run: a keyed permutation per epoch, computed and not stored, so
// that resuming at any sample costs nothing.
#pragma once

#include <cstdint>

#include "flux/config/job_config.h"

namespace flux::data {

struct Position {
    uint32_t epoch = 0;
    int64_t row = 0;
};

class Order {
public:
    /// Throws Error unless `rows` >= 1 and the order is one of all rows (not by shards).
    Order(int64_t rows, config::Shuffle shuffle, uint64_t seed);

    /// Place of global sample number `sample` >= 0.
    Position at(int64_t sample) const;

private:
    int64_t permuted(int64_t index, uint32_t epoch) const;

    int64_t rows_;
    config::Shuffle shuffle_;
    uint64_t seed_;
    uint64_t left_size_;   // left_size_ * right_size_ is the least such product >= rows_
    uint64_t right_size_;  // with left_size_ = ceil(sqrt(rows_))
};

}  // namespace flux::data
