// From a decoded picture to the RGB picture of a sample, a square or another shape: resized to
// just cover it, cropped, RGB. Pixels equal those of the reference's Pillow calls (resize, crop,
// convert), see image_resize.h.
#pragma once

#include <cstdint>

#include "flux/base/philox.h"
#include "flux/data/raster.h"
#include "flux/data/sample.h"

namespace flux::data {

struct ResizePlan {
    int width = 0;  // size after the resize, before the crop
    int height = 0;
    bool operator==(const ResizePlan&) const = default;
};

/// The least size that covers `shape`: one side gets its length, the other is in proportion,
/// rounded up, computed in double. For a square: the shorter side to it, the other to
/// ceil(side / shorter * longer).
ResizePlan plan_resize(int width, int height, PictureShape shape);

struct CropOffset {
    int x = 0;
    int y = 0;
};

/// Uniform over all offsets at which `shape` fits; element 0 is x, element 1 is y.
CropOffset draw_crop(const ResizePlan& plan, PictureShape shape, const Draw& draw);

/// Resizes in the picture's own mode, crops, converts to RGB. Only the cropped part is computed.
Image to_cropped_rgb(const Raster& raster, PictureShape shape, CropOffset offset);

/// The whole picture as RGB: palette looked up, CMYK converted without a profile, 16-bit grey
/// clipped at 255, alpha dropped.
Image to_rgb(Raster raster);

}  // namespace flux::data
