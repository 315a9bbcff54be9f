// Pictures from captions: Euler steps from noise (t = 1) to data (t = 0), with classifier-free
// guidance.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "flux/config/job_config.h"
#include "flux/encoders/conditioning.h"
#include "flux/model/mmdit.h"

namespace flux::sample {

/// velocity = without + scale * (with - without), at the price of a doubled batch.
struct ClassifierFreeGuidance {
    encoders::TextConditioning empty;  // as many rows as the captions
    double scale = 5.0;
};

/// Asked between steps; true: leave the work undone.
using StopRequest = std::function<bool()>;

/// Latents at schedule.back(), fp32 [B, 16, h, w], from `start` at schedule.front(); undefined when
/// stopped.
at::Tensor denoise(model::Mmdit& model, const at::Tensor& start,
                   const encoders::TextConditioning& text,
                   const std::optional<ClassifierFreeGuidance>& guidance,
                   std::span<const double> schedule, double model_guidance,
                   const StopRequest& should_stop = {});

struct SamplerSettings {
    int64_t img_size = 256;
    int64_t steps = 50;
    std::optional<double> guidance_scale;  // nothing: no classifier-free guidance
    config::TimeShift time_shift = config::TimeShift::kAuto;
    std::string flavor;           // for TimeShift::kAuto
    double model_guidance = 1.0;  // what a guidance-distilled model is told
    int64_t batch_size = 16;
    uint64_t seed = 0;
};

/// For the pictures drawn while training: [eval] and [training].
SamplerSettings training_pictures(const config::JobConfig& config, uint64_t run_seed);
/// For `flux_train sample`: the same, changed by the [inference] options that are set.
SamplerSettings inference_pictures(const config::JobConfig& config, uint64_t run_seed);

/// One picture a prompt and the noise it begins with: (seed, index of the prompt, number of the
/// picture).
struct PictureRequest {
    std::string prompt;
    int64_t prompt_index = 0;
    int64_t picture = 0;
};

/// What draw_pictures() tells and asks its caller.
struct DrawHooks {
    std::function<std::filesystem::path(size_t)> path_of;  // where request i goes
    std::function<void(int64_t)> on_progress{};            // pictures done so far; may be empty
    StopRequest should_stop{};                             // may be empty
};

/// Draws all requests, batch by batch, divided among the processes of the model's mesh, and writes
/// each as PNG with the prompt inside. False when stopped. Where a picture cannot be written a
/// process throws Error, one of several when all are done.
bool draw_pictures(model::Mmdit& model, const encoders::Conditioning& conditioning,
                   const SamplerSettings& settings, std::span<const PictureRequest> requests,
                   const DrawHooks& hooks);

}  // namespace flux::sample
