#include "flux/kernels/host_memory.h"

#include <c10/core/CPUAllocator.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <new>

namespace flux::kernels {
namespace {

std::atomic<int64_t> held = 0, peak = 0;

class CountingAllocator final : public c10::Allocator {
public:
    c10::DataPtr allocate(size_t size) override {
        void* memory = nullptr;
        if (::posix_memalign(&memory, kHeader, kHeader + size) != 0) {
            throw std::bad_alloc();
        }
        auto* const block = static_cast<std::byte*>(memory);
        std::memcpy(block, &size, sizeof(size));
        const int64_t now = held += static_cast<int64_t>(size);
        int64_t before = peak;
        while (before < now && !peak.compare_exchange_weak(before, now)) {
        }
        std::byte* const data = block + kHeader;
        return {data, data, &release, c10::Device(c10::DeviceType::CPU)};
    }
    c10::DeleterFnPtr raw_deleter() const override { return &release; }
    void copy_data(void* to, const void* from, size_t size) const override {
        default_copy_data(to, from, size);
    }

private:
    static constexpr size_t kHeader = 64;  // keeps the data aligned; holds the block's size

    static void release(void* data) {
        if (data == nullptr) {
            return;
        }
        std::byte* const block = static_cast<std::byte*>(data) - kHeader;
        size_t size = 0;
        std::memcpy(&size, block, sizeof(size));
        held -= static_cast<int64_t>(size);
        std::free(block);
    }
};

}  // namespace

void count_host_memory() {
    static auto* const allocator = new CountingAllocator;  // tensors may outlive all else
    c10::SetCPUAllocator(allocator, /*priority=*/100);
}

void keep_host_memory() {
#ifdef __GLIBC__
    ::mallopt(M_MMAP_MAX, 0);  // such blocks would go back at once
    ::mallopt(M_TRIM_THRESHOLD, -1);
#endif
}

HostMemory host_memory() { return {held, peak}; }

void reset_host_peak() { peak = held.load(); }

}  // namespace flux::kernels
