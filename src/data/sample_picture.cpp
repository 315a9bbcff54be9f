#include "data/sample_picture.h"

#include <utility>

#include "flux/base/philox.h"
#include "flux/data/image_decode.h"
#include "flux/data/image_transform.h"

namespace flux::data {

Image sample_picture(std::span<const uint8_t> file, const PictureSettings& settings, int64_t row,
                     uint32_t epoch) {
    const Raster raster = decode_image(file, settings.max_pixels);
    const Draw draw{settings.seed, Purpose::kCrop, static_cast<uint64_t>(row), epoch};
    const ResizePlan plan = plan_resize(raster.width, raster.height, settings.shape);
    return to_cropped_rgb(raster, settings.shape, draw_crop(plan, settings.shape, draw));
}

Sample to_sample(StoredPicture&& stored, const PictureSettings& settings, int64_t row,
                 uint32_t epoch) {
    Sample sample;
    sample.row = row;
    sample.key = std::move(stored.key);
    sample.caption = std::move(stored.caption);
    sample.timestep = stored.timestep;
    sample.image = sample_picture(stored.file, settings, row, epoch);
    return sample;
}

}  // namespace flux::data
