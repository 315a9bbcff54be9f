// One training example on its way from storage to the loader.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <variant>
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

/// What storage holds of a sample with a picture.
struct StoredPicture {
    std::string key{};
    std::string caption{};
    int64_t timestep = -1;
    std::span<const uint8_t> file{};      // the picture's
    std::shared_ptr<const void> owner{};  // keeps the file
};

/// A sample that was encoded beforehand: bfloat16 in C order, where storage holds it. Shapes are
/// those of the data set's EncodingShape.
struct StoredEncodings {
    struct Cell {
        std::span<const std::byte> data{};
        std::shared_ptr<const void> owner{};  // keeps the data
    };
    Cell t5{};
    Cell clip{};
    Cell mean{};
    Cell logvar{};
};

/// Holds a picture and its caption, or encodings: which of them, the data set's payload() says.
struct Sample {
    int64_t row = 0;
    std::string key{};
    Image image{};
    std::string caption{};
    StoredEncodings encodings{};
    int64_t timestep = -1;  // number of the fixed validation timestep, -1 = the data set has none
};

/// RGB pictures with captions; one number stands for a square.
struct PictureShape {
    // NOLINTNEXTLINE(google-explicit-constructor): the square is the usual case
    constexpr PictureShape(int side) : width(side), height(side) {}
    constexpr PictureShape(int w, int h) : width(w), height(h) {}
    int width;
    int height;
    bool operator==(const PictureShape&) const = default;
};

/// Sizes of stored encodings: t5 [text_tokens, text_width], clip [pooled_width], mean and logvar
/// [channels, height, width].
struct EncodingShape {
    int64_t text_tokens = 0;
    int64_t text_width = 0;
    int64_t pooled_width = 0;
    int64_t channels = 0;
    int64_t height = 0;
    int64_t width = 0;
    bool operator==(const EncodingShape&) const = default;
};

/// What every sample of a data set holds.
using PayloadShape = std::variant<PictureShape, EncodingShape>;

}  // namespace flux::data
