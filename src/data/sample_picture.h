// The picture of a sample from the bytes of its file: the one way for every kind of storage.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "flux/data/image_decode.h"
#include "flux/data/sample.h"

namespace flux::data {

struct PictureSettings {
    PictureShape shape = 0;
    uint64_t seed = 0;  // of the crops
    int64_t max_pixels = kMaxImagePixels;
};

/// Decodes, resizes to cover the shape, and crops as (seed, row, epoch) draw it. Throws Error
/// saying what is wrong with the file.
Image sample_picture(std::span<const uint8_t> file, const PictureSettings& settings, int64_t row,
                     uint32_t epoch);

/// The sample of what storage holds.
Sample to_sample(StoredPicture&& stored, const PictureSettings& settings, int64_t row,
                 uint32_t epoch);

}  // namespace flux::data
