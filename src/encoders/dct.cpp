#include "flux/encoders/dct.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/conv_transpose2d.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full_like.h>

#include <array>
#include <cmath>
#include <numbers>

#include "flux/base/shape.h"

namespace flux::encoders {
namespace {

struct Channel {
    int color;  // 0 Y, 1 Cb, 2 Cr
    int row;    // vertical frequency
    int column;
    double mean;
    double std;
};

// Means and deviations are those of the built-in `shapes` pictures at 64 px.
constexpr std::array<Channel, kLatentChannels> kChannels{{
    {0, 0, 0, -1.0, 5.33},
    {0, 0, 1, 0.0, 0.896},
    {0, 1, 0, 0.0, 0.886},
    {0, 1, 1, 0.0, 0.356},
    {0, 0, 2, 0.0, 0.395},
    {0, 2, 0, 0.0, 0.396},
    {0, 1, 2, 0.0, 0.218},
    {0, 2, 1, 0.0, 0.177},
    {1, 0, 0, -2.2, 9.0},
    {1, 0, 1, 0.0, 1.525},
    {1, 1, 0, 0.0, 1.497},
    {1, 1, 1, 0.0, 0.605},
    {2, 0, 0, 3.0, 6.2},
    {2, 0, 1, 0.0, 1.057},
    {2, 1, 0, 0.0, 1.055},
    {2, 1, 1, 0.0, 0.424},
}};

// Rows Y, Cb, Cr over R, G, B, and the inverse. Chroma is scaled to [-1, 1] like luma.
constexpr double kToYcc[3][3] = {{0.299, 0.587, 0.114},
                                 {-0.299 / 0.886, -0.587 / 0.886, 1.0},
                                 {1.0, -0.587 / 0.701, -0.114 / 0.701}};
constexpr double kToRgb[3][3] = {
    {1.0, 0.0, 0.701}, {1.0, -0.114 * 0.886 / 0.587, -0.299 * 0.701 / 0.587}, {1.0, 0.886, 0.0}};

/// Value at (row, column) of the orthonormal two-dimensional cosine basis.
double basis(const Channel& channel, int row, int column) {
    const auto one = [](int frequency, int position) {
        const double norm = frequency == 0 ? std::sqrt(1.0 / 8) : std::sqrt(2.0 / 8);
        return norm * std::cos((2 * position + 1) * frequency * std::numbers::pi / 16);
    };
    return one(channel.row, row) * one(channel.column, column);
}

at::Tensor make_kernel(bool analysis) {
    at::Tensor kernel = at::empty({kLatentChannels, 3, 8, 8}, at::kFloat);
    float* out = kernel.data_ptr<float>();
    for (const Channel& channel : kChannels) {
        for (int rgb = 0; rgb < 3; ++rgb) {
            const double color = analysis ? kToYcc[channel.color][rgb] : kToRgb[rgb][channel.color];
            for (int pixel = 0; pixel < 64; ++pixel) {
                *out++ = static_cast<float>(color * basis(channel, pixel / 8, pixel % 8));
            }
        }
    }
    return kernel;
}

at::Tensor per_channel(double Channel::*value) {
    at::Tensor values = at::empty({1, kLatentChannels, 1, 1}, at::kFloat);
    for (size_t i = 0; i < kChannels.size(); ++i) {
        values.data_ptr<float>()[i] = static_cast<float>(kChannels[i].*value);
    }
    return values;
}

}  // namespace

DctAutoencoder::DctAutoencoder(at::Device device)
    : analysis_(make_kernel(true).to(device)),
      synthesis_(make_kernel(false).to(device)),
      mean_(per_channel(&Channel::mean).to(device)),
      std_(per_channel(&Channel::std).to(device)) {}

Posterior DctAutoencoder::encode(const at::Tensor& pictures) const {
    check_shape(pictures, {-1, 3, -1, -1}, "pictures");
    const at::Tensor mean = (at::conv2d(pictures, analysis_, {}, 8) - mean_) / std_;
    return {mean, at::full_like(mean, -30.0)};
}

at::Tensor DctAutoencoder::decode(const at::Tensor& latents) const {
    check_shape(latents, {-1, kLatentChannels, -1, -1}, "latents");
    return at::conv_transpose2d(latents * std_ + mean_, synthesis_, {}, 8);
}

}  // namespace flux::encoders
