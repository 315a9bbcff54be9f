// Reads one slice of a checkpoint, block by block, hands a target what it asks for, and sums up
// all.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <span>

#include "flux/base/read_file.h"
#include "flux/checkpoint/load.h"

namespace flux::checkpoint {

class SliceReader {
public:
    /// `offset`: where the slice begins in the file, which must outlive this. `target` may be null.
    SliceReader(const ReadFile& file, uint64_t offset, const Slice& slice, at::ScalarType dtype,
                const Target* target);

    /// The elements of the slice that the target takes.
    int64_t wanted_begin() const { return begin_; }
    int64_t wanted_end() const { return end_; }
    uint64_t bytes_read() const { return bytes_; }

    /// Reads elements [from, to) and returns their checksum.
    uint32_t read(int64_t from, int64_t to);

private:
    uint64_t place(int64_t element) const;
    void hand_over(int64_t at, int64_t count, std::span<const std::byte> bytes) const;

    const ReadFile& file_;
    const uint64_t offset_;
    const Slice& slice_;
    const int64_t element_bytes_;
    const Target* target_;
    const int64_t begin_, end_;
    const at::ScalarType dtype_;
    at::Tensor data_;      // the target's
    bool copies_ = false;  // else its type or device is another
    ReadFile::Window window_;
    uint64_t bytes_ = 0;
};

}  // namespace flux::checkpoint
