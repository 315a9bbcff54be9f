#include "checkpoint/slice_reader.h"

#include <ATen/ops/empty.h>

#include <algorithm>

#include "flux/base/crc32c.h"

namespace flux::checkpoint {

SliceReader::SliceReader(const ReadFile& file, uint64_t offset, const Slice& slice,
                         at::ScalarType dtype, const Target* target)
    : file_(file),
      offset_(offset),
      slice_(slice),
      element_bytes_(static_cast<int64_t>(c10::elementSize(dtype))),
      target_(target),
      begin_(target == nullptr ? slice.end : std::max(slice.begin, target->begin)),
      end_(target == nullptr ? slice.end : std::min(slice.end, target->end)),
      options_(at::TensorOptions().dtype(dtype)) {
    if (target != nullptr) {
        data_ = target->data.detach();
        direct_ = data_.is_cpu() && data_.scalar_type() == dtype;
    }
}

uint32_t SliceReader::read(int64_t from, int64_t to) {
    uint32_t sum = 0;
    for (int64_t at = from, count = 0; at < to; at += count) {
        const bool wanted = begin_ <= at && at < end_;
        const int64_t border = wanted ? end_ : at < begin_ ? begin_ : to;
        count = std::min({block_elements(), border - at, to - at});
        const auto bytes = wanted && direct_ ? in_target(at, count) : in_block(count);
        file_.read(place(at), bytes);
        sum = crc32c(bytes, sum);
        if (wanted && !direct_) {
            data_.narrow(0, at - target_->begin, count).copy_(block_.narrow(0, 0, count));
        }
        bytes_ += bytes.size();
    }
    return sum;
}

/// A block stays in the processor's cache from the read to the checksum; what a CPU converts is as
/// little as ATen converts on the calling thread.
int64_t SliceReader::block_elements() const {
    constexpr int64_t kBlockBytes = int64_t{1} << 20, kConverted = 32768;
    const bool converts = data_.defined() && data_.is_cpu() && !direct_;
    return converts ? kConverted : kBlockBytes / element_bytes_;
}

uint64_t SliceReader::place(int64_t element) const {
    return offset_ + static_cast<uint64_t>((element - slice_.begin) * element_bytes_);
}

std::span<std::byte> SliceReader::in_target(int64_t at, int64_t count) const {
    auto* data = static_cast<std::byte*>(data_.mutable_data_ptr());
    return {data + (at - target_->begin) * element_bytes_,
            static_cast<size_t>(count * element_bytes_)};
}

std::span<std::byte> SliceReader::in_block(int64_t count) {
    if (!block_.defined()) {
        block_ = at::empty({std::min(block_elements(), slice_.end - slice_.begin)}, options_);
    }
    return {static_cast<std::byte*>(block_.mutable_data_ptr()),
            static_cast<size_t>(count * element_bytes_)};
}

}  // namespace flux::checkpoint
