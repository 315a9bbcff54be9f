// Counts the bytes of LibTorch's tensors in host memory: what a test measures memory with.
#pragma once

#include <c10/core/CPUAllocator.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>

namespace flux::test {

class CountingAllocator final : public c10::Allocator {
public:
    /// Takes over from LibTorch's own allocator for the rest of the process.
    static void install() {
        static CountingAllocator allocator;
        c10::SetCPUAllocator(&allocator, /*priority=*/100);
    }

    /// Bytes held now, of what was allocated since install().
    static int64_t held() { return static_cast<int64_t>(held_); }
    /// The most that was held since the last begin().
    static int64_t peak() { return static_cast<int64_t>(peak_); }
    static void begin() { peak_ = held_.load(); }

    c10::DataPtr allocate(size_t size) override {
        auto* block =
            static_cast<std::byte*>(std::aligned_alloc(kHeader, kHeader + round_up(size)));
        if (block == nullptr) {
            throw std::bad_alloc();
        }
        std::memcpy(block, &size, sizeof(size));
        held_ += size;
        peak_ = std::max(peak_.load(), held_.load());
        std::byte* data = block + kHeader;
        return {data, data, &release, c10::Device(c10::DeviceType::CPU)};
    }
    c10::DeleterFnPtr raw_deleter() const override { return &release; }
    void copy_data(void* to, const void* from, size_t size) const override {
        default_copy_data(to, from, size);
    }

private:
    static constexpr size_t kHeader = 64;  // keeps the alignment; holds the block's size
    static size_t round_up(size_t size) { return (size + kHeader - 1) / kHeader * kHeader; }
    static void release(void* data) {
        if (data == nullptr) {
            return;
        }
        std::byte* block = static_cast<std::byte*>(data) - kHeader;
        size_t size = 0;
        std::memcpy(&size, block, sizeof(size));
        held_ -= size;
        std::free(block);
    }
    static inline std::atomic<size_t> held_ = 0, peak_ = 0;
};

}  // namespace flux::test
