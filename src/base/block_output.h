// Writes a file in large blocks that go past the page cache: giving a checkpoint's bytes pages
// there takes longer than writing them, and takes the processor from training. Where a file system
// does not go along, they go through it.
#pragma once

#include <array>
#include <cstddef>
#include <filesystem>
#include <future>

#include "flux/base/aligned_bytes.h"

namespace flux {

class BlockOutput {
public:
    static constexpr size_t kBlockBytes = size_t{4} << 20;

    /// An open file, empty and its owner's; `path` is for messages.
    BlockOutput(int descriptor, std::filesystem::path path);
    BlockOutput(const BlockOutput&) = delete;
    BlockOutput& operator=(const BlockOutput&) = delete;

    /// Takes the bytes; what fails may be thrown by a later call, and all after it fail too.
    void write(const void* data, size_t size_bytes);
    /// Hands all that was taken to the system.
    void finish();

private:
    void check() const;
    void await();
    void send();
    void send_block(const std::byte* block);
    void set_direct(bool direct);

    int descriptor_;
    std::filesystem::path path_;
    bool direct_ = false;
    bool failed_ = false;
    // One is filled while the other is written.
    std::array<AlignedBytes, 2> blocks_;
    size_t filled_bytes_ = 0;
    std::future<void> under_way_;  // waits where it ends: before the blocks go
};

}  // namespace flux
