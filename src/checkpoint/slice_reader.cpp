#include "checkpoint/slice_reader.h"

#include <ATen/ops/from_blob.h>

#include <algorithm>
#include <cstring>

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
      dtype_(dtype) {
    if (target != nullptr) {
        data_ = target->data.detach();
        copies_ = data_.is_cpu() && data_.scalar_type() == dtype;
    }
}

uint32_t SliceReader::read(int64_t from, int64_t to) {
    const int64_t block = static_cast<int64_t>(ReadFile::Window::kBytes) / element_bytes_;
    uint32_t sum = 0;
    for (int64_t at = from, count = 0; at < to; at += count) {
        const bool wanted = begin_ <= at && at < end_;
        const int64_t border = wanted ? end_ : at < begin_ ? begin_ : to;
        count = std::min({block, border - at, to - at});
        const auto bytes =
            file_.read(place(at), static_cast<size_t>(count * element_bytes_), window_);
        sum = crc32c(bytes, sum);
        if (wanted) {
            hand_over(at, count, bytes);
        }
        bytes_ += bytes.size();
    }
    return sum;
}

uint64_t SliceReader::place(int64_t element) const {
    return offset_ + static_cast<uint64_t>((element - slice_.begin) * element_bytes_);
}

void SliceReader::hand_over(int64_t at, int64_t count, std::span<const std::byte> bytes) const {
    const int64_t first = at - target_->begin;
    if (copies_) {
        auto* data = static_cast<std::byte*>(data_.mutable_data_ptr());
        std::memcpy(data + first * element_bytes_, bytes.data(), bytes.size());
        return;
    }
    // What a CPU converts is as little at a time as ATen converts on the calling thread.
    const int64_t most = data_.is_cpu() ? 32768 : count;
    const at::Tensor block = at::from_blob(const_cast<std::byte*>(bytes.data()), {count}, dtype_);
    for (int64_t i = 0; i < count; i += most) {
        const int64_t part = std::min(most, count - i);
        data_.narrow(0, first + i, part).copy_(block.narrow(0, i, part));
    }
}

}  // namespace flux::checkpoint
