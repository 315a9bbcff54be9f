#include "flux/kernels/fused.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/stack.h>
#include <c10/util/Exception.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <array>

#include "kernels/fused_twin.h"
#include "kernels/parallel.h"
#include "kernels/row_kernel_choice.h"
#include "kernels/row_kernels.h"

namespace flux::kernels {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr double kLayerNormEps = 1e-6;

bool is_fused(Path path, const at::Tensor& x) {
    return path == Path::kFused && x.is_cpu() &&
           (x.scalar_type() == at::kFloat || x.scalar_type() == at::kBFloat16);
}

const RowKernels& kernels_for(const at::Tensor& x) { return row_kernels(x.scalar_type()); }

template <class Job>
void run(RowKernel<Job> kernel, const Job& job) {
    at::parallel_for(0, job.rows.chunks(), 1,
                     [&](int64_t begin, int64_t end) { kernel(job, begin, end); });
}

Rows rows_of(const at::Tensor& x) { return {.batch = x.size(0), .tokens = x.size(1)}; }

/// fp32 sums of each chunk.
at::Tensor sums_for(const Rows& rows, int64_t width, const at::Tensor& like) {
    return at::empty({rows.batch, rows.chunks_of_one(), width}, like.options().dtype(at::kFloat));
}

at::Tensor float_rows(const at::Tensor& x) {
    return at::empty({x.size(0), x.size(1)}, x.options().dtype(at::kFloat));
}

/// Vectors of each picture, dense in themselves.
at::Tensor vectors(const at::Tensor& x) { return x.stride(-1) == 1 ? x : x.contiguous(); }

/// Of a bias; without elements it stands for none, as autograd takes no undefined tensors.
const void* data_or_null(const at::Tensor& x) {
    return x.numel() > 0 ? x.const_data_ptr() : nullptr;
}

struct NormModulate : torch::autograd::Function<NormModulate> {
    static NormModulateJob job_of(const at::Tensor& x, const at::Tensor& shift,
                                  const at::Tensor& scale, const at::Tensor& mean,
                                  const at::Tensor& rstd) {
        return {.rows = kernels::rows_of(x),
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

    static at::Tensor forward(AutogradContext* context, const at::Tensor& input,
                              const at::Tensor& shift_of, const at::Tensor& scale_of) {
        const at::Tensor x = input.contiguous();
        at::Tensor shift = vectors(shift_of), scale = vectors(scale_of);
        if (shift.stride(0) != scale.stride(0)) {
            shift = shift.contiguous();
            scale = scale.contiguous();
        }
        const at::Tensor mean = float_rows(x), rstd = float_rows(x);
        at::Tensor y = at::empty_like(x);
        NormModulateJob job = job_of(x, shift, scale, mean, rstd);
        job.y = y.data_ptr();
        run(kernels_for(x).norm_modulate, job);
        context->save_for_backward({x, scale, mean, rstd});
        return y;
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
        run(kernels_for(x).norm_modulate_backward, job);
        const at::Tensor total = sums.sum(1, /*keepdim=*/true).to(x.scalar_type());  // [B, 1, 2 C]
        return {dx, total.narrow(2, 0, job.channels), total.narrow(2, job.channels, job.channels)};
    }
};

struct GatedResidual : torch::autograd::Function<GatedResidual> {
    static GatedResidualJob job_of(const at::Tensor& y, const at::Tensor& gate,
                                   const at::Tensor& bias) {
        return {.rows = kernels::rows_of(y),
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
                              const at::Tensor& bias) {
        const at::Tensor x = input.contiguous(), y = layer.contiguous(), gate = vectors(gate_of);
        at::Tensor out = at::empty_like(x);
        GatedResidualJob job = job_of(y, gate, bias);
        job.x = x.const_data_ptr();
        job.out = out.data_ptr();
        run(kernels_for(x).gated_residual, job);
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
        run(kernels_for(y).gated_residual_backward, job);
        const at::Tensor total = sums.sum(1, /*keepdim=*/true);  // [B, 1, 2 C]
        const at::Tensor dgate = total.narrow(2, 0, job.channels).to(y.scalar_type());
        const at::Tensor dbias = (total.narrow(2, job.channels, job.channels) * gate)
                                     .sum(at::IntArrayRef{0, 1})
                                     .to(y.scalar_type());
        return {dout, dgate, dy, dbias};
    }
};

struct BiasGelu : torch::autograd::Function<BiasGelu> {
    static at::Tensor forward(AutogradContext* context, const at::Tensor& input,
                              const at::Tensor& bias) {
        const at::Tensor u = input.contiguous();
        at::Tensor y = at::empty_like(u);
        GeluJob job{.rows = kernels::rows_of(u),
                    .channels = u.size(2),
                    .u = u.const_data_ptr(),
                    .stride = u.size(2),
                    .bias = bias.const_data_ptr(),
                    .y = y.data_ptr(),
                    .dy = nullptr,
                    .du = nullptr,
                    .sums = nullptr};
        run(kernels_for(u).gelu, job);
        context->save_for_backward({u, bias});
        return y;
    }

    static variable_list backward(AutogradContext* context, const variable_list& gradients) {
        const auto saved = context->get_saved_variables();
        const at::Tensor &u = saved[0], &bias = saved[1];
        const at::Tensor dy = gradients[0].contiguous();
        at::Tensor du = at::empty_like(u);
        const Rows rows = kernels::rows_of(u);
        at::Tensor sums = sums_for(rows, u.size(2), u);
        run(kernels_for(u).gelu_backward, GeluJob{.rows = rows,
                                                  .channels = u.size(2),
                                                  .u = u.const_data_ptr(),
                                                  .stride = u.size(2),
                                                  .bias = bias.const_data_ptr(),
                                                  .y = nullptr,
                                                  .dy = dy.const_data_ptr(),
                                                  .du = du.data_ptr(),
                                                  .sums = sums.data_ptr<float>()});
        return {du, sums.sum(at::IntArrayRef{0, 1}).to(u.scalar_type())};
    }
};

/// Cosines, or sines with alternating signs, of both channels of each pair: fp32 [B or 1, T, D].
at::Tensor for_both_channels(const at::Tensor& table, bool alternating) {
    const at::Tensor first = alternating ? -table : table;
    return at::stack({first, table}, -1).flatten(-2).squeeze(1).contiguous();
}

/// One part of split_heads(). Tensors of all parts' tokens are shared.
struct HeadsPart {
    at::Tensor qkv, bias, query_scale, key_scale;
    int64_t offset = 0;

    int64_t tokens() const { return qkv.size(1); }
};

class SplitHeads : public torch::autograd::Function<SplitHeads> {
public:
    static variable_list forward(AutogradContext* context, at::TensorList tensors, int64_t heads,
                                 double eps) {
        // cos, sin, then four of each part
        const auto parts = parts_of(tensors);
        const at::Tensor &cos = tensors[0], &sin = tensors[1];
        const HeadsPart& first = parts.front();
        const int64_t size = cos.size(-1), batch = first.qkv.size(0);
        const auto options = first.qkv.options();
        variable_list out;
        for (int i = 0; i < 3; ++i) {
            out.push_back(at::empty({batch, heads, cos.size(-2), size}, options));
        }
        for (const HeadsPart& part : parts) {
            HeadsJob job = job_of(part, cos, sin, heads, eps);
            job.q = out[0].data_ptr();
            job.k = out[1].data_ptr();
            job.v = out[2].data_ptr();
            run(kernels_for(part.qkv).heads, job);
        }
        const int64_t inner = first.qkv.size(2) - 3 * heads * size;
        if (inner > 0) {
            out.push_back(at::empty({batch, first.tokens(), inner}, options));
            GeluJob job = gelu_job(first, inner);
            job.y = out[3].data_ptr();
            run(kernels_for(first.qkv).gelu, job);
        }
        context->save_for_backward(tensors.vec());
        context->saved_data["heads"] = heads;
        context->saved_data["eps"] = eps;
        return out;
    }

    static variable_list backward(AutogradContext* context, const variable_list& gradients) {
        const variable_list tensors = context->get_saved_variables();
        const int64_t heads = context->saved_data["heads"].toInt();
        const double eps = context->saved_data["eps"].toDouble();
        const at::Tensor &cos = tensors[0], &sin = tensors[1];
        const std::array given{gradients[0].contiguous(), gradients[1].contiguous(),
                               gradients[2].contiguous()};
        variable_list found{{}, {}};
        for (const HeadsPart& part : parts_of(tensors)) {
            HeadsJob job = job_of(part, cos, sin, heads, eps);
            at::Tensor dqkv = at::empty_like(part.qkv);
            const int64_t size = job.head_size, width = 3 * heads * size;
            at::Tensor sums = sums_for(job.rows, 2 * size + width, dqkv);
            job.dq = given[0].const_data_ptr();
            job.dk = given[1].const_data_ptr();
            job.dv = given[2].const_data_ptr();
            job.dqkv = dqkv.data_ptr();
            job.sums = sums.data_ptr<float>();
            run(kernels_for(dqkv).heads_backward, job);
            const at::Tensor total = sums.sum(at::IntArrayRef{0, 1});
            at::Tensor dbias = total.narrow(0, 2 * size, width);
            if (gradients.size() > 3) {
                dbias = at::cat({dbias, gelu_backward(part, gradients[3].contiguous(), dqkv)});
            }
            const at::ScalarType dtype = dqkv.scalar_type();
            found.push_back(dqkv);
            found.push_back(part.bias.numel() > 0 ? dbias.to(dtype) : at::Tensor());
            found.push_back(total.narrow(0, 0, size).to(dtype));
            found.push_back(total.narrow(0, size, size).to(dtype));
        }
        found.insert(found.end(), 2, {});  // of heads and eps
        return found;
    }

private:
    static std::vector<HeadsPart> parts_of(at::TensorList tensors) {
        std::vector<HeadsPart> parts;
        int64_t offset = 0;
        for (size_t i = 2; i < tensors.size(); i += 4) {
            parts.push_back({tensors[i], tensors[i + 1], tensors[i + 2], tensors[i + 3], offset});
            offset += parts.back().tokens();
        }
        return parts;
    }

    static HeadsJob job_of(const HeadsPart& part, const at::Tensor& cos, const at::Tensor& sin,
                           int64_t heads, double eps) {
        const int64_t size = cos.size(-1), all = cos.size(-2);
        return {.rows = kernels::rows_of(part.qkv),
                .heads = heads,
                .head_size = size,
                .qkv = part.qkv.const_data_ptr(),
                .stride = part.qkv.size(2),
                .bias = data_or_null(part.bias),
                .query_scale = part.query_scale.const_data_ptr(),
                .key_scale = part.key_scale.const_data_ptr(),
                .cos = cos.const_data_ptr<float>(),
                .sin = sin.const_data_ptr<float>(),
                .table_stride = cos.size(0) == 1 ? 0 : all * size,
                .all_tokens = all,
                .offset = part.offset,
                .eps = eps,
                .q = nullptr,
                .k = nullptr,
                .v = nullptr,
                .dq = nullptr,
                .dk = nullptr,
                .dv = nullptr,
                .dqkv = nullptr,
                .sums = nullptr};
    }

    /// The MLP's input stands behind queries, keys and values.
    static GeluJob gelu_job(const HeadsPart& part, int64_t inner) {
        const int64_t stride = part.qkv.size(2);
        const int64_t skipped = (stride - inner) * part.qkv.element_size();
        const auto behind = [&](const at::Tensor& x) -> const void* {
            return x.numel() > 0 ? static_cast<const char*>(x.const_data_ptr()) + skipped : nullptr;
        };
        return {.rows = kernels::rows_of(part.qkv),
                .channels = inner,
                .u = behind(part.qkv),
                .stride = stride,
                .bias = behind(part.bias),
                .y = nullptr,
                .dy = nullptr,
                .du = nullptr,
                .sums = nullptr};
    }

    /// Fills the MLP's part of `dqkv`; the gradient of its bias, fp32.
    static at::Tensor gelu_backward(const HeadsPart& part, const at::Tensor& dy,
                                    const at::Tensor& dqkv) {
        GeluJob job = gelu_job(part, dy.size(2));
        at::Tensor sums = sums_for(job.rows, job.channels, dqkv);
        job.dy = dy.const_data_ptr();
        job.du =
            static_cast<char*>(dqkv.data_ptr()) + (job.stride - job.channels) * dqkv.element_size();
        job.sums = sums.data_ptr<float>();
        run(kernels_for(dqkv).gelu_backward, job);
        return sums.sum(at::IntArrayRef{0, 1});
    }
};

}  // namespace

at::Tensor norm_modulate(Path path, const at::Tensor& x, const at::Tensor& shift,
                         const at::Tensor& scale) {
    return is_fused(path, x) ? NormModulate::apply(x, shift, scale)
                             : twin::norm_modulate(x, shift, scale);
}

at::Tensor gated_residual(Path path, const at::Tensor& x, const at::Tensor& gate,
                          const at::Tensor& y, const at::Tensor& bias) {
    return is_fused(path, x) ? GatedResidual::apply(x, gate, y, bias)
                             : twin::gated_residual(x, gate, y, bias);
}

at::Tensor bias_gelu(Path path, const at::Tensor& u, const at::Tensor& bias) {
    return is_fused(path, u) ? BiasGelu::apply(u, bias) : twin::bias_gelu(u, bias);
}

Heads split_heads(Path path, std::span<const PackedHeads> parts, const at::Tensor& cos,
                  const at::Tensor& sin, double eps) {
    if (!is_fused(path, parts.front().qkv)) {
        return twin::split_heads(parts, cos, sin, eps);
    }
    variable_list tensors{for_both_channels(cos, false), for_both_channels(sin, true)};
    for (const PackedHeads& part : parts) {
        tensors.insert(tensors.end(),
                       {part.qkv.contiguous(),
                        part.bias.defined() ? part.bias : at::empty({0}, part.qkv.options()),
                        part.query_scale, part.key_scale});
    }
    const variable_list out = SplitHeads::apply(at::TensorList(tensors), parts.front().heads, eps);
    return {out[0], out[1], out[2], out.size() > 3 ? out[3] : at::Tensor()};
}

}  // namespace flux::kernels
