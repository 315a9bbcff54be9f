#include "flux/sample/sampler.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>

#include <algorithm>
#include <array>
#include <exception>

#include "flux/base/error.h"
#include "flux/base/png.h"
#include "flux/encoders/micro_batch.h"
#include "flux/kernels/keyed_draw.h"
#include "flux/model/latents.h"
#include "flux/sample/schedule.h"

namespace flux::sample {
namespace {

encoders::TextConditioning stack_text(const encoders::TextConditioning& first,
                                      const encoders::TextConditioning& second) {
    return {at::cat({first.tokens, second.tokens}), at::cat({first.pooled, second.pooled})};
}

/// Start noise, fp32 [B, 16, h, w]: one draw a prompt; the pictures of a prompt differ in the
/// draw's `sub`.
at::Tensor start_noise(std::span<const PictureRequest> requests, const SamplerSettings& settings,
                       at::Device device) {
    const int64_t side = settings.img_size / encoders::kLatentFactor;
    std::vector<at::Tensor> rows;
    for (const PictureRequest& request : requests) {
        const kernels::DrawKey key{settings.seed, Purpose::kSampleNoise,
                                   static_cast<uint32_t>(request.picture)};
        const at::Tensor index =
            at::full({1}, request.prompt_index, at::TensorOptions(device).dtype(at::kLong));
        rows.push_back(kernels::keyed_normal(key, index, {encoders::kLatentChannels, side, side}));
    }
    return at::cat(rows);
}

void write_pictures(const at::Tensor& pictures, std::span<const PictureRequest> requests,
                    size_t first, const std::function<std::filesystem::path(size_t)>& path_of) {
    const at::Tensor pixels =
        pictures.permute({0, 2, 3, 1}).cpu().contiguous();  // uint8 [B, H, W, 3]
    for (size_t i = 0; i < requests.size(); ++i) {
        const at::Tensor picture = pixels.select(0, static_cast<int64_t>(i));
        const std::array texts{PngText{"prompt", requests[i].prompt}};
        write_png(path_of(first + i),
                  {picture.const_data_ptr<uint8_t>(), picture.size(1), picture.size(0)}, texts);
    }
}

/// What a process without a batch of its own does while the others denoise. False when stopped.
bool accompany_denoise(model::Mmdit& model, size_t times, const StopRequest& should_stop) {
    for (size_t i = 0; i + 1 < times; ++i) {
        if (should_stop && should_stop()) {
            return false;
        }
        model.accompany_predict();
    }
    return true;
}

}  // namespace

SamplerSettings training_pictures(const config::JobConfig& config, uint64_t run_seed) {
    SamplerSettings settings;
    settings.img_size = config.training.img_size;
    settings.steps = config.eval.denoising_steps;
    if (config.eval.enable_classifier_free_guidance) {
        settings.guidance_scale = config.eval.classifier_free_guidance_scale;
    }
    settings.time_shift = config.inference.time_shift;
    settings.flavor = config.model.flavor;
    settings.model_guidance = config.training.guidance;
    settings.batch_size = config.eval.batch_size;
    settings.seed = run_seed;
    return settings;
}

SamplerSettings inference_pictures(const config::JobConfig& config, uint64_t run_seed) {
    SamplerSettings settings = training_pictures(config, run_seed);
    settings.img_size = config.inference.img_size.value_or(settings.img_size);
    settings.steps = config.inference.denoising_steps.value_or(settings.steps);
    if (config.inference.classifier_free_guidance_scale) {
        settings.guidance_scale = config.inference.classifier_free_guidance_scale;
    }
    settings.batch_size = config.inference.batch_size;
    settings.seed = config.inference.seed.value_or(run_seed);
    return settings;
}

at::Tensor denoise(model::Mmdit& model, const at::Tensor& start,
                   const encoders::TextConditioning& text,
                   const std::optional<ClassifierFreeGuidance>& guidance,
                   std::span<const double> schedule, double model_guidance,
                   const StopRequest& should_stop) {
    const int64_t height = start.size(2), width = start.size(3);
    const encoders::TextConditioning all_text = guidance ? stack_text(guidance->empty, text) : text;
    at::Tensor x = model::pack_latents(start);
    for (size_t i = 0; i + 1 < schedule.size(); ++i) {
        if (should_stop && should_stop()) {
            return {};
        }
        const at::Tensor time = at::full({1}, schedule[i], x.options());
        const at::Tensor doubled = guidance ? at::cat({x, x}) : x;
        at::Tensor velocity = model.predict(
            encoders::model_input(doubled, height, width, all_text, time, model_guidance));
        if (guidance) {
            const auto halves = velocity.chunk(2);
            velocity = halves[0] + (halves[1] - halves[0]) * guidance->scale;
        }
        x = x + velocity * (schedule[i + 1] - schedule[i]);
    }
    return model::unpack_latents(x, height, width);
}

bool draw_pictures(model::Mmdit& model, const encoders::Conditioning& conditioning,
                   const SamplerSettings& settings, std::span<const PictureRequest> requests,
                   const DrawHooks& hooks) {
    const int64_t side = settings.img_size / encoders::kLatentFactor;
    const auto times = schedule(
        settings.steps, shift_tokens(settings.time_shift, settings.flavor, side * side / 4));
    const auto batch_size = static_cast<size_t>(settings.batch_size);
    dist::Mesh& mesh = model.parameters().mesh();
    const auto processes = static_cast<size_t>(mesh.size()),
               rank = static_cast<size_t>(mesh.rank());
    std::exception_ptr fault;
    for (size_t group = 0; group < requests.size(); group += batch_size * processes) {
        const size_t first = std::min(group + batch_size * rank, requests.size());
        const auto batch = requests.subspan(first, std::min(batch_size, requests.size() - first));
        if (batch.empty() || fault) {
            if (!accompany_denoise(model, times.size(), hooks.should_stop)) {
                return false;
            }
            continue;
        }
        std::vector<std::string> prompts;
        for (const PictureRequest& request : batch) {
            prompts.push_back(request.prompt);
        }
        std::optional<ClassifierFreeGuidance> guidance;
        if (settings.guidance_scale) {
            guidance = {conditioning.empty_text(static_cast<int64_t>(batch.size())),
                        *settings.guidance_scale};
        }
        const at::Tensor latents =
            denoise(model, start_noise(batch, settings, conditioning.device()),
                    conditioning.encode_text(prompts), guidance, times, settings.model_guidance,
                    hooks.should_stop);
        if (!latents.defined()) {
            return false;
        }
        const at::Tensor pictures = conditioning.decode_pictures(latents);
        try {
            write_pictures(pictures, batch, first, hooks.path_of);
        } catch (const Error&) {
            if (processes == 1) {
                throw;
            }
            fault = std::current_exception();  // the others wait for this process until they end
            continue;
        }
        if (hooks.on_progress) {
            hooks.on_progress(static_cast<int64_t>(first + batch.size()));
        }
    }
    if (fault) {
        std::rethrow_exception(fault);
    }
    return true;
}

}  // namespace flux::sample
