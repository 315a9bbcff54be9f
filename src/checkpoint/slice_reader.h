// Reads one slice of a checkpoint, block by block: straight into the memory of a target where type
// and device allow, else through a block of its own, and past what the target does not ask for.
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
    int64_t block_elements() const;
    uint64_t place(int64_t element) const;
    std::span<std::byte> in_target(int64_t at, int64_t count) const;
    std::span<std::byte> in_block(int64_t count);

    const ReadFile& file_;
    const uint64_t offset_;
    const Slice& slice_;
    const int64_t element_bytes_;
    const Target* target_;
    const int64_t begin_, end_;
    const at::TensorOptions options_;
    at::Tensor data_;   // the target's
    at::Tensor block_;  // what does not go straight there
    bool direct_ = false;
    uint64_t bytes_ = 0;
};

}  // namespace flux::checkpoint
