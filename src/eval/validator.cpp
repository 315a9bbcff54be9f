#include "flux/eval/validator.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/tensor.h>

#include <limits>
#include <numeric>

#include "flux/base/error.h"
#include "flux/base/log.h"
#include "flux/flow/flow_matching.h"

namespace flux::eval {
namespace {

using flow::kValidationTimesteps;

void check_timestep(int64_t timestep, const std::string& key) {
    if (timestep < 0 || timestep >= kValidationTimesteps) {
        fail(
            "validation sample \"{}\": {}: a validation set needs a timestep 0 .. {} for every "
            "sample",
            key, timestep < 0 ? "has no timestep" : fmt::format("timestep {}", timestep),
            kValidationTimesteps - 1);
    }
}

}  // namespace

void ValidationResult::add(int64_t timestep, double loss) {
    loss_sum[static_cast<size_t>(timestep)] += loss;
    ++count[static_cast<size_t>(timestep)];
}

void ValidationResult::add_up(dist::Communicator& group, c10::Device device) {
    std::vector<double> sums(loss_sum.begin(), loss_sum.end());
    sums.insert(sums.end(), count.begin(), count.end());
    sums.push_back(static_cast<double>(bad));
    const at::Tensor all = at::tensor(sums, at::kDouble).to(device);
    group.all_reduce(all).wait();
    const at::Tensor read = all.cpu();
    for (size_t k = 0; k < count.size(); ++k) {
        loss_sum[k] = read[static_cast<int64_t>(k)].item<double>();
        count[k] = read[static_cast<int64_t>(k + count.size())].item<int64_t>();
    }
    bad = read[-1].item<int64_t>();
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
    batch.timesteps = timesteps.to(at::kFloat) / static_cast<double>(kValidationTimesteps);
    const encoders::FlowProblem problem = encoders::pose(batch);
    return flow::per_sample_loss(model.predict(problem.input), problem.target);
}

Validator::Validator(const data::Dataset& dataset, const encoders::Conditioning& conditioning,
                     const ValidatorSettings& settings)
    : dataset_(dataset), conditioning_(conditioning), settings_(settings) {
    for (int64_t row = 0; row < dataset_.size(); ++row) {
        std::optional<data::Sample> sample;
        try {
            sample = dataset_.read(row, 0);
        } catch (const Error&) {
            continue;  // the loader counts and names it in every pass
        }
        check_timestep(sample->timestep, sample->key);
        return;
    }
}

std::optional<ValidationResult> Validator::run(model::Mmdit& model,
                                               const std::function<bool()>& should_stop) const {
    data::LoaderSettings loading;
    dist::Mesh& mesh = model.parameters().mesh();
    loading.batch_size = settings_.batch_size;
    loading.group_size = settings_.batch_size * mesh.size();
    loading.group_offset = settings_.batch_size * mesh.rank();
    loading.end = dataset_.size();
    loading.shuffle = config::Shuffle::kNone;
    loading.substitute = false;
    loading.num_workers = settings_.num_workers;
    loading.max_bad_fraction = settings_.max_bad_fraction;
    data::Loader loader(dataset_, loading);
    ValidationResult result;
    // Every process passes the model equally often, for it holds a part of the weights.
    for (int64_t done = 0; done < dataset_.size(); done += loading.group_size) {
        if (should_stop && should_stop()) {
            return std::nullopt;
        }
        const auto batch = loader.next();
        if (!batch) {
            model.accompany_predict();
            continue;
        }
        for (size_t i = 0; i < batch->timesteps.size(); ++i) {
            check_timestep(batch->timesteps[i], batch->keys[i]);
        }
        const at::Tensor rows = at::tensor(batch->rows, at::kLong).to(conditioning_.device());
        const at::Tensor timesteps =
            at::tensor(batch->timesteps, at::kLong).to(conditioning_.device());
        encoders::MicroBatch micro = encoders::encode_batch(
            conditioning_, *batch,
            {settings_.seed, Purpose::kEvalVaeNoise, Purpose::kEvalNoise, rows});
        micro.guidance = settings_.guidance;
        const at::Tensor losses = validation_losses(model, micro, timesteps).cpu();
        for (int64_t i = 0; i < losses.size(0); ++i) {
            result.add(batch->timesteps[static_cast<size_t>(i)], losses[i].item<double>());
        }
    }
    result.bad = loader.own_bad_samples();
    result.add_up(mesh.world(), conditioning_.device());
    check_bad(result, mesh.size() > 1 && mesh.is_first());
    if (result.samples() == 0) {
        fail("eval.dataset: no validation sample could be read");
    }
    return result;
}

/// The loader has judged what this process read; here all of it is.
void Validator::check_bad(const ValidationResult& result, bool sums_up) const {
    if (static_cast<double>(result.bad) >
        settings_.max_bad_fraction * static_cast<double>(dataset_.size())) {
        fail(
            "eval.dataset: {} of its {} samples are bad, more than training.max_bad_fraction = {} "
            "allows; the warnings above name them: repair or remove them, or raise it",
            result.bad, dataset_.size(), settings_.max_bad_fraction);
    }
    if (sums_up && result.bad > 0) {
        log::warning("validation: {} of {} samples were bad and left out", result.bad,
                     dataset_.size());
    }
}

std::vector<std::string> Validator::captions(int64_t count) const {
    std::vector<std::string> captions;
    if (std::holds_alternative<data::EncodingShape>(dataset_.payload())) {
        return captions;
    }
    for (int64_t row = 0; row < dataset_.size() && static_cast<int64_t>(captions.size()) < count;
         ++row) {
        try {
            captions.push_back(dataset_.caption(row));
        } catch (const Error&) {
            continue;  // the loader counts and names it in every pass
        }
    }
    return captions;
}

}  // namespace flux::eval
