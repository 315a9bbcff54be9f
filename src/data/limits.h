// Sizes above which a file in a data set is no sample's.
#pragma once

#include <cstdint>

namespace flux::data {

inline constexpr uint64_t kMaxPictureBytes = uint64_t{1} << 30;
inline constexpr uint64_t kMaxTextBytes = uint64_t{1} << 24;

}  // namespace flux::data
