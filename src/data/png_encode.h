// RGB pictures to PNG files in memory, for shards.
#pragma once

#include <string>

#include "flux/data/sample.h"

namespace flux::data {

/// The same picture gives the same bytes (with the same libraries).
std::string encode_png(const Image& image);

}  // namespace flux::data
