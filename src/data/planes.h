// Interleaved pixels, as the decoders give them, to the planes that a batch holds.
#pragma once

#include <cstddef>
#include <cstdint>

namespace flux::data {

/// `pixels` RGB pixels -> all red, then all green, then all blue bytes.
void to_planes(const uint8_t* rgb, size_t pixels, uint8_t* planes);

}  // namespace flux::data
