// GIF through giflib: the first frame, as palette indices. A frame smaller than the screen lies on
// the transparent colour, else on colour 0; a palette that is the plain grey ramp makes mode "L".
#include <gif_lib.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <optional>
#include <string>

#include "data/decoders.h"
#include "flux/base/error.h"

namespace flux::data {
namespace {

struct Source {
    std::span<const uint8_t> bytes;
    size_t position = 0;
};

int read_bytes(GifFileType* gif, GifByteType* out, int size) {
    auto* source = static_cast<Source*>(gif->UserData);
    const size_t count =
        std::min(static_cast<size_t>(std::max(size, 0)), source->bytes.size() - source->position);
    std::memcpy(out, source->bytes.data() + source->position, count);
    source->position += count;
    return static_cast<int>(count);
}

std::string error_text(int code) {
    const char* text = GifErrorString(code);
    return text != nullptr ? text : "unknown error";
}

[[noreturn]] void fail_with(const GifFileType& gif) {
    fail("GIF picture: {}", error_text(gif.Error));
}

void close_gif(GifFileType* gif) { DGifCloseFile(gif, nullptr); }
using GifFile = std::unique_ptr<GifFileType, decltype(&close_gif)>;

/// Reads one extension; remembers the transparent colour of a graphics control block.
void read_extension(GifFileType& gif, std::optional<uint8_t>& transparent) {
    int code = 0;
    GifByteType* block = nullptr;
    if (DGifGetExtension(&gif, &code, &block) == GIF_ERROR) {
        fail_with(gif);
    }
    while (block != nullptr) {
        GraphicsControlBlock control;
        if (code == GRAPHICS_EXT_FUNC_CODE && block[0] >= 4 &&
            DGifExtensionToGCB(block[0], block + 1, &control) == GIF_OK &&
            control.TransparentColor != NO_TRANSPARENT_COLOR) {
            transparent = static_cast<uint8_t>(control.TransparentColor);
        }
        if (DGifGetExtensionNext(&gif, &block) == GIF_ERROR) {
            fail_with(gif);
        }
    }
}

/// Leaves the reader at the pixels of the first frame; returns the transparent colour.
std::optional<uint8_t> find_first_frame(GifFileType& gif) {
    std::optional<uint8_t> transparent;
    for (;;) {
        GifRecordType type = UNDEFINED_RECORD_TYPE;
        if (DGifGetRecordType(&gif, &type) == GIF_ERROR) {
            fail_with(gif);
        }
        if (type == IMAGE_DESC_RECORD_TYPE) {
            if (DGifGetImageDesc(&gif) == GIF_ERROR) {
                fail_with(gif);
            }
            return transparent;
        }
        if (type == TERMINATE_RECORD_TYPE) {
            fail("GIF picture: holds no frame");
        }
        if (type == EXTENSION_RECORD_TYPE) {
            read_extension(gif, transparent);
        }
    }
}

void read_frame(GifFileType& gif, Raster& raster) {
    const GifImageDesc& frame = gif.Image;
    const auto read_row = [&](int y) {
        if (DGifGetLine(&gif, raster.row(frame.Top + y) + frame.Left, frame.Width) == GIF_ERROR) {
            fail_with(gif);
        }
    };
    if (!frame.Interlace) {
        for (int y = 0; y < frame.Height; ++y) {
            read_row(y);
        }
        return;
    }
    constexpr int kStart[] = {0, 4, 2, 1};
    constexpr int kStep[] = {8, 8, 4, 2};
    for (int pass = 0; pass < 4; ++pass) {
        for (int y = kStart[pass]; y < frame.Height; y += kStep[pass]) {
            read_row(y);
        }
    }
}

/// Fills the palette; true if it differs from the grey ramp.
bool take_palette(const ColorMapObject* map, Raster& raster) {
    bool needed = false;
    for (int i = 0; i < 256; ++i) {
        raster.palette[3 * i] = raster.palette[3 * i + 1] = raster.palette[3 * i + 2] =
            static_cast<uint8_t>(i);
    }
    for (int i = 0; map != nullptr && i < std::min(map->ColorCount, 256); ++i) {
        const GifColorType& color = map->Colors[i];
        raster.palette[3 * i] = color.Red;
        raster.palette[3 * i + 1] = color.Green;
        raster.palette[3 * i + 2] = color.Blue;
        needed = needed || color.Red != i || color.Green != i || color.Blue != i;
    }
    return needed;
}

}  // namespace

Decoded decode_gif(std::span<const uint8_t> bytes, int64_t max_pixels) {
    Source source{bytes};
    int error = 0;
    const GifFile gif(DGifOpen(&source, read_bytes, &error), close_gif);
    if (!gif) {
        fail("GIF picture: {}", error_text(error));
    }
    check_picture_size("GIF", gif->SWidth, gif->SHeight, max_pixels);
    const std::optional<uint8_t> transparent = find_first_frame(*gif);
    const int64_t width = std::max<int64_t>(gif->SWidth, gif->Image.Left + gif->Image.Width);
    const int64_t height = std::max<int64_t>(gif->SHeight, gif->Image.Top + gif->Image.Height);
    check_picture_size("GIF", width, height, max_pixels);
    Decoded decoded;
    decoded.raster = make_raster(width, height, Mode::kPalette);
    const ColorMapObject* map =
        gif->Image.ColorMap != nullptr ? gif->Image.ColorMap : gif->SColorMap;
    if (!take_palette(map, decoded.raster)) {
        decoded.raster.mode = Mode::kGray;
    }
    std::fill(decoded.raster.data.begin(), decoded.raster.data.end(), transparent.value_or(0));
    read_frame(*gif, decoded.raster);
    return decoded;
}

}  // namespace flux::data
