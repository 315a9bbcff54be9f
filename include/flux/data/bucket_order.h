// Which row is the n-th sample of a run with aspect buckets: every group of samples, one optimizer
// step's, comes from one bucket. Like Order it is computed and not stored, the same for any number
// of processes and from any step on.
//
// Each bucket is an endless sequence: its rows in a keyed order, then all again in the order of
// its next pass, and so on. It is cut into groups. Epoch e takes from a bucket of n rows the groups
// floor(e n / G) .. floor((e + 1) n / G) - 1, and the groups of all buckets in a keyed order. So
// what does not fill a group at an epoch's end opens the bucket's first group of a later epoch: in
// each pass of a bucket every row comes exactly once, and no row is ever dropped.
//
// Keys (Purpose::kOrder): index 1 and sub = epoch for the order of the groups; index = width * 2^32
// + height and sub = pass for the rows of a bucket.
#pragma once

#include <cstdint>
#include <vector>

#include "flux/data/buckets.h"
#include "flux/data/order.h"

namespace flux::data {

class BucketOrder {
public:
    /// `group_size`: samples of a step over all processes.
    BucketOrder(const Buckets& buckets, int64_t group_size, uint64_t seed);

    /// Place of global sample number `sample` >= 0; its epoch is the pass of the row's bucket.
    Position at(int64_t sample) const;
    /// The shape of that sample, and so of its group.
    PictureShape shape_at(int64_t sample) const;

    /// Rows that may stand in for one another: those of `row`'s bucket.
    int64_t rows_like(int64_t row) const;
    /// The n-th of them.
    int64_t row_like(int64_t row, int64_t n) const;

private:
    struct Bucket {
        PictureShape shape;
        std::vector<int64_t> rows;
        Permutation permutation;
    };
    struct Group {
        const Bucket* bucket;
        int64_t number;  // in the bucket's sequence
    };

    Group group_of(int64_t sample) const;
    int64_t groups_before(int64_t epoch) const;
    int64_t groups_before(int64_t epoch, const Bucket& bucket) const;
    const Bucket& bucket_of(int64_t row) const;

    int64_t rows_;
    int64_t group_size_;
    uint64_t seed_;
    std::vector<uint16_t> of_row_;
    std::vector<Bucket> buckets_;
};

}  // namespace flux::data
