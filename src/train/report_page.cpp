#include "train/report_page.h"

#include <ATen/ops/arange.h>
#include <fmt/format.h>

#include <algorithm>

#include "flux/config/print.h"
#include "flux/config/validate.h"
#include "flux/flow/validation_grid.h"
#include "flux/model/flops.h"
#include "flux/train/job.h"
#include "train/inputs.h"

namespace flux::train {

metrics::ReportInput report_input(const config::JobConfig& complete) {
    const config::JobConfig config = config::published(complete);
    const model::FluxConfig model = model_dimensions(config);
    const config::Training& training = config.training;
    const int64_t side = training.img_size / 16;
    metrics::ReportInput page;
    page.title = "flux_train: " + config.job.description;
    page.description = fmt::format("{} on {}", config.model.flavor, training.dataset);
    page.config_toml = config::to_toml(config);
    page.picture_folder = config.eval.save_img_folder;
    page.total_steps = training.steps;
    for (size_t k = 0; k < page.validation_timesteps.size(); ++k) {
        page.validation_timesteps[k] =
            flow::validation_time(static_cast<int64_t>(k), config.eval.timestep_grid);
    }
    const double flops =
        model::training_flops(model, side * side, config.encoder.max_t5_encoding_len);
    page.facts = {{"Parameters", fmt::format("{}", model::parameter_count(model))},
                  {"Per sample", fmt::format("{:.4g} TFLOP", flops / 1e12)},
                  {"Global batch", fmt::format("{}", config::global_batch_size(training, 1))}};
    if (training.seed) {
        page.facts.push_back({"Seed", fmt::format("{}", *training.seed)});
    }
    return page;
}

void count_timesteps(flow::TimestepHistogram& histogram, const config::Training& training,
                     uint64_t seed, int64_t first, int64_t end) {
    constexpr int64_t kAtOnce = 1 << 20;
    for (; first < end; first += kAtOnce) {
        histogram.add(
            flow::sample_timesteps(timestep_settings(training), seed,
                                   at::arange(first, std::min(end, first + kAtOnce), at::kLong)));
    }
}

}  // namespace flux::train
