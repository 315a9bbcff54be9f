// NumPy's legacy shuffle, number for number: which samples a data set of the reference consists of
// depends on it.
#pragma once

#include <cstdint>
#include <vector>

namespace flux::data {

/// numpy.random.RandomState(seed).permutation(count): MT19937, Fisher-Yates from the end, each
/// position drawn by masking and rejecting.
std::vector<uint32_t> numpy_permutation(uint32_t seed, uint32_t count);

}  // namespace flux::data
