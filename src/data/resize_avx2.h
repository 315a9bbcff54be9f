// The horizontal pass of the resize with AVX2, straight from the picture's rows. Gives exactly the
// bytes of the portable pass in image_resize.cpp.
#pragma once

#include "data/resize_taps.h"
#include "flux/data/raster.h"

namespace flux::data {

/// Whether this processor can run it.
bool has_avx2();

/// Fills `out` (taps.ranges.size() wide) from source rows [first_row, first_row + out.height).
void filter_rows_avx2(const Raster& source, const Taps& taps, int first_row, Raster& out);

}  // namespace flux::data
