#include "data/raster_png.h"

#include "flux/base/error.h"
#include "flux/base/png.h"

namespace flux::data {
namespace {

PngColor color_of(Mode mode) {
    switch (mode) {
        case Mode::kBilevel:
            return PngColor::kBilevel;
        case Mode::kGray:
            return PngColor::kGray;
        case Mode::kGrayAlpha:
            return PngColor::kGrayAlpha;
        case Mode::kPalette:
            return PngColor::kPalette;
        case Mode::kRgb:
            return PngColor::kRgb;
        case Mode::kRgba:
            return PngColor::kRgba;
        case Mode::kGray16:
            return PngColor::kGray16;
        case Mode::kCmyk:
            break;
    }
    fail("a {} picture cannot be stored as PNG: convert it to RGB", mode_name(mode));
}

}  // namespace

std::string encode_png(const Raster& raster) {
    return flux::encode_png({raster.data.data(), raster.width, raster.height, color_of(raster.mode),
                             raster.palette.data()});
}

}  // namespace flux::data
