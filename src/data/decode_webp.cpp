// WebP through libwebp; of an animation the first frame.
#include <webp/decode.h>
#include <webp/demux.h>

#include <algorithm>
#include <memory>

#include "data/decoders.h"
#include "flux/base/error.h"

namespace flux::data {
namespace {

void decode_still(std::span<const uint8_t> bytes, Raster& raster) {
    const int stride = static_cast<int>(raster.row_bytes());
    const uint8_t* done = raster.mode == Mode::kRgba
                              ? WebPDecodeRGBAInto(bytes.data(), bytes.size(), raster.data.data(),
                                                   raster.data.size(), stride)
                              : WebPDecodeRGBInto(bytes.data(), bytes.size(), raster.data.data(),
                                                  raster.data.size(), stride);
    if (done == nullptr) {
        fail("WebP picture: the pixel data is damaged or truncated");
    }
}

void decode_first_frame(std::span<const uint8_t> bytes, Raster& raster) {
    WebPAnimDecoderOptions options;
    if (WebPAnimDecoderOptionsInit(&options) == 0) {
        fail(
            "WebP picture: the installed libwebp does not fit the one this program was built with");
    }
    options.color_mode = MODE_RGBA;
    const WebPData data{bytes.data(), bytes.size()};
    const std::unique_ptr<WebPAnimDecoder, decltype(&WebPAnimDecoderDelete)> decoder(
        WebPAnimDecoderNew(&data, &options), WebPAnimDecoderDelete);
    uint8_t* frame = nullptr;  // RGBA, owned by the decoder
    int time_ms = 0;
    if (!decoder || WebPAnimDecoderGetNext(decoder.get(), &frame, &time_ms) == 0) {
        fail("WebP picture: the animation's first frame is damaged or truncated");
    }
    const int step = bytes_per_pixel(raster.mode);
    for (size_t i = 0; i < size_t(raster.width) * raster.height; ++i) {
        std::copy_n(frame + 4 * i, step, &raster.data[step * i]);
    }
}

int orientation_of(std::span<const uint8_t> bytes) {
    const WebPData data{bytes.data(), bytes.size()};
    const std::unique_ptr<WebPDemuxer, decltype(&WebPDemuxDelete)> demuxer(WebPDemux(&data),
                                                                           WebPDemuxDelete);
    WebPChunkIterator chunk;
    if (!demuxer || WebPDemuxGetChunk(demuxer.get(), "EXIF", 1, &chunk) == 0) {
        return 1;
    }
    const int orientation = exif_orientation({chunk.chunk.bytes, chunk.chunk.size});
    WebPDemuxReleaseChunkIterator(&chunk);
    return orientation;
}

}  // namespace

Decoded decode_webp(std::span<const uint8_t> bytes, int64_t max_pixels) {
    WebPBitstreamFeatures features;
    if (WebPGetFeatures(bytes.data(), bytes.size(), &features) != VP8_STATUS_OK) {
        fail("WebP picture: the header is damaged");
    }
    check_picture_size("WebP", features.width, features.height, max_pixels);
    Decoded decoded;
    decoded.raster = make_raster(features.width, features.height,
                                 features.has_alpha != 0 ? Mode::kRgba : Mode::kRgb);
    if (features.has_animation != 0) {
        decode_first_frame(bytes, decoded.raster);
    } else {
        decode_still(bytes, decoded.raster);
    }
    decoded.orientation = orientation_of(bytes);
    return decoded;
}

}  // namespace flux::data
