#include "encoders/autoencoder_layers.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/group_norm.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/upsample_nearest2d.h>

#include "flux/base/error.h"

namespace flux::encoders {
namespace {

using units::ParameterScope;

const units::Init kFromFile = units::Init::constant(0);
constexpr int64_t kNormGroups = 32;
constexpr double kNormEpsilon = 1e-6;
constexpr int64_t kPictureChannels = 3;

class Conv {
public:
    /// `size` x `size`; the result has the input's height and width at stride 1.
    Conv(const ParameterScope& scope, int64_t in, int64_t out, int64_t size = 3)
        : padding_(size / 2) {
        scope.add("weight", weight_, {out, in, size, size}, kFromFile);
        scope.add("bias", bias_, {out}, kFromFile);
    }
    Conv(const Conv&) = delete;

    at::Tensor operator()(const at::Tensor& x) const {
        return at::conv2d(x, weight_, bias_, /*stride=*/1, padding_);
    }
    /// Half the height and width; the border is added below and on the right only.
    at::Tensor halve(const at::Tensor& x) const {
        return at::conv2d(at::constant_pad_nd(x, {0, 1, 0, 1}), weight_, bias_, /*stride=*/2);
    }

private:
    int64_t padding_;
    at::Tensor weight_;
    at::Tensor bias_;
};

class Norm {
public:
    Norm(const ParameterScope& scope, int64_t channels) {
        scope.add("weight", weight_, {channels}, kFromFile);
        scope.add("bias", bias_, {channels}, kFromFile);
    }
    Norm(const Norm&) = delete;

    at::Tensor operator()(const at::Tensor& x) const {
        return at::group_norm(x, kNormGroups, weight_, bias_, kNormEpsilon);
    }

private:
    at::Tensor weight_;
    at::Tensor bias_;
};

class ResnetBlock {
public:
    ResnetBlock(const ParameterScope& scope, int64_t in, int64_t out)
        : norm1_(scope / "norm1", in),
          conv1_(scope / "conv1", in, out),
          norm2_(scope / "norm2", out),
          conv2_(scope / "conv2", out, out) {
        if (in != out) {
            shortcut_ = std::make_unique<Conv>(scope / "nin_shortcut", in, out, 1);
        }
    }

    at::Tensor operator()(const at::Tensor& x) const {
        const at::Tensor h = conv2_(at::silu(norm2_(conv1_(at::silu(norm1_(x))))));
        return (shortcut_ ? (*shortcut_)(x) : x) + h;
    }

private:
    Norm norm1_;
    Conv conv1_;
    Norm norm2_;
    Conv conv2_;
    std::unique_ptr<Conv> shortcut_;
};

/// One head over all positions.
class AttentionBlock {
public:
    AttentionBlock(const ParameterScope& scope, int64_t channels)
        : norm_(scope / "norm", channels),
          q_(scope / "q", channels, channels, 1),
          k_(scope / "k", channels, channels, 1),
          v_(scope / "v", channels, channels, 1),
          proj_out_(scope / "proj_out", channels, channels, 1) {}

    at::Tensor operator()(const at::Tensor& x) const {
        const at::Tensor h = norm_(x);
        const auto flat = [](const at::Tensor& t) {  // [B, C, H, W] -> [B, 1, H W, C]
            return t.flatten(2).transpose(1, 2).unsqueeze(1).contiguous();
        };
        const at::Tensor mixed =
            at::scaled_dot_product_attention(flat(q_(h)), flat(k_(h)), flat(v_(h)));
        return x + proj_out_(mixed.squeeze(1).transpose(1, 2).contiguous().view_as(x));
    }

private:
    Norm norm_;
    Conv q_;
    Conv k_;
    Conv v_;
    Conv proj_out_;
};

class ConvUnit final : public AutoencoderUnit {
public:
    ConvUnit(std::string_view name, int64_t in, int64_t out) : conv_(scope(name), in, out) {}

    AutoencoderState forward(const AutoencoderState& in, kernels::Memo* /*memo*/) const override {
        return {conv_(in.x)};
    }

private:
    Conv conv_;
};

enum class Resample { kNone, kHalve, kDouble };

/// Residual blocks of one scale and the step to the next.
class Scale final : public AutoencoderUnit {
public:
    Scale(const std::string& name, int64_t in, int64_t out, int64_t blocks, Resample resample)
        : resample_(resample) {
        const ParameterScope own = scope(name);
        for (int64_t i = 0; i < blocks; ++i) {
            blocks_.push_back(std::make_unique<ResnetBlock>(own / fmt::format("block.{}", i),
                                                            i == 0 ? in : out, out));
        }
        if (resample != Resample::kNone) {
            resampler_ = std::make_unique<Conv>(
                own / (resample == Resample::kHalve ? "downsample.conv" : "upsample.conv"), out,
                out);
        }
    }

    AutoencoderState forward(const AutoencoderState& in, kernels::Memo* /*memo*/) const override {
        at::Tensor x = in.x;
        for (const auto& block : blocks_) {
            x = (*block)(x);
        }
        switch (resample_) {
            case Resample::kHalve:
                return {resampler_->halve(x)};
            case Resample::kDouble:
                return {(*resampler_)(at::upsample_nearest2d(x, {2 * x.size(2), 2 * x.size(3)}))};
            case Resample::kNone:
                break;
        }
        return {x};
    }

private:
    Resample resample_;
    std::vector<std::unique_ptr<ResnetBlock>> blocks_;
    std::unique_ptr<Conv> resampler_;
};

class Middle final : public AutoencoderUnit {
public:
    Middle(std::string_view name, int64_t channels)
        : mid_(scope(name)),
          block_1_(mid_ / "block_1", channels, channels),
          attn_1_(mid_ / "attn_1", channels),
          block_2_(mid_ / "block_2", channels, channels) {}

    AutoencoderState forward(const AutoencoderState& in, kernels::Memo* /*memo*/) const override {
        return {block_2_(attn_1_(block_1_(in.x)))};
    }

private:
    ParameterScope mid_;
    ResnetBlock block_1_;
    AttentionBlock attn_1_;
    ResnetBlock block_2_;
};

class Out final : public AutoencoderUnit {
public:
    Out(const std::string& half, int64_t in, int64_t out)
        : norm_out_(scope(half + ".norm_out"), in), conv_out_(scope(half + ".conv_out"), in, out) {}

    AutoencoderState forward(const AutoencoderState& in, kernels::Memo* /*memo*/) const override {
        return {conv_out_(at::silu(norm_out_(in.x)))};
    }

private:
    Norm norm_out_;
    Conv conv_out_;
};

}  // namespace

AutoencoderUnits make_encoder_units(const AutoencoderConfig& config) {
    const auto& channels = config.channels;
    AutoencoderUnits units;
    units.push_back(std::make_unique<ConvUnit>("encoder.conv_in", kPictureChannels, channels[0]));
    for (size_t i = 0; i < channels.size(); ++i) {
        const bool last = i + 1 == channels.size();
        units.push_back(std::make_unique<Scale>(
            fmt::format("encoder.down.{}", i), channels[i == 0 ? 0 : i - 1], channels[i],
            config.num_res_blocks, last ? Resample::kNone : Resample::kHalve));
    }
    units.push_back(std::make_unique<Middle>("encoder.mid", channels.back()));
    units.push_back(std::make_unique<Out>("encoder", channels.back(), 2 * config.z_channels));
    return units;
}

AutoencoderUnits make_decoder_units(const AutoencoderConfig& config) {
    const auto& channels = config.channels;
    AutoencoderUnits units;
    units.push_back(
        std::make_unique<ConvUnit>("decoder.conv_in", config.z_channels, channels.back()));
    units.push_back(std::make_unique<Middle>("decoder.mid", channels.back()));
    for (size_t i = channels.size(); i-- > 0;) {
        const int64_t in = channels[i + 1 == channels.size() ? i : i + 1];
        units.push_back(std::make_unique<Scale>(fmt::format("decoder.up.{}", i), in, channels[i],
                                                config.num_res_blocks + 1,
                                                i == 0 ? Resample::kNone : Resample::kDouble));
    }
    units.push_back(std::make_unique<Out>("decoder", channels[0], kPictureChannels));
    return units;
}

}  // namespace flux::encoders
