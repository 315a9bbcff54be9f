// The words of the enumerated options, as TOML and the command line spell them.
#pragma once

#include <array>
#include <string_view>
#include <utility>

#include "flux/config/job_config.h"

namespace flux::config {

template <class E, size_t N>
using Names = std::array<std::pair<E, std::string_view>, N>;

constexpr Names<Device, 3> names_of(Device) {
    return {{{Device::kAuto, "auto"}, {Device::kCpu, "cpu"}, {Device::kCuda, "cuda"}}};
}
constexpr Names<Precision, 3> names_of(Precision) {
    return {{{Precision::kAuto, "auto"},
             {Precision::kBfloat16, "bfloat16"},
             {Precision::kFloat32, "float32"}}};
}
constexpr Names<ReducePrecision, 2> names_of(ReducePrecision) {
    return {{{ReducePrecision::kFloat32, "float32"}, {ReducePrecision::kBfloat16, "bfloat16"}}};
}
constexpr Names<ExportDtype, 3> names_of(ExportDtype) {
    return {{{ExportDtype::kFloat16, "float16"},
             {ExportDtype::kBfloat16, "bfloat16"},
             {ExportDtype::kFloat32, "float32"}}};
}
constexpr Names<MlperfDivision, 2> names_of(MlperfDivision) {
    return {{{MlperfDivision::kClosed, "closed"}, {MlperfDivision::kOpen, "open"}}};
}
constexpr Names<DropoutMode, 2> names_of(DropoutMode) {
    return {{{DropoutMode::kJoint, "joint"}, {DropoutMode::kIndependent, "independent"}}};
}
constexpr Names<Shuffle, 3> names_of(Shuffle) {
    return {{{Shuffle::kGlobal, "global"}, {Shuffle::kNone, "none"}, {Shuffle::kShards, "shards"}}};
}
constexpr Names<TimestepSampling, 2> names_of(TimestepSampling) {
    return {{{TimestepSampling::kUniform, "uniform"},
             {TimestepSampling::kLogitNormal, "logit_normal"}}};
}
constexpr Names<TimestepGrid, 2> names_of(TimestepGrid) {
    return {{{TimestepGrid::kEighths, "k/8"}, {TimestepGrid::kMidpoints, "(k+0.5)/8"}}};
}
constexpr Names<EvalNoise, 2> names_of(EvalNoise) {
    return {{{EvalNoise::kKeyed, "keyed"}, {EvalNoise::kPerPass, "per_pass"}}};
}
constexpr Names<TimeShift, 3> names_of(TimeShift) {
    return {{{TimeShift::kAuto, "auto"},
             {TimeShift::kNone, "none"},
             {TimeShift::kReference, "reference"}}};
}
constexpr Names<DecayType, 3> names_of(DecayType) {
    return {{{DecayType::kLinear, "linear"},
             {DecayType::kSqrt, "sqrt"},
             {DecayType::kCosine, "cosine"}}};
}
constexpr Names<OptimizerName, 2> names_of(OptimizerName) {
    return {{{OptimizerName::kAdamW, "AdamW"}, {OptimizerName::kAdam, "Adam"}}};
}
constexpr Names<OptimizerImplementation, 3> names_of(OptimizerImplementation) {
    return {{{OptimizerImplementation::kForLoop, "for-loop"},
             {OptimizerImplementation::kForeach, "foreach"},
             {OptimizerImplementation::kFused, "fused"}}};
}
constexpr Names<RecomputeMode, 3> names_of(RecomputeMode) {
    return {{{RecomputeMode::kNone, "none"},
             {RecomputeMode::kFull, "full"},
             {RecomputeMode::kSelective, "selective"}}};
}
constexpr Names<ReshardMode, 3> names_of(ReshardMode) {
    return {{{ReshardMode::kDefault, "default"},
             {ReshardMode::kAlways, "always"},
             {ReshardMode::kNever, "never"}}};
}
constexpr Names<AsyncMode, 3> names_of(AsyncMode) {
    return {{{AsyncMode::kDisabled, "disabled"},
             {AsyncMode::kAsync, "async"},
             {AsyncMode::kAsyncPinned, "async_with_pinned_mem"}}};
}
constexpr Names<ProgressBar, 3> names_of(ProgressBar) {
    return {{{ProgressBar::kAuto, "auto"}, {ProgressBar::kOn, "on"}, {ProgressBar::kOff, "off"}}};
}

}  // namespace flux::config
