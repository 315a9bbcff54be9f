// JPEG through libjpeg-turbo with its defaults (exact integer IDCT, smooth chroma upsampling).
// A file that ends early is completed with grey by the library. libjpeg reports errors by longjmp:
// between setjmp and a jump there are only trivial objects.
#include <csetjmp>
#include <cstddef>
#include <cstdio>
// jpeglib.h needs size_t and FILE before it.
#include <jpeglib.h>
// and jerror.h, after it, the codes.
#include <jerror.h>

#include "data/decoders.h"
#include "flux/base/error.h"

namespace flux::data {
namespace {

struct ErrorManager {
    jpeg_error_mgr base;  // first: libjpeg hands out a pointer to it
    std::jmp_buf jump;
    char message[JMSG_LENGTH_MAX];
    bool ends_early;
};

[[noreturn]] void on_error(j_common_ptr info) {
    auto* errors = reinterpret_cast<ErrorManager*>(info->err);
    info->err->format_message(info, errors->message);
    std::longjmp(errors->jump, 1);
}

/// Warnings change nothing, but the end of the data is remembered.
void on_message(j_common_ptr info, int level) {
    if (level < 0 && info->err->msg_code == JWRN_JPEG_EOF) {
        reinterpret_cast<ErrorManager*>(info->err)->ends_early = true;
    }
}

class Decompressor {
public:
    Decompressor() {
        info_.err = jpeg_std_error(&errors_.base);
        errors_.base.error_exit = on_error;
        errors_.base.emit_message = on_message;
        guarded([&] { jpeg_create_decompress(&info_); });
    }
    ~Decompressor() { jpeg_destroy_decompress(&info_); }
    Decompressor(const Decompressor&) = delete;
    Decompressor& operator=(const Decompressor&) = delete;

    jpeg_decompress_struct& info() { return info_; }
    bool ends_early() const { return errors_.ends_early; }

    /// Runs calls into libjpeg; its errors become Error.
    template <class Calls>
    void guarded(Calls calls) {
        if (setjmp(errors_.jump) == 0) {
            calls();
        } else {
            fail("JPEG picture: {}", errors_.message);
        }
    }

private:
    jpeg_decompress_struct info_{};
    ErrorManager errors_{};
};

Mode mode_of(const jpeg_decompress_struct& info) {
    switch (info.num_components) {
        case 1:
            return Mode::kGray;
        case 3:
            return Mode::kRgb;
        case 4:
            return Mode::kCmyk;
        default:
            fail("JPEG picture: {} colour components, can be 1, 3 or 4", info.num_components);
    }
}

int orientation_of(const jpeg_decompress_struct& info) {
    for (const jpeg_marker_struct* marker = info.marker_list; marker != nullptr;
         marker = marker->next) {
        if (marker->data_length > 6 &&
            std::string_view(reinterpret_cast<const char*>(marker->data), 4) == "Exif") {
            return exif_orientation({marker->data, marker->data_length});
        }
    }
    return 1;
}

}  // namespace

Decoded decode_jpeg(std::span<const uint8_t> bytes, int64_t max_pixels, bool accept_truncated) {
    Decompressor decompressor;
    jpeg_decompress_struct& info = decompressor.info();
    decompressor.guarded([&] {
        jpeg_mem_src(&info, bytes.data(), bytes.size());
        jpeg_save_markers(&info, JPEG_APP0 + 1, 0xFFFF);
        jpeg_read_header(&info, TRUE);
    });
    check_picture_size("JPEG", info.image_width, info.image_height, max_pixels);
    Decoded decoded;
    decoded.raster = make_raster(info.image_width, info.image_height, mode_of(info));
    decoded.orientation = orientation_of(info);
    Raster* raster = &decoded.raster;
    decompressor.guarded([&info, raster] {
        jpeg_start_decompress(&info);
        while (info.output_scanline < info.output_height) {
            JSAMPROW row = raster->row(static_cast<int>(info.output_scanline));
            jpeg_read_scanlines(&info, &row, 1);
        }
    });
    if (!accept_truncated) {
        decompressor.guarded([&info] { jpeg_finish_decompress(&info); });
        if (decompressor.ends_early()) {
            fail("JPEG picture: truncated, the file ends after {} bytes", bytes.size());
        }
    }
    if (decoded.raster.mode == Mode::kCmyk) {  // such files store the inverse, as Adobe's do
        for (uint8_t& value : decoded.raster.data) {
            value = static_cast<uint8_t>(255 - value);
        }
    }
    return decoded;
}

}  // namespace flux::data
