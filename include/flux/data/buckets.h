// Aspect buckets: pictures are cropped to one of a few shapes near their own, all of about the
// same area, instead of to a square. Which picture goes where follows from the sizes in the index,
// so nothing is decoded to know it; batches of one shape are the work of bucket_order.h.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "flux/data/image_decode.h"
#include "flux/data/sample.h"

namespace flux::data {

struct BucketSettings {
    int step = 0;            // sides are multiples of it; 0: no buckets
    int64_t least_rows = 1;  // a bucket of fewer is given up: a batch of it would come too rarely
};

/// The shapes in use, and which of them each row of a data set has.
struct Buckets {
    std::vector<PictureShape> shapes;
    std::vector<uint16_t> of_row;

    PictureShape shape(int64_t row) const { return shapes[of_row[static_cast<size_t>(row)]]; }
};

/// The square of `side`, then for every longer side up to twice that, the widest other side with
/// no more pixels than the square, lying and standing.
std::vector<PictureShape> bucket_shapes(int side, int step);

struct BucketedRows {
    Buckets buckets;            // of the kept rows
    std::vector<int64_t> kept;  // which of the given rows, in order
};

/// Each picture goes to the bucket nearest to its aspect ratio that does not enlarge it; where
/// there is none it is left out. Buckets with too few rows are given up, the smallest first, until
/// none or one is left. A picture of unknown size counts as a square of any size: reading it says
/// what is wrong with it.
BucketedRows sort_into_buckets(std::span<const std::optional<PictureSize>> sizes, int side,
                               const BucketSettings& settings);

/// "3 buckets: 1024x1024 (17 pictures), ...", the largest ones.
std::string to_text(const Buckets& buckets);

}  // namespace flux::data
