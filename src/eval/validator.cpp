#include "flux/eval/validator.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <exception>
#include <limits>
#include <numeric>

#include "flux/base/error.h"
#include "flux/base/log.h"
#include "flux/flow/flow_matching.h"
#include "flux/kernels/device_copy.h"

namespace flux::eval {
namespace {

using flow::kValidationTimesteps;

void check_timestep(int64_t timestep, const std::string& key) {
    if (timestep < 0) {
        fail(
            "validation sample \"{}\": has no timestep, and needs one of 0 .. {}: write a set that "
            "has them with `flux_train data coco`, or validate every sample at all of them with "
            "eval.all_timesteps",
            key, kValidationTimesteps - 1);
    }
    if (timestep >= kValidationTimesteps) {
        fail("validation sample \"{}\": timestep {}: must be 0 .. {}", key, timestep,
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
                             const at::Tensor& timesteps, config::TimestepGrid grid) {
    batch.timesteps = timesteps.to(at::kFloat) / static_cast<double>(kValidationTimesteps) +
                      flow::validation_time(0, grid);
    const encoders::FlowProblem problem = encoders::pose(model.path(), batch);
    return flow::per_sample_loss(model.path(), model.predict(problem.input), problem.target);
}

Validator::Validator(const data::Dataset& dataset, const encoders::Conditioning& conditioning,
                     const ValidatorSettings& settings)
    : dataset_(dataset), conditioning_(conditioning), settings_(settings) {
    std::string first_problem;
    for (int64_t row = 0; row < dataset_.size(); ++row) {
        std::optional<data::Sample> sample;
        try {
            sample = dataset_.read(row, 0);
        } catch (const Error& problem) {
            if (first_problem.empty()) {
                first_problem = fmt::format("; the first: {}", problem.what());
            }
            continue;  // the loader counts and names it in every pass
        }
        if (!settings_.all_timesteps) {
            check_timestep(sample->timestep, sample->key);
        }
        return;
    }
    fail("eval.dataset: none of its {} samples can be used{}", dataset_.size(), first_problem);
}

data::LoaderSettings Validator::loading(dist::Mesh& mesh) const {
    data::LoaderSettings loading;
    loading.batch_size = settings_.batch_size;
    loading.group_size = settings_.batch_size * mesh.size();
    loading.group_offset = settings_.batch_size * mesh.rank();
    loading.end = settings_.steps < 0
                      ? dataset_.size()
                      : std::min(dataset_.size(), settings_.steps * loading.group_size);
    loading.shuffle = config::Shuffle::kNone;
    loading.substitute = false;
    loading.num_workers = settings_.num_workers;
    loading.max_bad_fraction = settings_.max_bad_fraction;
    loading.pinned = conditioning_.device().is_cuda();
    return loading;
}

/// All of its timesteps can be used; nothing at the end.
std::optional<data::Batch> Validator::next_batch(data::Loader& loader) const {
    std::optional<data::Batch> batch;
    try {
        batch = loader.next();
    } catch (const data::TooManyBadSamples& problem) {
        fail("eval.dataset: {}", problem.what());
    }
    if (batch && !settings_.all_timesteps) {
        for (size_t i = 0; i < batch->timesteps.size(); ++i) {
            check_timestep(batch->timesteps[i], batch->keys[i]);
        }
    }
    return batch;
}

/// The timesteps of the batch's samples in each pass through the model.
std::vector<std::vector<int64_t>> Validator::passes(const data::Batch& batch) const {
    std::vector<std::vector<int64_t>> passes;
    if (settings_.all_timesteps) {
        for (int64_t k = 0; k < kValidationTimesteps; ++k) {
            passes.emplace_back(batch.rows.size(), k);
        }
        return passes;
    }
    passes.push_back(batch.timesteps);
    return passes;
}

/// Every process passes the model equally often, for it holds a part of the weights.
void Validator::accompany(model::Mmdit& model) const {
    for (int64_t pass = 0; pass < (settings_.all_timesteps ? kValidationTimesteps : 1); ++pass) {
        model.accompany_predict();
    }
}

void Validator::add_losses(Losses& losses, model::Mmdit& model, const data::Batch& batch,
                           int64_t step) const {
    const auto numbers = [&](const std::vector<int64_t>& values) {
        return kernels::to_device(at::tensor(values, at::kLong), conditioning_.device());
    };
    const bool anew = settings_.noise == config::EvalNoise::kPerPass;
    encoders::MicroBatch micro =
        encoders::encode_batch(conditioning_, batch,
                               {.seed = settings_.seed,
                                .vae_noise = Purpose::kEvalVaeNoise,
                                .noise = Purpose::kEvalNoise,
                                .index = numbers(batch.rows),
                                .sub = anew ? static_cast<uint32_t>(step) : 0});
    micro.guidance = settings_.guidance;
    for (const std::vector<int64_t>& timesteps : passes(batch)) {
        losses.timesteps.insert(losses.timesteps.end(), timesteps.begin(), timesteps.end());
        losses.values.push_back(
            validation_losses(model, micro, numbers(timesteps), settings_.timestep_grid));
    }
}

ValidationResult Validator::Losses::read() const {
    ValidationResult result;
    if (values.empty()) {
        return result;
    }
    const at::Tensor all = at::cat(values).cpu();
    for (size_t i = 0; i < timesteps.size(); ++i) {
        result.add(timesteps[i], static_cast<double>(all.const_data_ptr<float>()[i]));
    }
    return result;
}

std::optional<ValidationResult> Validator::run(model::Mmdit& model, int64_t step,
                                               const std::function<bool()>& should_stop) const {
    dist::Mesh& mesh = model.parameters().mesh();
    const data::LoaderSettings settings = loading(mesh);
    data::Loader loader(dataset_, settings);
    Losses losses;
    std::exception_ptr fault;
    for (int64_t done = 0; done < settings.end; done += settings.group_size) {
        if (should_stop && should_stop()) {
            return std::nullopt;
        }
        std::optional<data::Batch> batch;
        try {
            batch = fault ? std::nullopt : next_batch(loader);
        } catch (const Error&) {
            if (mesh.size() == 1) {
                throw;
            }
            fault = std::current_exception();  // the others wait for this process until they end
        }
        if (batch) {
            add_losses(losses, model, *batch, step);
        } else {
            accompany(model);
        }
    }
    ValidationResult result = losses.read();
    result.bad = loader.own_bad_samples();
    result.add_up(mesh.world(), conditioning_.device());
    if (fault) {
        std::rethrow_exception(fault);
    }
    check_bad(result, settings.end, mesh.size() > 1 && mesh.is_first());
    if (result.samples() == 0) {
        fail("eval.dataset: no validation sample could be read");
    }
    return result;
}

/// The loader has judged what this process read; here all of it is.
void Validator::check_bad(const ValidationResult& result, int64_t samples, bool sums_up) const {
    if (static_cast<double>(result.bad) >
        settings_.max_bad_fraction * static_cast<double>(samples)) {
        fail(
            "eval.dataset: {} of its {} samples are bad, more than training.max_bad_fraction = {} "
            "allows; the warnings above name them: repair or remove them, or raise it",
            result.bad, samples, settings_.max_bad_fraction);
    }
    if (sums_up && result.bad > 0) {
        log::warning("validation: {} of {} samples were bad and left out", result.bad, samples);
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
