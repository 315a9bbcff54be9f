// Any bytes as a picture file: its header is probed, and it is refused with an Error, or decoded
// and made a square of RGB.
#include <algorithm>
#include <cstdint>
#include <span>

#include "flux/base/error.h"
#include "flux/data/image_decode.h"
#include "flux/data/image_transform.h"
#include "fuzz/png_mutator.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    using namespace flux::data;
    constexpr int64_t kMostPixels = 1 << 18;
    constexpr int kSide = 16;
    const std::span file(data, size);
    probe_picture_size([&](uint64_t offset, std::span<uint8_t> out) -> size_t {
        const auto rest = file.subspan(std::min<uint64_t>(offset, size));
        const size_t count = std::min(out.size(), rest.size());
        std::copy_n(rest.begin(), count, out.begin());
        return count;
    });
    try {
        const Raster raster = decode_image(file, kMostPixels);
        const ResizePlan plan = plan_resize(raster.width, raster.height, kSide);
        to_cropped_rgb(raster, kSide, {plan.width - kSide, plan.height - kSide});
    } catch (const flux::Error&) {
    }
    return 0;
}

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size,
                                          unsigned seed) {
    return flux::fuzz::mutate_picture(data, size, max_size, seed);
}
