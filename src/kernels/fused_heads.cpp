// split_heads(): what it keeps and how it goes backward.
#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <utility>

#include "kernels/fused_rows.h"
#include "kernels/fused_twin.h"

namespace flux::kernels {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

void check_parts(std::span<const PackedHeads> parts, const at::Tensor& cos, const at::Tensor& sin) {
    TORCH_CHECK(!parts.empty(), "heads of no part");
    const PackedHeads& first = parts.front();
    check_shape(first.qkv, {-1, -1, -1}, "qkv");
    check_shape(cos, {-1, 1, -1, -1}, "cos");
    check_shape(sin, cos.sizes(), "sin");
    const int64_t batch = first.qkv.size(0), size = cos.size(3), width = 3 * first.heads * size;
    TORCH_CHECK(size % 2 == 0 && (cos.size(0) == 1 || cos.size(0) == batch), "cos: is ",
                cos.sizes(), " for a batch of ", batch);
    int64_t tokens = 0;
    for (const PackedHeads& part : parts) {
        const bool with_mlp = &part == &first && part.qkv.size(2) > width;
        check_beside(first.qkv, part.qkv, {batch, -1, with_mlp ? -1 : width}, "qkv");
        check_beside(first.qkv, part.query_scale, {size}, "query_scale");
        check_beside(first.qkv, part.key_scale, {size}, "key_scale");
        if (part.bias.defined()) {
            check_beside(first.qkv, part.bias, {part.qkv.size(2)}, "bias");
        }
        TORCH_CHECK(part.heads == first.heads, "parts of ", first.heads, " and of ", part.heads,
                    " heads");
        tokens += part.qkv.size(1);
    }
    TORCH_CHECK(tokens == cos.size(2), tokens, " tokens, but positions of ", cos.size(2));
    for (const at::Tensor* table : {&cos, &sin}) {
        TORCH_CHECK(table->scalar_type() == at::kFloat && table->device() == first.qkv.device(),
                    "cos and sin: must be fp32 on ", first.qkv.device());
    }
}

/// One part of split_heads(). Tensors of all parts' tokens are shared.
struct HeadsPart {
    at::Tensor qkv, bias, query_scale, key_scale;
    int64_t offset = 0;

    int64_t tokens() const { return qkv.size(1); }
};

class SplitHeads : public torch::autograd::Function<SplitHeads> {
public:
    /// q, k, v. tensors: cos, sin, then four of each part.
    static variable_list run(at::TensorList tensors, int64_t heads, double eps) {
        const auto parts = parts_of(tensors);
        const at::Tensor &cos = tensors[0], &sin = tensors[1], &qkv = parts.front().qkv;
        variable_list out;
        for (int i = 0; i < 3; ++i) {
            out.push_back(
                at::empty({qkv.size(0), heads, cos.size(-2), cos.size(-1)}, qkv.options()));
        }
        for (const HeadsPart& part : parts) {
            HeadsJob job = job_of(part, cos, sin, heads, eps);
            job.q = out[0].data_ptr();
            job.k = out[1].data_ptr();
            job.v = out[2].data_ptr();
            run_rows(part.qkv, job, [](const auto& of) { return of.heads; });
        }
        return out;
    }

    /// Which results are read.
    struct Readers {
        bool attention, product;
    };

    static variable_list forward(AutogradContext* context, at::TensorList tensors, int64_t heads,
                                 double eps, Readers readers) {
        const at::Tensor &cos = tensors[0], &qkv = tensors[2], &bias = tensors[3];
        variable_list out;
        if (readers.attention) {
            out = run(tensors, heads, eps);
        } else {
            std::generate_n(std::back_inserter(out), 3, [&] {
                return left_out({qkv.size(0), heads, cos.size(-2), cos.size(-1)}, qkv.options());
            });
        }
        const int64_t width = 3 * heads * cos.size(-1), inner = qkv.size(2) - width;
        if (inner > 0) {  // the MLP's input stands behind them
            out.push_back(readers.product
                              ? gelu(qkv, bias, width)
                              : left_out({qkv.size(0), qkv.size(1), inner}, qkv.options()));
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
            const int64_t scales = dqkv.is_cuda() ? heads : 1;  // of one kind in `sums`
            at::Tensor sums = sums_for(job.rows, 2 * scales * size + width, dqkv);
            job.dq = given[0].const_data_ptr();
            job.dk = given[1].const_data_ptr();
            job.dv = given[2].const_data_ptr();
            job.dqkv = dqkv.data_ptr();
            job.sums = sums.data_ptr<float>();
            run_rows(dqkv, job, [](const auto& of) { return of.heads_backward; });
            const at::Tensor total = sums.sum(at::IntArrayRef{0, 1});
            at::Tensor dbias = total.narrow(0, 2 * scales * size, width);
            if (part.qkv.size(2) > width) {
                const GeluJob gelu = gelu_job(part.qkv, part.bias, width);
                dbias =
                    at::cat({dbias, gelu_backward(gelu, gradients[3].contiguous(), dqkv, width)});
            }
            const at::ScalarType dtype = dqkv.scalar_type();
            found.push_back(dqkv);
            found.push_back(part.bias.numel() > 0 ? dbias.to(dtype) : at::Tensor());
            const at::Tensor dscale =
                total.narrow(0, 0, 2 * scales * size).view({2, scales, size}).sum(1).to(dtype);
            found.push_back(dscale[0]);
            found.push_back(dscale[1]);
        }
        found.insert(found.end(), 3, {});  // of heads, eps and readers
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
        return {.rows = rows_of(part.qkv),
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
};

}  // namespace

Heads split_heads(Path path, std::span<const PackedHeads> parts, const at::Tensor& cos,
                  const at::Tensor& sin, double eps, Memo* memo) {
    check_parts(parts, cos, sin);
    const at::Tensor& first = parts.front().qkv;
    const bool fits = first.is_cpu() || cos.size(-1) <= kMaxCudaHeadSize;
    if (!is_fused(path, first) || !fits) {
        return twin::split_heads(parts, cos, sin, eps);
    }
    variable_list tensors{cos.contiguous(), sin.contiguous()};
    for (const PackedHeads& part : parts) {
        tensors.insert(tensors.end(), {part.qkv.contiguous(),
                                       part.bias.defined() ? part.bias.contiguous()
                                                           : at::empty({0}, part.qkv.options()),
                                       part.query_scale.contiguous(), part.key_scale.contiguous()});
    }
    const int64_t heads = parts.front().heads;
    const bool takes_memo =
        attention_takes_memo(first.device().type(), first.scalar_type(), cos.size(-1));
    const SplitHeads::Readers readers{.attention = !takes_memo || !is_recalled(memo),
                                      .product = !is_recalled(memo)};
    const variable_list out = SplitHeads::apply(at::TensorList(tensors), heads, eps, readers);
    Remake remake = recorded(tensors, [heads, eps](const Remake::Tensors& from) {
        return SplitHeads::run(from, heads, eps);
    });
    LinearInput mlp;
    if (out.size() > 3) {
        const at::Tensor &qkv = tensors[2], &bias = tensors[3];
        mlp = {out[3], gelu_remake(qkv, bias, qkv.size(2) - out[3].size(2))};
    }
    return {out[0], out[1], out[2], std::move(remake), std::move(mlp)};
}

}  // namespace flux::kernels
