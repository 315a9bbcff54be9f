// One training example on its way from storage to the loader.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "flux/base/png.h"

namespace flux::data {

/// An RGB picture: height * width * 3 bytes, row by row, colours interleaved.
struct Image {
    int width = 0;
    int height = 0;
    std::vector<uint8_t> rgb;

    ImageView view() const { return {rgb.data(), width, height}; }
};

struct Sample {
    int64_t row = 0;
    std::string key{};
    Image image{};
    std::string caption{};
    int64_t timestep = -1;  // number of the fixed validation timestep, -1 = the data set has none
};

}  // namespace flux::data
