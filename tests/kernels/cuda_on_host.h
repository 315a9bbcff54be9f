// Runs CUDA kernels on the host, block after block: each thread of a block is a fiber that goes on
// until it meets a barrier or an exchange between lanes. So much of CUDA as src/kernels/cuda_*.h
// need, to check their indices and barriers where there is no GPU. Stands before their includes.
#pragma once

#include <ucontext.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __launch_bounds__(...)
#define __expf(x) std::exp(x)
#define __fdividef(x, y) ((x) / (y))

namespace flux::kernels {

struct HostIndex {
    unsigned x = 0;
};
inline HostIndex threadIdx, blockIdx, blockDim;

inline float rsqrtf(float x) { return 1.0F / std::sqrt(x); }

/// To nearest, ties to even; NaN as a GPU has it.
inline uint32_t host_bf16_pair(float low, float high) {
    const auto rounded = [](float x) {
        const auto bits = std::bit_cast<uint32_t>(x);
        return std::isnan(x) ? 0x7fff : (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    };
    return rounded(low) | rounded(high) << 16;
}

inline void host_check_aligned(const void* address, size_t bytes) {
    if (reinterpret_cast<uintptr_t>(address) % bytes != 0) {
        std::fprintf(stderr, "a vector of %zu bytes at %p\n", bytes, address);
        std::abort();
    }
}

class HostBlock {
public:
    explicit HostBlock(unsigned threads)
        : fibers_(threads), warps_(threads / kLanes), exchanged_(threads) {
        for (Fiber& fiber : fibers_) {
            fiber.stack = std::make_unique_for_overwrite<char[]>(kStackBytes);
        }
    }

    /// `body` in each thread, to its end.
    void run(std::function<void()> body) {
        body_ = std::move(body);
        current = this;
        shared_.clear();
        for (Fiber& fiber : fibers_) {
            fiber.done = false;
            getcontext(&fiber.context);
            fiber.context.uc_stack.ss_sp = fiber.stack.get();
            fiber.context.uc_stack.ss_size = kStackBytes;
            fiber.context.uc_link = &scheduler_;
            makecontext(&fiber.context, &HostBlock::enter, 0);
        }
        // Each warp runs as far ahead of the others as it can, which shows a barrier too few.
        for (bool stuck = false; left() > 0;) {
            if (stuck) {
                std::fputs("threads of a block wait for each other at different places\n", stderr);
                std::abort();
            }
            stuck = true;
            for (size_t warp = 0; warp < warps_.size(); ++warp) {
                while (advance(warp)) {
                    stuck = false;
                }
            }
        }
    }

    void meet_block() { meet(all_, fibers_.size()); }

    float exchange(float x, unsigned step) {
        const unsigned thread = threadIdx.x;
        exchanged_[thread] = x;
        meet(warps_[thread / kLanes], kLanes);
        const float other = exchanged_[thread ^ step];
        meet(warps_[thread / kLanes], kLanes);
        return other;
    }

    /// As unset as each block finds it on a GPU: the first thread that comes to it fills it with
    /// NaN.
    void share(void* memory, size_t bytes) {
        if (std::find(shared_.begin(), shared_.end(), memory) == shared_.end()) {
            shared_.push_back(memory);
            std::memset(memory, 0xff, bytes);
        }
    }

    inline static HostBlock* current = nullptr;

private:
    static constexpr size_t kLanes = 32, kStackBytes = 256 << 10;

    struct Fiber {
        ucontext_t context{};
        std::unique_ptr<char[]> stack;
        bool done = false;
    };
    struct Barrier {
        size_t arrived = 0;
        int round = 0;
    };

    size_t left() const {
        return static_cast<size_t>(
            std::count_if(fibers_.begin(), fibers_.end(), [](const Fiber& f) { return !f.done; }));
    }

    /// Each thread of the warp up to where it waits; false if all have waited there before.
    bool advance(size_t warp) {
        moved_ = false;
        for (size_t i = warp * kLanes; i < (warp + 1) * kLanes; ++i) {
            if (!fibers_[i].done) {
                threadIdx.x = static_cast<unsigned>(i);
                swapcontext(&scheduler_, &fibers_[i].context);
            }
        }
        return moved_;
    }

    static void enter() {
        HostBlock& block = *current;
        block.body_();
        block.fibers_[threadIdx.x].done = true;
        block.moved_ = true;
    }

    void meet(Barrier& barrier, size_t count) {
        const unsigned thread = threadIdx.x;
        const int round = barrier.round;
        moved_ = true;
        if (++barrier.arrived == count) {
            barrier.arrived = 0;
            ++barrier.round;
        }
        while (barrier.round == round) {
            swapcontext(&fibers_[thread].context, &scheduler_);
        }
    }

    std::vector<Fiber> fibers_;
    std::vector<Barrier> warps_;
    std::vector<float> exchanged_;
    Barrier all_;
    ucontext_t scheduler_{};
    std::function<void()> body_;
    std::vector<void*> shared_;  // of this block, so far
    bool moved_ = false;
};

inline void host_shared(void* memory, size_t bytes) { HostBlock::current->share(memory, bytes); }

inline void __syncthreads() { HostBlock::current->meet_block(); }

inline float __shfl_xor_sync(uint32_t, float x, int step) {
    return HostBlock::current->exchange(x, static_cast<unsigned>(step));
}

inline uint32_t __reduce_max_sync(uint32_t, uint32_t x) {
    for (unsigned step = 1; step < 32; step *= 2) {
        const float other = HostBlock::current->exchange(std::bit_cast<float>(x), step);
        x = std::max(x, std::bit_cast<uint32_t>(other));
    }
    return x;
}

inline void atomicMax(uint32_t* at, uint32_t x) { *at = std::max(*at, x); }

}  // namespace flux::kernels
