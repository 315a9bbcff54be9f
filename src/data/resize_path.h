// The resize by a chosen one of its two codes, for comparing them: both give the same bytes.
#pragma once

#include "flux/data/image_resize.h"

namespace flux::data {

enum class ResizePath { kPortable, kAvx2 };  // kAvx2 only where has_avx2()

Raster resize_by(ResizePath path, const Raster& source, int width, int height,
                 const Window& window);

}  // namespace flux::data
