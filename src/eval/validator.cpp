#include "flux/eval/validator.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/tensor.h>

#include <limits>
#include <numeric>

#include "flux/base/error.h"
#include "flux/flow/flow_matching.h"
#include "flux/kernels/keyed_draw.h"

namespace flux::eval {
namespace {

constexpr auto kTimesteps = static_cast<int64_t>(metrics::kValidationTimesteps);

void check_timesteps(const data::Batch& batch) {
    for (size_t i = 0; i < batch.timesteps.size(); ++i) {
        if (batch.timesteps[i] < 0 || batch.timesteps[i] >= kTimesteps) {
            fail(
                "validation sample \"{}\": timestep {}: must be 0 .. {}; a validation set needs "
                "one for every sample",
                batch.keys[i], batch.timesteps[i], kTimesteps - 1);
        }
    }
}

}  // namespace

void ValidationResult::add(int64_t timestep, double loss) {
    loss_sum[static_cast<size_t>(timestep)] += loss;
    ++count[static_cast<size_t>(timestep)];
}

int64_t ValidationResult::samples() const {
    return std::accumulate(count.begin(), count.end(), int64_t{0});
}

double ValidationResult::sample_mean() const {
    return std::accumulate(loss_sum.begin(), loss_sum.end(), 0.0) / static_cast<double>(samples());
}

double ValidationResult::timestep_mean(size_t timestep) const {
    return count[timestep] == 0 ? std::numeric_limits<double>::quiet_NaN()
                                : loss_sum[timestep] / static_cast<double>(count[timestep]);
}

double ValidationResult::mean_of_timestep_means() const {
    double sum = 0;
    int64_t present = 0;
    for (size_t k = 0; k < count.size(); ++k) {
        if (count[k] > 0) {
            sum += timestep_mean(k);
            ++present;
        }
    }
    return sum / static_cast<double>(present);
}

at::Tensor validation_losses(model::Mmdit& model, encoders::MicroBatch batch,
                             const at::Tensor& timesteps) {
    batch.timesteps = timesteps.to(at::kFloat) / static_cast<double>(kTimesteps);
    const encoders::FlowProblem problem = encoders::pose(batch);
    return flow::per_sample_loss(model.predict(problem.input), problem.target);
}

Validator::Validator(const data::Dataset& dataset, const encoders::Conditioning& conditioning,
                     const ValidatorSettings& settings)
    : dataset_(dataset), conditioning_(conditioning), settings_(settings) {}

ValidationResult Validator::run(model::Mmdit& model) const {
    data::LoaderSettings loading;
    loading.batch_size = settings_.batch_size;
    loading.end = dataset_.size();
    loading.shuffle = data::Shuffle::kNone;
    loading.substitute = false;
    loading.num_workers = settings_.num_workers;
    loading.max_bad_fraction = settings_.max_bad_fraction;
    data::Loader loader(dataset_, loading);
    ValidationResult result;
    while (const auto batch = loader.next()) {
        check_timesteps(*batch);
        const at::Tensor rows = at::tensor(batch->rows, at::kLong).to(conditioning_.device());
        const at::Tensor timesteps =
            at::tensor(batch->timesteps, at::kLong).to(conditioning_.device());
        encoders::MicroBatch micro;
        micro.latents = conditioning_.encode_pictures(batch->images, settings_.seed,
                                                      Purpose::kEvalVaeNoise, rows);
        micro.noise = kernels::keyed_normal({settings_.seed, Purpose::kEvalNoise}, rows,
                                            micro.latents.sizes().slice(1));
        micro.text = conditioning_.encode_text(batch->captions);
        micro.guidance = settings_.guidance;
        const at::Tensor losses = validation_losses(model, micro, timesteps).cpu();
        for (int64_t i = 0; i < losses.size(0); ++i) {
            result.add(batch->timesteps[static_cast<size_t>(i)], losses[i].item<double>());
        }
    }
    if (result.samples() == 0) {
        fail("eval.dataset: no validation sample could be read");
    }
    return result;
}

std::vector<std::string> Validator::captions(int64_t count) const {
    std::vector<std::string> captions;
    for (int64_t row = 0; row < std::min(count, dataset_.size()); ++row) {
        captions.push_back(dataset_.read(row, 0).caption);
    }
    return captions;
}

}  // namespace flux::eval
