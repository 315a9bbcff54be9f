#include "support/sha256.h"

#include <fmt/format.h>

#include <array>
#include <bit>
#include <cmath>
#include <vector>

namespace flux::test {
namespace {

/// The first 32 bits behind the point of the square or cube root of the n-th prime.
struct Constants {
    std::array<uint32_t, 8> start{};
    std::array<uint32_t, 64> round{};

    Constants() {
        size_t count = 0;
        for (int number = 2; count < round.size(); ++number) {
            bool prime = true;
            for (int divisor = 2; divisor * divisor <= number; ++divisor) {
                prime = prime && number % divisor != 0;
            }
            if (prime) {
                if (count < start.size()) {
                    start[count] = fraction(std::sqrt(static_cast<long double>(number)));
                }
                round[count++] = fraction(std::cbrt(static_cast<long double>(number)));
            }
        }
    }
    static uint32_t fraction(long double value) {
        return static_cast<uint32_t>(std::floor((value - std::floor(value)) * 4294967296.0L));
    }
};

void add_block(const uint8_t* block, std::array<uint32_t, 8>& state, const Constants& constants) {
    std::array<uint32_t, 64> w{};
    for (size_t i = 0; i < 16; ++i) {
        w[i] = uint32_t{block[4 * i]} << 24 | uint32_t{block[4 * i + 1]} << 16 |
               uint32_t{block[4 * i + 2]} << 8 | block[4 * i + 3];
    }
    for (size_t i = 16; i < 64; ++i) {
        const uint32_t a = w[i - 15];
        const uint32_t b = w[i - 2];
        w[i] = w[i - 16] + (std::rotr(a, 7) ^ std::rotr(a, 18) ^ a >> 3) + w[i - 7] +
               (std::rotr(b, 17) ^ std::rotr(b, 19) ^ b >> 10);
    }
    std::array<uint32_t, 8> s = state;
    for (size_t i = 0; i < 64; ++i) {
        const uint32_t first = s[7] +
                               (std::rotr(s[4], 6) ^ std::rotr(s[4], 11) ^ std::rotr(s[4], 25)) +
                               ((s[4] & s[5]) ^ (~s[4] & s[6])) + constants.round[i] + w[i];
        const uint32_t second = (std::rotr(s[0], 2) ^ std::rotr(s[0], 13) ^ std::rotr(s[0], 22)) +
                                ((s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]));
        s = {first + second, s[0], s[1], s[2], s[3] + first, s[4], s[5], s[6]};
    }
    for (size_t i = 0; i < 8; ++i) {
        state[i] += s[i];
    }
}

}  // namespace

std::string sha256(std::span<const uint8_t> bytes) {
    static const Constants constants;
    std::vector<uint8_t> padded(bytes.begin(), bytes.end());
    padded.push_back(0x80);
    padded.resize((padded.size() + 8 + 63) / 64 * 64);
    const uint64_t bits = uint64_t{bytes.size()} * 8;
    for (size_t i = 0; i < 8; ++i) {
        padded[padded.size() - 1 - i] = static_cast<uint8_t>(bits >> (8 * i));
    }
    std::array<uint32_t, 8> state = constants.start;
    for (size_t at = 0; at < padded.size(); at += 64) {
        add_block(padded.data() + at, state, constants);
    }
    std::string text;
    for (const uint32_t word : state) {
        text += fmt::format("{:08x}", word);
    }
    return text;
}

}  // namespace flux::test
