#include <png.h>

#include <array>
#include <exception>
#include <memory>
#include <optional>
#include <vector>

#include "flux/base/error.h"
#include "flux/base/file.h"
#include "flux/base/png.h"

namespace flux {
namespace {

/// The text in Latin-1, or nothing if it has a character outside it (or is not UTF-8).
std::optional<std::string> utf8_to_latin1(const std::string& text) {
    std::string result;
    for (size_t i = 0; i < text.size(); ++i) {
        const auto c = static_cast<unsigned char>(text[i]);
        if (c < 0x80) {
            result += text[i];
            continue;
        }
        const bool two_bytes = c == 0xC2 || c == 0xC3;  // U+0080 .. U+00FF
        if (!two_bytes || i + 1 == text.size()) {
            return std::nullopt;
        }
        const auto next = static_cast<unsigned char>(text[++i]);
        if ((next & 0xC0) != 0x80) {
            return std::nullopt;
        }
        result += static_cast<char>((c & 3) << 6 | (next & 0x3F));
    }
    return result;
}

struct Storage {
    int type;
    int depth;  // bits a channel
    int bytes;  // of a pixel in memory
};

Storage storage_of(PngColor color) {
    switch (color) {
        case PngColor::kBilevel:
            return {PNG_COLOR_TYPE_GRAY, 1, 1};
        case PngColor::kGray:
            return {PNG_COLOR_TYPE_GRAY, 8, 1};
        case PngColor::kGrayAlpha:
            return {PNG_COLOR_TYPE_GRAY_ALPHA, 8, 2};
        case PngColor::kPalette:
            return {PNG_COLOR_TYPE_PALETTE, 8, 1};
        case PngColor::kRgb:
            return {PNG_COLOR_TYPE_RGB, 8, 3};
        case PngColor::kRgba:
            return {PNG_COLOR_TYPE_RGB_ALPHA, 8, 4};
        case PngColor::kGray16:
            break;
    }
    return {PNG_COLOR_TYPE_GRAY, 16, 2};
}

/// libpng's two structures, freed together. Its errors come out as flux::Error: the handler throws,
/// which libpng permits (it is built with unwind tables) and which keeps C++ objects intact, as a
/// longjmp would not.
class PngWriter {
public:
    PngWriter() {
        png_ = png_create_write_struct(PNG_LIBPNG_VER_STRING, this, on_error, on_warning);
        info_ = png_ == nullptr ? nullptr : png_create_info_struct(png_);
        if (info_ == nullptr) {
            png_destroy_write_struct(&png_, &info_);
            fail("libpng cannot start: out of memory");
        }
        png_set_write_fn(png_, this, on_write, nullptr);
    }
    ~PngWriter() { png_destroy_write_struct(&png_, &info_); }
    PngWriter(const PngWriter&) = delete;
    PngWriter& operator=(const PngWriter&) = delete;

    std::string encode(const PngPixels& pixels, std::span<const PngText> texts) {
        const Storage storage = storage_of(pixels.color);
        png_set_IHDR(png_, info_, static_cast<png_uint_32>(pixels.width),
                     static_cast<png_uint_32>(pixels.height), storage.depth, storage.type,
                     PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
        if (pixels.color == PngColor::kPalette) {
            add_palette(pixels.palette);
        }
        for (const PngText& text : texts) {
            add_text(text);
        }
        png_write_info(png_, info_);
        if (pixels.color == PngColor::kBilevel) {
            png_set_packing(png_);
        } else if (pixels.color == PngColor::kGray16) {
            png_set_swap(png_);
        }
        for (int64_t row = 0; row < pixels.height; ++row) {
            png_write_row(png_, pixels.data + row * pixels.width * storage.bytes);
        }
        png_write_end(png_, info_);
        return std::move(bytes_);
    }

private:
    void add_palette(const uint8_t* rgb) {
        std::array<png_color, 256> colors{};
        for (png_color& color : colors) {
            color = {rgb[0], rgb[1], rgb[2]};
            rgb += 3;
        }
        png_set_PLTE(png_, info_, colors.data(), static_cast<int>(colors.size()));  // copies
    }

    void add_text(const PngText& text) {
        const auto latin1 = utf8_to_latin1(text.text);
        std::string keyword = text.keyword;
        std::string content = latin1 ? *latin1 : text.text;
        std::string none;
        png_text chunk{};
        chunk.compression = latin1 ? PNG_TEXT_COMPRESSION_NONE : PNG_ITXT_COMPRESSION_NONE;
        chunk.key = keyword.data();
        chunk.text = content.data();
        chunk.text_length = latin1 ? content.size() : 0;
        chunk.itxt_length = latin1 ? 0 : content.size();
        chunk.lang = none.data();
        chunk.lang_key = none.data();
        png_set_text(png_, info_, &chunk, 1);  // copies
    }

    static PngWriter& self(png_voidp pointer) { return *static_cast<PngWriter*>(pointer); }
    [[noreturn]] static void on_error(png_structp, png_const_charp message) {
        fail("cannot write a picture as PNG: {}", message);
    }
    static void on_warning(png_structp png, png_const_charp message) { on_error(png, message); }
    static void on_write(png_structp png, png_bytep data, size_t size_bytes) {
        self(png_get_io_ptr(png)).bytes_.append(reinterpret_cast<const char*>(data), size_bytes);
    }

    std::string bytes_;
    png_structp png_ = nullptr;
    png_infop info_ = nullptr;
};

}  // namespace

std::string encode_png(const PngPixels& pixels, std::span<const PngText> texts) {
    constexpr int64_t kLargest = 1 << 20;
    if (pixels.width < 1 || pixels.height < 1 || pixels.width > kLargest ||
        pixels.height > kLargest) {
        fail("a picture of {} x {} pixels cannot be written: each side must be 1 to {}",
             pixels.width, pixels.height, kLargest);
    }
    return PngWriter().encode(pixels, texts);
}

std::string encode_png(const ImageView& image, std::span<const PngText> texts) {
    return encode_png(PngPixels{image.rgb, image.width, image.height}, texts);
}

void write_png(const std::filesystem::path& path, const ImageView& image,
               std::span<const PngText> texts) {
    std::string bytes;
    try {
        bytes = encode_png(image, texts);
    } catch (const Error& problem) {
        fail("{}: {}", path.string(), problem.what());
    }
    write_text(path, bytes);
}

}  // namespace flux
