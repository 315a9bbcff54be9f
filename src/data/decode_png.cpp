// PNG through libpng. Depths below 8 become bytes, 16-bit colour keeps its high bytes, 16-bit grey
// stays whole; transparency given by colour key is ignored. libpng reports errors by longjmp:
// between setjmp and a jump there are only trivial objects.
#include <png.h>

#include <csetjmp>
#include <cstring>
#include <vector>

#include "data/decoders.h"
#include "flux/base/error.h"

namespace flux::data {
namespace {

struct Source {
    std::span<const uint8_t> bytes;
    size_t position = 0;
    char message[200] = "";
};

[[noreturn]] void on_error(png_structp png, png_const_charp message) {
    auto* source = static_cast<Source*>(png_get_error_ptr(png));
    std::strncpy(source->message, message, sizeof(source->message) - 1);
    png_longjmp(png, 1);
}

void ignore_warning(png_structp, png_const_charp) {}

void read_bytes(png_structp png, png_bytep out, size_t size) {
    auto* source = static_cast<Source*>(png_get_io_ptr(png));
    if (size > source->bytes.size() - source->position) {
        png_error(png, "the file is truncated");
    }
    std::memcpy(out, source->bytes.data() + source->position, size);
    source->position += size;
}

class Reader {
public:
    explicit Reader(std::span<const uint8_t> bytes) : source_{bytes} {
        png_ = png_create_read_struct(PNG_LIBPNG_VER_STRING, &source_, on_error, ignore_warning);
        info_ = png_ != nullptr ? png_create_info_struct(png_) : nullptr;
        if (info_ == nullptr) {
            png_destroy_read_struct(&png_, nullptr, nullptr);
            fail("PNG picture: no memory to decode it");
        }
        png_set_read_fn(png_, &source_, read_bytes);
    }
    ~Reader() { png_destroy_read_struct(&png_, &info_, nullptr); }
    Reader(const Reader&) = delete;
    Reader& operator=(const Reader&) = delete;

    png_structp png() const { return png_; }
    png_infop info() const { return info_; }

    /// Runs calls into libpng; its errors become Error.
    template <class Calls>
    void guarded(Calls calls) {
        if (!try_calls(calls)) {
            fail("PNG picture: {}", source_.message);
        }
    }

    /// False if libpng found an error.
    template <class Calls>
    bool try_calls(Calls calls) {
        if (setjmp(png_jmpbuf(png_)) != 0) {
            return false;
        }
        calls();
        return true;
    }

private:
    Source source_;
    png_structp png_ = nullptr;
    png_infop info_ = nullptr;
};

Mode mode_of(int color_type, int depth) {
    switch (color_type) {
        case PNG_COLOR_TYPE_GRAY:
            return depth == 1 ? Mode::kBilevel : depth == 16 ? Mode::kGray16 : Mode::kGray;
        case PNG_COLOR_TYPE_GRAY_ALPHA:
            return Mode::kGrayAlpha;
        case PNG_COLOR_TYPE_PALETTE:
            return Mode::kPalette;
        case PNG_COLOR_TYPE_RGB:
            return Mode::kRgb;
        default:
            return Mode::kRgba;
    }
}

void set_transforms(png_structp png, Mode mode, int depth) {
    if (mode == Mode::kGray16) {
        png_set_swap(png);
    } else if (depth == 16) {
        png_set_strip_16(png);
    } else if (mode == Mode::kPalette) {
        png_set_packing(png);
    } else if (depth < 8) {
        png_set_expand_gray_1_2_4_to_8(png);
    }
    png_set_interlace_handling(png);
}

void copy_palette(png_structp png, png_infop info, Raster& raster) {
    png_colorp colors = nullptr;
    int count = 0;
    if (png_get_PLTE(png, info, &colors, &count) == 0) {
        fail("PNG picture: has no palette");
    }
    for (int i = 0; i < count; ++i) {
        raster.palette[3 * i] = colors[i].red;
        raster.palette[3 * i + 1] = colors[i].green;
        raster.palette[3 * i + 2] = colors[i].blue;
    }
}

}  // namespace

Decoded decode_png(std::span<const uint8_t> bytes, int64_t max_pixels) {
    Reader reader(bytes);
    const png_structp png = reader.png();
    const png_infop info = reader.info();
    reader.guarded([=] {
        png_set_user_limits(png, PNG_UINT_31_MAX, PNG_UINT_31_MAX);
        png_read_info(png, info);
    });
    const int64_t width = png_get_image_width(png, info);
    const int64_t height = png_get_image_height(png, info);
    const int depth = png_get_bit_depth(png, info);
    check_picture_size("PNG", width, height, max_pixels);
    Decoded decoded;
    decoded.raster = make_raster(width, height, mode_of(png_get_color_type(png, info), depth));
    Raster& raster = decoded.raster;
    if (raster.mode == Mode::kPalette) {
        copy_palette(png, info, raster);
    }
    std::vector<png_bytep> rows(raster.height);
    for (int y = 0; y < raster.height; ++y) {
        rows[y] = raster.row(y);
    }
    const Mode mode = raster.mode;
    png_bytepp row_pointers = rows.data();
    size_t row_bytes = 0;
    reader.guarded([=, &row_bytes] {
        set_transforms(png, mode, depth);
        png_read_update_info(png, info);
        row_bytes = png_get_rowbytes(png, info);
    });
    if (row_bytes != raster.row_bytes()) {
        fail("PNG picture: rows of {} bytes, expected {}", row_bytes, raster.row_bytes());
    }
    reader.guarded([=] { png_read_image(png, row_pointers); });
    // EXIF may follow the pixels; damage after them is of no concern.
    reader.try_calls([=] { png_read_end(png, info); });
    png_bytep exif = nullptr;
    png_uint_32 exif_size = 0;
    if (png_get_eXIf_1(png, info, &exif_size, &exif) != 0) {
        decoded.orientation = exif_orientation({exif, exif_size});
    }
    return decoded;
}

}  // namespace flux::data
