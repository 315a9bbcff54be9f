#include "flux/data/raster.h"

namespace flux::data {

std::string_view mode_name(Mode mode) {
    switch (mode) {
        case Mode::kBilevel:
            return "1";
        case Mode::kGray:
            return "L";
        case Mode::kGrayAlpha:
            return "LA";
        case Mode::kPalette:
            return "P";
        case Mode::kRgb:
            return "RGB";
        case Mode::kRgba:
            return "RGBA";
        case Mode::kCmyk:
            return "CMYK";
        case Mode::kGray16:
            return "I;16";
    }
    return "?";
}

}  // namespace flux::data
