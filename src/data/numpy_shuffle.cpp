#include "data/numpy_shuffle.h"

#include <bit>
#include <numeric>
#include <random>
#include <utility>

namespace flux::data {

std::vector<uint32_t> numpy_permutation(uint32_t seed, uint32_t count) {
    std::mt19937 generator(seed);
    std::vector<uint32_t> order(count);
    std::iota(order.begin(), order.end(), 0u);
    for (uint32_t last = count; last-- > 1;) {
        const uint32_t mask = ~uint32_t{0} >> std::countl_zero(last);
        uint32_t other = 0;
        do {
            other = static_cast<uint32_t>(generator()) & mask;
        } while (other > last);
        std::swap(order[last], order[other]);
    }
    return order;
}

}  // namespace flux::data
