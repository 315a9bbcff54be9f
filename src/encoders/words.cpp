#include "flux/encoders/words.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/zeros.h>

#include <cstring>

#include "flux/base/hash.h"
#include "flux/kernels/device_copy.h"
#include "flux/kernels/keyed_draw.h"

namespace flux::encoders {
namespace {

// Part of what "words" means: other vectors would make a trained model useless.
constexpr kernels::DrawKey kWordKey{.seed = 0, .purpose = Purpose::kEmbedding, .sub = 0};
constexpr kernels::DrawKey kPositionKey{.seed = 0, .purpose = Purpose::kEmbedding, .sub = 1};

bool is_word_byte(char c) {
    const auto byte = static_cast<unsigned char>(c);
    return byte >= 0x80 || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') ||
           (c >= 'A' && c <= 'Z');
}

/// Vectors of words, fp32 [N, width].
at::Tensor word_vectors(std::span<const std::string> words, int64_t width, at::Device device) {
    at::Tensor index = at::zeros({static_cast<int64_t>(words.size())}, at::kLong);
    for (size_t i = 0; i < words.size(); ++i) {
        index.data_ptr<int64_t>()[i] = static_cast<int64_t>(fnv1a(words[i]));
    }
    return kernels::keyed_normal(kWordKey, kernels::to_device(index, device), {width});
}

}  // namespace

std::vector<std::string> split_words(std::string_view caption) {
    std::vector<std::string> words;
    bool inside = false;
    for (const char c : caption) {
        if (is_word_byte(c)) {
            if (!inside) {
                words.emplace_back();
            }
            words.back() += c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
        }
        inside = is_word_byte(c);
    }
    return words;
}

WordTokens::WordTokens(int64_t length, int64_t width, at::Device device)
    : length_(length),
      width_(width),
      positions_(kernels::keyed_normal(
          kPositionKey, at::arange(length, at::TensorOptions(device).dtype(at::kLong)), {width})) {}

at::Tensor WordTokens::encode(std::span<const std::string> captions) const {
    const auto batch = static_cast<int64_t>(captions.size());
    at::Tensor tokens = positions_.unsqueeze(0).repeat({batch, 1, 1});
    for (int64_t i = 0; i < batch; ++i) {
        std::vector<std::string> words = split_words(captions[static_cast<size_t>(i)]);
        words.resize(std::min(words.size(), static_cast<size_t>(length_)));
        if (!words.empty()) {
            tokens.select(0, i)
                .narrow(0, 0, static_cast<int64_t>(words.size()))
                .add_(word_vectors(words, width_, tokens.device()));
        }
    }
    return tokens;
}

at::Tensor WordMean::encode(std::span<const std::string> captions) const {
    const auto batch = static_cast<int64_t>(captions.size());
    at::Tensor pooled = at::zeros({batch, width_}, at::TensorOptions(device_).dtype(at::kFloat));
    for (int64_t i = 0; i < batch; ++i) {
        const std::vector<std::string> words = split_words(captions[static_cast<size_t>(i)]);
        if (!words.empty()) {
            pooled.select(0, i).copy_(word_vectors(words, width_, device_).mean(0));
        }
    }
    return pooled;
}

}  // namespace flux::encoders
