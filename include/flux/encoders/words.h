// Built-in text encoders "words": every word is a fixed random vector, so that a model trains
// without downloads.
//
// A caption is cut into runs of letters and digits, lower-cased (ASCII). Token i of the token
// encoder is the vector of word i plus the vector of position i; positions after the last word
// carry the position alone. The pooled encoder gives the mean of the word vectors, zeros for an
// empty caption. The vectors are keyed draws and never change.
#pragma once

#include <string_view>
#include <vector>

#include "flux/encoders/encoder.h"

namespace flux::encoders {

/// The words of a caption, in order.
std::vector<std::string> split_words(std::string_view caption);

class WordTokens final : public TextEncoder {
public:
    /// `length`: tokens a caption, longer captions are cut; `width`: channels a token.
    WordTokens(int64_t length, int64_t width, at::Device device);

    at::Tensor encode(
        std::span<const std::string> captions) const override;  // fp32 [B, length, width]

private:
    int64_t length_;
    int64_t width_;
    at::Tensor positions_;  // [length, width]
};

class WordMean final : public TextEncoder {
public:
    WordMean(int64_t width, at::Device device) : width_(width), device_(device) {}

    at::Tensor encode(std::span<const std::string> captions) const override;  // fp32 [B, width]

private:
    int64_t width_;
    at::Device device_;
};

}  // namespace flux::encoders
