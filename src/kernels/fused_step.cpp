#include "flux/kernels/fused_step.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>

#include <algorithm>
#include <cmath>

#include "kernels/check_beside.h"
#include "kernels/fused_twin.h"
#include "kernels/run_rows.h"

namespace flux::kernels {
namespace {

constexpr int64_t kAdamChunk = 16384;  // elements: enough work for a thread to start for

bool is_float(const at::Tensor& x) { return x.scalar_type() == at::kFloat; }

/// The mean does not depend on the batch: chunks are of one size everywhere, and their sums are
/// added up in fp64.
at::Tensor run_squared_error(const at::Tensor& prediction, const at::Tensor& target,
                             at::Tensor* gradient, double share) {
    const at::Tensor x = prediction.contiguous(), y = target.contiguous();
    const Rows rows{.batch = x.size(0), .tokens = x.size(1), .chunk = kChunk};
    const auto elements = static_cast<double>(x.size(1) * x.size(2));
    at::Tensor sums = at::empty({rows.batch, rows.chunks_of_one()}, y.options());
    if (gradient != nullptr) {
        *gradient = at::empty_like(x);
    }
    const SquaredErrorJob job{.rows = rows,
                              .channels = x.size(2),
                              .prediction = x.const_data_ptr(),
                              .target = y.const_data_ptr<float>(),
                              .gradient = gradient == nullptr ? nullptr : gradient->data_ptr(),
                              .factor = 2.0 * share / elements,
                              .sums = sums.data_ptr<float>()};
    run_rows(x, job, [](const auto& of) { return of.squared_error; });
    return (sums.sum(1, /*keepdim=*/false, at::kDouble) / elements).to(at::kFloat);
}

bool fuses_squared_error(Path path, const at::Tensor& prediction, const at::Tensor& target) {
    TORCH_CHECK(prediction.dim() == 3 && prediction.sizes() == target.sizes(), "a prediction ",
                prediction.sizes(), " of a target ", target.sizes());
    const bool fuses = path == Path::kFused && has_row_kernels(prediction) && is_float(target);
    TORCH_CHECK(!fuses || prediction.device() == target.device(), "a prediction on ",
                prediction.device(), " of a target on ", target.device());
    return fuses;
}

/// Dense tensors of one length on one device; but for the copy, fp32.
void check_run(const AdamRun& run) {
    const at::IntArrayRef shape = run.value.sizes();
    check_beside(run.value, run.gradient, shape, "gradient");
    check_beside(run.value, run.mean, shape, "mean");
    check_beside(run.value, run.square, shape, "square");
    TORCH_CHECK(!run.copy.defined() ||
                    (run.copy.sizes() == shape && run.copy.device() == run.value.device()),
                "copy: is ", run.copy.sizes(), " beside ", shape);
    for (const at::Tensor* tensor :
         {&run.value, &run.gradient, &run.mean, &run.square, &run.copy}) {
        TORCH_CHECK(!tensor->defined() || tensor->is_contiguous(), "a run of AdamW is not dense");
    }
}

}  // namespace

void adam_(Path path, const AdamSettings& settings, const AdamScalars& scalars,
           std::span<const AdamRun> runs) {
    const auto fuses = [](const AdamRun& run) {
        return has_row_kernels(run.value) && is_float(run.value) &&
               (!run.copy.defined() || has_row_kernels(run.copy));
    };
    if (path == Path::kTwin || !std::all_of(runs.begin(), runs.end(), fuses)) {
        twin::adam_(settings, scalars, runs);
        return;
    }
    for (const AdamRun& run : runs) {
        check_run(run);
        const AdamJob job{.rows = {.batch = 1, .tokens = run.value.numel(), .chunk = kAdamChunk},
                          .value = run.value.data_ptr<float>(),
                          .gradient = run.gradient.const_data_ptr<float>(),
                          .mean = run.mean.data_ptr<float>(),
                          .square = run.square.data_ptr<float>(),
                          .copy = run.copy.defined() ? run.copy.data_ptr() : nullptr,
                          .lr = scalars.lr.const_data_ptr<float>(),
                          .steps = scalars.steps.const_data_ptr<float>(),
                          .divisor = scalars.divisor.const_data_ptr<float>(),
                          .skip = scalars.skip.const_data_ptr<float>(),
                          .mean_share = 1.0 - settings.beta1,
                          .square_share = 1.0 - settings.beta2,
                          .log_beta1 = std::log(settings.beta1),
                          .log_beta2 = std::log(settings.beta2),
                          .eps = settings.eps,
                          .weight_decay = settings.weight_decay,
                          .decoupled = settings.decoupled};
        run_rows(run.copy.defined() ? run.copy : run.value, job,
                 [](const auto& of) { return of.adam; });
    }
}

PackedMix mix_and_pack(Path path, const at::Tensor& a, const at::Tensor& b, const at::Tensor& t) {
    TORCH_CHECK(a.dim() == 4 && a.sizes() == b.sizes() && a.size(2) % 2 == 0 && a.size(3) % 2 == 0,
                "mix_and_pack wants two [B, C, H, W] with even H and W, got ", a.sizes(), " and ",
                b.sizes());
    if (path == Path::kTwin || !has_row_kernels(a) || !is_float(a)) {
        return twin::mix_and_pack(a, b, t);
    }
    check_beside(a, b, a.sizes(), "b");
    check_beside(a, t, {a.size(0)}, "t");
    const at::Tensor from = a.contiguous(), to = b.contiguous(), shares = t.contiguous();
    const Rows rows{.batch = a.size(0), .tokens = a.size(2) * a.size(3) / 4, .chunk = kChunk};
    PackedMix out{at::empty({rows.batch, rows.tokens, 4 * a.size(1)}, from.options()), {}};
    out.difference = at::empty_like(out.mixed);
    const MixJob job{.rows = rows,
                     .channels = a.size(1),
                     .columns = a.size(3) / 2,
                     .a = from.const_data_ptr<float>(),
                     .b = to.const_data_ptr<float>(),
                     .t = shares.const_data_ptr<float>(),
                     .mixed = out.mixed.data_ptr<float>(),
                     .difference = out.difference.data_ptr<float>()};
    run_rows(from, job, [](const auto& of) { return of.mix_and_pack; });
    return out;
}

at::Tensor mean_squared_error(Path path, const at::Tensor& prediction, const at::Tensor& target) {
    return fuses_squared_error(path, prediction, target)
               ? run_squared_error(prediction, target, nullptr, 0)
               : twin::mean_squared_error(prediction, target);
}

SquaredError squared_error_with_gradient(Path path, const at::Tensor& prediction,
                                         const at::Tensor& target, double share) {
    if (!fuses_squared_error(path, prediction, target)) {
        return twin::squared_error_with_gradient(prediction, target, share);
    }
    SquaredError out;
    out.means = run_squared_error(prediction, target, &out.gradient, share);
    return out;
}

}  // namespace flux::kernels
