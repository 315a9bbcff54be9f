#include "flux/kernels/host_memory.h"

#include <c10/core/CPUAllocator.h>
#include <fmt/format.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string>

namespace flux::kernels {
namespace {

std::atomic<int64_t> held = 0, peak = 0;

class NoHostMemory final : public std::bad_alloc {
public:
    explicit NoHostMemory(size_t size)
        : text_(fmt::format("{:.3f} GiB for a tensor beside {:.3f} GiB held", in_gib(size),
                            in_gib(static_cast<size_t>(held.load())))) {}
    const char* what() const noexcept override { return text_.c_str(); }

private:
    static double in_gib(size_t bytes) { return static_cast<double>(bytes) / (1 << 30); }
    std::string text_;
};

/// What stands before a tensor's data.
struct Header {
    void* block;  // what malloc() gave
    size_t size;
};

/// malloc() and not an aligned form of it, which asks for more than it gives: what is freed would
/// be too small for the next tensor of that size.
class HostAllocator final : public c10::Allocator {
public:
    c10::DataPtr allocate(size_t size) override {
        void* const block = std::malloc(size + kAlignment + sizeof(Header));
        if (block == nullptr) {
            throw NoHostMemory(size);
        }
        const auto least = reinterpret_cast<uintptr_t>(block) + sizeof(Header);
        auto* const data =
            reinterpret_cast<std::byte*>((least + kAlignment - 1) & ~(kAlignment - 1));
        const Header header{block, size};
        std::memcpy(data - sizeof(Header), &header, sizeof(Header));
        const int64_t now = held += static_cast<int64_t>(size);
        int64_t before = peak;
        while (before < now && !peak.compare_exchange_weak(before, now)) {
        }
        return {data, data, &release, c10::Device(c10::DeviceType::CPU)};
    }
    c10::DeleterFnPtr raw_deleter() const override { return &release; }
    void copy_data(void* to, const void* from, size_t size) const override {
        default_copy_data(to, from, size);
    }

private:
    static constexpr uintptr_t kAlignment = 64;

    static void release(void* data) {
        if (data == nullptr) {
            return;
        }
        Header header{};
        std::memcpy(&header, static_cast<std::byte*>(data) - sizeof(Header), sizeof(Header));
        held -= static_cast<int64_t>(header.size);
        std::free(header.block);
    }
};

}  // namespace

void count_host_memory() {
    static auto* const allocator = new HostAllocator;  // tensors may outlive all else
    c10::SetCPUAllocator(allocator, /*priority=*/100);
}

void keep_host_memory() {
    count_host_memory();
#ifdef __GLIBC__
    ::mallopt(M_MMAP_MAX, 0);  // such blocks would go back at once
    ::mallopt(M_TRIM_THRESHOLD, -1);
#endif
}

HostMemory host_memory() { return {held, peak}; }

void reset_host_peak() { peak = held.load(); }

}  // namespace flux::kernels
