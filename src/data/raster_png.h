// PNG files in a picture's own mode, as Pillow's save() keeps it.
#pragma once

#include <string>

#include "flux/data/raster.h"

namespace flux::data {

/// Throws Error for CMYK, which PNG cannot hold.
std::string encode_png(const Raster& raster);

}  // namespace flux::data
