#include "data/png_encode.h"

#include <png.h>

#include "flux/base/error.h"

namespace flux::data {

std::string encode_png(const Image& image) {
    png_image description{};
    description.version = PNG_IMAGE_VERSION;
    description.width = static_cast<png_uint_32>(image.width);
    description.height = static_cast<png_uint_32>(image.height);
    description.format = PNG_FORMAT_RGB;
    png_alloc_size_t size = PNG_IMAGE_PNG_SIZE_MAX(description);
    std::string bytes(size, '\0');
    if (png_image_write_to_memory(&description, bytes.data(), &size, 0, image.rgb.data(), 0,
                                  nullptr) == 0) {
        fail("a picture of {} x {} pixels cannot be written as PNG: {}", image.width, image.height,
             description.message);
    }
    bytes.resize(size);
    return bytes;
}

}  // namespace flux::data
