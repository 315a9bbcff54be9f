// Memory from which and into which a disk can be written and read past the page cache.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <memory>
#include <new>

namespace flux {

class AlignedBytes {
public:
    /// What disks ask of memory, place in the file and size; more than this is rare, and then the
    /// page cache serves.
    static constexpr size_t kAlignment = 4096;

    AlignedBytes() = default;
    /// Left uninitialised. `size_bytes`: whole multiples of kAlignment.
    explicit AlignedBytes(size_t size_bytes)
        : memory_(static_cast<std::byte*>(std::aligned_alloc(kAlignment, size_bytes))),
          size_bytes_(size_bytes) {
        if (!memory_) {
            throw std::bad_alloc();
        }
    }

    std::byte* data() const { return memory_.get(); }
    size_t size() const { return memory_ ? size_bytes_ : 0; }

private:
    struct Free {
        void operator()(std::byte* memory) const { std::free(memory); }
    };
    std::unique_ptr<std::byte, Free> memory_;
    size_t size_bytes_ = 0;
};

}  // namespace flux
