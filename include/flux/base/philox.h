// Keyed random numbers: Philox4x32-10 (Salmon et al., "Parallel Random Numbers: As Easy as 1, 2,
// 3", SC11).
//
// Nothing here has a state: a draw is a function of (seed, purpose, index, sub, element), so it is
// the same on any number of processes, before and after a resume, on CPU and GPU.
//
//   key      = seed (64 bits), mixed with the purpose
//   counter  = [ element / 4 | sub | index low | index high ]      four 32-bit words
//   element  : position inside one tensor or list (the block gives four numbers: word element % 4)
//   sub      : epoch, or attempt
//   index    : global sample number, row of the data set, or number of a tensor, see Purpose
#pragma once

#include <array>
#include <cmath>
#include <cstdint>

#if defined(__CUDACC__)
#define FLUX_HOST_DEVICE __host__ __device__
#else
#define FLUX_HOST_DEVICE
#endif

namespace flux {

/// What a draw is for. The numbers are part of a run's identity: never reuse or renumber one.
enum class Purpose : uint32_t {
    kInit = 1,   // index: FNV-1a hash of the published name; element: position in the tensor
    kOrder = 2,  // sub: epoch; index: 0, or what data/bucket_order.h says
    kCrop = 3,   // index: row of the data set; sub: epoch
    kCaptionDropout = 4,  // index: global sample number
    kVaeNoise = 5,        // index: global sample number
    kNoise = 6,           // index: global sample number
    kTimestep = 7,        // index: global sample number
    kEvalNoise = 8,       // index: row of the validation set; sub: 0, or the step of the pass
    kEvalVaeNoise = 9,    // the same
    kSampleNoise = 10,    // index: number of the prompt; sub: number of the picture of that prompt
    kSubstitute = 11,     // index: row of the bad sample; sub: epoch; element: attempt
    kShapes = 12,         // index: number of the drawn picture
    kEmbedding = 13,      // index: FNV-1a hash of a word (sub 0) or a position (sub 1)
};

struct PhiloxKey {
    uint32_t low;
    uint32_t high;
};

/// Key of one stream of draws: splitmix64 of the seed and the purpose, so that neighbouring seeds
/// share nothing.
FLUX_HOST_DEVICE constexpr PhiloxKey philox_key(uint64_t seed, Purpose purpose) {
    uint64_t z = seed + 0x9E3779B97F4A7C15ull * (static_cast<uint64_t>(purpose) + 1);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    z ^= z >> 31;
    return {static_cast<uint32_t>(z), static_cast<uint32_t>(z >> 32)};
}

struct PhiloxBlock {
    uint32_t word[4];
};

/// The four numbers of one counter value.
FLUX_HOST_DEVICE constexpr PhiloxBlock philox4x32(PhiloxKey key, PhiloxBlock counter) {
    for (int round = 0; round < 10; ++round) {
        const uint64_t a = 0xD2511F53ull * counter.word[0];
        const uint64_t b = 0xCD9E8D57ull * counter.word[2];
        counter = {{static_cast<uint32_t>(b >> 32) ^ counter.word[1] ^ key.low,
                    static_cast<uint32_t>(b),
                    static_cast<uint32_t>(a >> 32) ^ counter.word[3] ^ key.high,
                    static_cast<uint32_t>(a)}};
        key.low += 0x9E3779B9u;
        key.high += 0xBB67AE85u;
    }
    return counter;
}

/// The block that holds elements 4 * block .. 4 * block + 3 of the draw (index, sub).
FLUX_HOST_DEVICE constexpr PhiloxBlock philox_block(PhiloxKey key, uint64_t index, uint32_t sub,
                                                    uint32_t block) {
    return philox4x32(
        key, {{block, sub, static_cast<uint32_t>(index), static_cast<uint32_t>(index >> 32)}});
}

/// Uniform in [0, 1): 24 bits, exactly representable in fp32.
FLUX_HOST_DEVICE constexpr float to_uniform(uint32_t word) {
    return static_cast<float>(word >> 8) * 0x1.0p-24f;
}

/// Two standard normal numbers from two words (Box-Muller); the first word maps to (0, 1], so the
/// result is finite.
FLUX_HOST_DEVICE inline void to_normal(uint32_t first, uint32_t second, float* out) {
    const float u = static_cast<float>((first >> 8) + 1) * 0x1.0p-24f;
    const float angle = 6.283185307179586f * to_uniform(second);
    const float radius = sqrtf(-2.0f * logf(u));
    out[0] = radius * cosf(angle);
    out[1] = radius * sinf(angle);
}

/// Single draws for host code: element `element` of the draw (seed, purpose, index, sub).
struct Draw {
    uint64_t seed;
    Purpose purpose;
    uint64_t index;
    uint32_t sub = 0;

    constexpr uint32_t word(uint32_t element) const {
        return philox_block(philox_key(seed, purpose), index, sub, element / 4).word[element % 4];
    }
    /// Uniform in [0, 1).
    constexpr float uniform(uint32_t element) const { return to_uniform(word(element)); }
    /// Uniform in {0, ..., n - 1}, n >= 1: multiply and shift of 32 bits; the bias is below n /
    /// 2^32.
    constexpr uint64_t below(uint64_t n, uint32_t element) const {
        return (static_cast<uint64_t>(word(element)) * n) >> 32;
    }
};

}  // namespace flux
