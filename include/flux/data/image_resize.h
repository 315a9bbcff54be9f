// Pillow's resize, bit for bit: bicubic (a = -0.5, the support widens when shrinking) in two
// passes, horizontal then vertical, with fixed-point weights and rounding to bytes between the
// passes; nearest neighbour for modes "1" and "P"; alpha premultiplied around it for "LA" and
// "RGBA".
#pragma once

#include "flux/data/raster.h"

namespace flux::data {

/// A part of the resized picture.
struct Window {
    int x = 0;
    int y = 0;
    int width = 0;
    int height = 0;
};

/// The part `window` of `source` resized to width x height. Computes nothing outside the window,
/// yet gives the same pixels as resizing whole and cropping.
Raster resize(const Raster& source, int width, int height, const Window& window);

}  // namespace flux::data
