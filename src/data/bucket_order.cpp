#include "flux/data/bucket_order.h"

#include "flux/base/error.h"

namespace flux::data {
namespace {

constexpr uint64_t kGroupStream = 1;

uint64_t stream_of(const PictureShape& shape) {
    return static_cast<uint64_t>(shape.width) << 32 | static_cast<uint64_t>(shape.height);
}

}  // namespace

BucketOrder::BucketOrder(const Buckets& buckets, int64_t group_size, uint64_t seed)
    : rows_(std::ssize(buckets.of_row)),
      group_size_(group_size),
      seed_(seed),
      of_row_(buckets.of_row) {
    std::vector<std::vector<int64_t>> rows(buckets.shapes.size());
    for (size_t row = 0; row < buckets.of_row.size(); ++row) {
        rows[buckets.of_row[row]].push_back(static_cast<int64_t>(row));
    }
    for (size_t i = 0; i < rows.size(); ++i) {
        const PictureShape shape = buckets.shapes[i];
        const Permutation permutation(std::ssize(rows[i]), seed, stream_of(shape));
        buckets_.push_back({shape, std::move(rows[i]), permutation});
    }
    if (group_size < 1 || buckets_.empty()) {
        fail("an order of {} buckets in groups of {}: must be at least one of each",
             buckets_.size(), group_size);
    }
}

Position BucketOrder::at(int64_t sample) const {
    const Group group = group_of(sample);
    const auto rows = std::ssize(group.bucket->rows);
    const int64_t place = group.number * group_size_ + sample % group_size_;
    const auto pass = static_cast<uint32_t>(place / rows);
    const int64_t index = group.bucket->permutation.at(place % rows, pass);
    return {pass, group.bucket->rows[static_cast<size_t>(index)]};
}

PictureShape BucketOrder::shape_at(int64_t sample) const { return group_of(sample).bucket->shape; }

int64_t BucketOrder::rows_like(int64_t row) const { return std::ssize(bucket_of(row).rows); }

int64_t BucketOrder::row_like(int64_t row, int64_t n) const {
    return bucket_of(row).rows[static_cast<size_t>(n)];
}

BucketOrder::Group BucketOrder::group_of(int64_t sample) const {
    const int64_t group = sample / group_size_;
    // Groups come a little late, never early: the epoch is this one or shortly after.
    int64_t epoch = group * group_size_ / rows_;
    while (groups_before(epoch + 1) <= group) {
        ++epoch;
    }
    const int64_t first = groups_before(epoch);
    const Permutation permutation(groups_before(epoch + 1) - first, seed_, kGroupStream);
    int64_t index = permutation.at(group - first, static_cast<uint32_t>(epoch));
    for (const Bucket& bucket : buckets_) {
        const int64_t begin = groups_before(epoch, bucket);
        const int64_t count = groups_before(epoch + 1, bucket) - begin;
        if (index < count) {
            return {&bucket, begin + index};
        }
        index -= count;
    }
    fail("bucket order: sample {} lies in no group", sample);
}

int64_t BucketOrder::groups_before(int64_t epoch) const {
    int64_t groups = 0;
    for (const Bucket& bucket : buckets_) {
        groups += groups_before(epoch, bucket);
    }
    return groups;
}

int64_t BucketOrder::groups_before(int64_t epoch, const Bucket& bucket) const {
    return epoch * std::ssize(bucket.rows) / group_size_;
}

const BucketOrder::Bucket& BucketOrder::bucket_of(int64_t row) const {
    return buckets_[of_row_[static_cast<size_t>(row)]];
}

}  // namespace flux::data
