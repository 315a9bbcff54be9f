// norm_modulate(), gated_residual() and bias_gelu(): what they keep and how they go backward.
#include "flux/kernels/fused.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <torch/csrc/autograd/custom_function.h>

#include "kernels/fused_rows.h"
#include "kernels/fused_twin.h"

namespace flux::kernels {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr double kLayerNormEps = 1e-6;

at::Tensor float_rows(const at::Tensor& x) {
    return at::empty({x.size(0), x.size(1)}, x.options().dtype(at::kFloat));
}

/// Vectors of each picture, dense in themselves.
at::Tensor vectors(const at::Tensor& x) { return x.stride(-1) == 1 ? x : x.contiguous(); }

struct NormModulate : torch::autograd::Function<NormModulate> {
    static NormModulateJob job_of(const at::Tensor& x, const at::Tensor& shift,
                                  const at::Tensor& scale, const at::Tensor& mean,
                                  const at::Tensor& rstd) {
        return {.rows = rows_of(x),
                .channels = x.size(2),
                .x = x.const_data_ptr(),
                .shift = shift.const_data_ptr(),
                .scale = scale.const_data_ptr(),
                .modulation_stride = scale.stride(0),
                .mean = mean.data_ptr<float>(),
                .rstd = rstd.data_ptr<float>(),
                .y = nullptr,
                .dy = nullptr,
                .dx = nullptr,
                .sums = nullptr,
                .eps = kLayerNormEps};
    }

    static at::Tensor forward(AutogradContext* context, const at::Tensor& x,
                              const at::Tensor& shift_of, const at::Tensor& scale_of) {
        const at::Tensor mean = float_rows(x), rstd = float_rows(x);
        const at::Tensor y = run(x, shift_of, scale_of, mean, rstd);
        context->save_for_backward({x, vectors(scale_of), mean, rstd});
        return y;
    }

    /// x: dense. Writes mean and rstd.
    static at::Tensor run(const at::Tensor& x, const at::Tensor& shift_of,
                          const at::Tensor& scale_of, const at::Tensor& mean,
                          const at::Tensor& rstd) {
        at::Tensor shift = vectors(shift_of), scale = vectors(scale_of);
        if (shift.stride(0) != scale.stride(0)) {
            shift = shift.contiguous();
            scale = scale.contiguous();
        }
        at::Tensor y = at::empty_like(x);
        NormModulateJob job = job_of(x, shift, scale, mean, rstd);
        job.y = y.data_ptr();
        run_rows(x, job, [](const auto& of) { return of.norm_modulate; });
        return y;
    }

    static Remake remake(const at::Tensor& x, const at::Tensor& shift, const at::Tensor& scale) {
        return recorded({x, shift, scale}, [](const Remake::Tensors& from) {
            const at::Tensor mean = float_rows(from[0]), rstd = float_rows(from[0]);
            return Remake::Tensors{run(from[0], from[1], from[2], mean, rstd)};
        });
    }

    static variable_list backward(AutogradContext* context, const variable_list& gradients) {
        const auto saved = context->get_saved_variables();
        const at::Tensor &x = saved[0], &scale = saved[1];
        const at::Tensor dy = gradients[0].contiguous();
        at::Tensor dx = at::empty_like(x);
        NormModulateJob job = job_of(x, scale, scale, saved[2], saved[3]);
        at::Tensor sums = sums_for(job.rows, 2 * job.channels, x);
        job.dy = dy.const_data_ptr();
        job.dx = dx.data_ptr();
        job.sums = sums.data_ptr<float>();
        run_rows(x, job, [](const auto& of) { return of.norm_modulate_backward; });
        const at::Tensor total = sums.sum(1, /*keepdim=*/true).to(x.scalar_type());  // [B, 1, 2 C]
        return {dx, total.narrow(2, 0, job.channels), total.narrow(2, job.channels, job.channels)};
    }
};

struct GatedResidual : torch::autograd::Function<GatedResidual> {
    static GatedResidualJob job_of(const at::Tensor& y, const at::Tensor& gate,
                                   const at::Tensor& bias) {
        return {.rows = rows_of(y),
                .channels = y.size(2),
                .x = nullptr,
                .y = y.const_data_ptr(),
                .gate = gate.const_data_ptr(),
                .gate_stride = gate.stride(0),
                .bias = data_or_null(bias),
                .out = nullptr,
                .dout = nullptr,
                .dy = nullptr,
                .sums = nullptr};
    }

    static at::Tensor forward(AutogradContext* context, const at::Tensor& input,
                              const at::Tensor& gate_of, const at::Tensor& layer,
                              const at::Tensor& bias_of) {
        const at::Tensor x = input.contiguous(), y = layer.contiguous(), gate = vectors(gate_of);
        const at::Tensor bias = bias_of.contiguous();
        at::Tensor out = at::empty_like(x);
        GatedResidualJob job = job_of(y, gate, bias);
        job.x = x.const_data_ptr();
        job.out = out.data_ptr();
        run_rows(x, job, [](const auto& of) { return of.gated_residual; });
        context->save_for_backward({gate, y, bias});
        return out;
    }

    static variable_list backward(AutogradContext* context, const variable_list& gradients) {
        const auto saved = context->get_saved_variables();
        const at::Tensor &gate = saved[0], &y = saved[1], &bias = saved[2];
        const at::Tensor dout = gradients[0].contiguous();
        at::Tensor dy = at::empty_like(y);
        GatedResidualJob job = job_of(y, gate, bias);
        at::Tensor sums = sums_for(job.rows, 2 * job.channels, y);
        job.dout = dout.const_data_ptr();
        job.dy = dy.data_ptr();
        job.sums = sums.data_ptr<float>();
        run_rows(y, job, [](const auto& of) { return of.gated_residual_backward; });
        const at::Tensor total = sums.sum(1, /*keepdim=*/true);  // [B, 1, 2 C]
        const at::Tensor dgate = total.narrow(2, 0, job.channels).to(y.scalar_type());
        const at::Tensor dbias = (total.narrow(2, job.channels, job.channels) * gate)
                                     .sum(at::IntArrayRef{0, 1})
                                     .to(y.scalar_type());
        return {dout, dgate, dy, dbias};
    }
};

struct BiasGelu : torch::autograd::Function<BiasGelu> {
    static at::Tensor forward(AutogradContext* context, const at::Tensor& u, const at::Tensor& bias,
                              bool is_read) {
        context->save_for_backward({u, bias});
        return is_read ? gelu(u, bias, 0) : left_out(u.sizes(), u.options());
    }

    static variable_list backward(AutogradContext* context, const variable_list& gradients) {
        const auto saved = context->get_saved_variables();
        const at::Tensor &u = saved[0], &bias = saved[1];
        at::Tensor du = at::empty_like(u);
        const at::Tensor dbias =
            gelu_backward(gelu_job(u, bias, 0), gradients[0].contiguous(), du, 0);
        return {du, dbias.to(u.scalar_type()), at::Tensor()};
    }
};

}  // namespace

LinearInput tokens_from(int64_t first, const LinearInput& all) {
    if (first == 0) {
        return all;
    }
    const auto cut = [first](const at::Tensor& x) { return x.narrow(1, first, x.size(1) - first); };
    LinearInput some{.x = cut(all.x)};
    if (all.remake.make) {
        some.remake = {all.remake.from, [cut, make = all.remake.make](const auto& from) {
                           return Remake::Tensors{cut(make(from).front())};
                       }};
    }
    return some;
}

LinearInput norm_modulate(Path path, const at::Tensor& x, const at::Tensor& shift,
                          const at::Tensor& scale) {
    check_shape(x, {-1, -1, -1}, "x");
    check_beside(x, shift, {x.size(0), 1, x.size(2)}, "shift");
    check_beside(x, scale, {x.size(0), 1, x.size(2)}, "scale");
    const bool fits = x.is_cpu() || x.size(-1) <= kMaxCudaNormChannels;
    if (!is_fused(path, x) || !fits) {
        return {twin::norm_modulate(x, shift, scale)};
    }
    // Of some tokens among more, what is normalised is a copy, which backward keeps in any case.
    const at::Tensor dense = x.contiguous();
    return {NormModulate::apply(dense, shift, scale), NormModulate::remake(dense, shift, scale)};
}

at::Tensor gated_residual(Path path, const at::Tensor& x, const at::Tensor& gate,
                          const at::Tensor& y, const at::Tensor& bias) {
    check_shape(x, {-1, -1, -1}, "x");
    check_beside(x, y, x.sizes(), "y");
    check_beside(x, gate, {x.size(0), 1, x.size(2)}, "gate");
    check_beside(x, bias, {x.size(2)}, "bias");
    return is_fused(path, x) ? GatedResidual::apply(x, gate, y, bias)
                             : twin::gated_residual(x, gate, y, bias);
}

LinearInput bias_gelu(Path path, const at::Tensor& u, const at::Tensor& bias, Memo* memo) {
    check_shape(u, {-1, -1, -1}, "u");
    check_beside(u, bias, {u.size(2)}, "bias");
    if (!is_fused(path, u)) {
        return {twin::bias_gelu(u, bias)};
    }
    const at::Tensor dense = u.contiguous(), vector = bias.contiguous();
    return {BiasGelu::apply(dense, vector, /*is_read=*/!is_recalled(memo)),
            gelu_remake(dense, vector, 0)};
}

}  // namespace flux::kernels
