// The counts follow double_block.cpp, single_block.cpp, embedders.cpp, final_layer.cpp and
// attention.cpp operation by operation; tests/model/activations_test.cpp holds them against a
// counting allocator. Whoever changes a block changes them here.
#include "flux/model/activations.h"

#include <ATen/Parallel.h>

#include <algorithm>

#include "flux/kernels/chunk_count.h"
#include "flux/kernels/fused.h"
#include "flux/model/layers.h"
#include "flux/model/mmdit.h"

namespace flux::model {
namespace {

using Kind = kernels::Products::Kind;

constexpr int64_t kFloatBytes = 4;

/// Bytes of the tensors that blocks are made of.
struct Sizes {
    Sizes(const FluxConfig& c, const PassShape& shape)
        : config(c), pass(shape), element(static_cast<int64_t>(c10::elementSize(shape.dtype))) {}

    int64_t tokens(int64_t count, int64_t channels) const {
        return pass.batch * count * channels * element;
    }
    /// [B, T, C] and [B, T, M], the MLP's inner width.
    int64_t hidden(int64_t count) const { return tokens(count, config.hidden_size); }
    int64_t mlp(int64_t count) const { return tokens(count, config.mlp_hidden()); }
    /// fp32, one a token and head: RMSNorm's statistics, softmax's sums.
    int64_t per_head(int64_t count) const {
        return pass.batch * count * config.num_heads * kFloatBytes;
    }
    /// Mean and deviation of a norm's rows.
    int64_t norm(int64_t count) const { return 2 * pass.batch * count * kFloatBytes; }
    int64_t vectors(int64_t count) const { return tokens(count, config.hidden_size); }  // [B, C]
    int64_t weight(int64_t in, int64_t out) const { return in * out * element; }
    /// fp32 sums of each chunk of rows, `width` numbers each.
    int64_t chunk_sums(int64_t count, int64_t width) const {
        const auto device = pass.on_gpu ? c10::DeviceType::CUDA : c10::DeviceType::CPU;
        return kernels::chunk_count(pass.batch, count, device) * width * kFloatBytes;
    }

    /// What attention needs in backward: its heads again and tiles of each thread or, where it is
    /// not fused, the gradient of its result in order (CPU) or that of q in fp32 (GPU).
    int64_t attention_workspace(int64_t count) const {
        if (attention_is_fused) {
            const int64_t threads =
                std::min<int64_t>(at::get_num_threads(), pass.batch * config.num_heads);
            return 3 * hidden(count) +
                   threads * kernels::attention_scratch_bytes(count, config.head_dim(), pass.dtype);
        }
        return pass.on_gpu ? hidden(count) / element * kFloatBytes : hidden(count);
    }
    /// Its result with heads side by side: a copy on CPUs.
    int64_t joined_copy(int64_t count) const {
        return pass.on_gpu || attention_is_fused ? 0 : hidden(count);
    }
    /// Queries, keys and values, which attention makes again where it is fused.
    int64_t heads(int64_t count) const { return attention_is_fused ? 0 : 3 * hidden(count); }
    /// The results of a block's last product, for so many tokens, and of the attention where it is
    /// fused. Twins leave nothing.
    int64_t memo(int64_t count) const {
        if (pass.execution.path == kernels::Path::kTwin) {
            return 0;
        }
        return hidden(count) + (attention_is_fused ? hidden(all) + per_head(all) : 0);
    }
    /// Gradients of q, k and v in order.
    int64_t gradient_copies(int64_t count) const {
        return attention_is_fused ? 0 : 3 * hidden(count);
    }

    kernels::Products products(const std::string& layer, int64_t in, int64_t out) const {
        return pass.execution.products_of(layer, in, out);
    }
    /// Rows that products in 8 bits go along are filled up.
    int64_t filled_rows(int64_t count) const {
        constexpr int64_t kAlignment = kernels::kFloat8Alignment;
        return (pass.batch * count + kAlignment - 1) / kAlignment * kAlignment;
    }
    /// What the layer's backward takes besides its gradients, whose sizes are counted elsewhere:
    /// factors and result of widened products, one input after the other, the widest having `part`
    /// channels; both factors of a product in 8 bits, and the weight's before that in the compute
    /// dtype, where its cast is not fused, or, emulated, all in fp32.
    int64_t linear_room(const kernels::Products& products, int64_t count, int64_t in, int64_t out,
                        int64_t part) const {
        const int64_t rows = pass.batch * count;
        if (products.kind == Kind::kPlain) {
            return widens ? kFloatBytes * (rows * out + rows * part + in * out) : 0;
        }
        const int64_t up = filled_rows(count) * out, down = in * out;
        const int64_t inputs = filled_rows(count) * in;
        // The weight's gradient comes before those of the inputs, which are counted already; with
        // one scale a tensor, rows wait for these meanwhile.
        const int64_t waiting = products.kind == Kind::kTensorwise ? up : 0;
        const int64_t to_weight = waiting + up + inputs - rows * in * element;
        const int64_t to_input = up + down;
        if (!products.emulated) {
            const bool fused = pass.on_gpu && pass.execution.path == kernels::Path::kFused &&
                               kernels::fuses(c10::DeviceType::CUDA, pass.dtype);
            return std::max(to_input + (fused ? 0 : down * element), to_weight);
        }
        const int64_t results = element == kFloatBytes ? 0 : kFloatBytes;
        return std::max(to_input + kFloatBytes * (up + down) + results * filled_rows(count) * part,
                        to_weight + kFloatBytes * (up + inputs) + results * down);
    }

    /// What emulated products in 8 bits take in forward besides the result: both factors, and all
    /// in fp32.
    int64_t emulated_forward(const kernels::Products& products, int64_t count, int64_t in,
                             int64_t out) const {
        const int64_t factors = filled_rows(count) * in + in * out;
        const int64_t result = element == kFloatBytes ? 0 : filled_rows(count) * out;
        return products.emulated ? factors + kFloatBytes * (factors + result) : 0;
    }

    const FluxConfig& config;
    const PassShape& pass;
    int64_t element;
    int64_t all = pass.image_tokens + pass.text_tokens;
    bool attention_is_fused = !pass.on_gpu && kernels::fuses_attention_on_cpu(pass.dtype);
    bool widens = !pass.on_gpu && pass.execution.path == kernels::Path::kFused &&
                  kernels::widens_products(pass.dtype);
};

/// Image or text in a double block, by the name its layers begin with.
struct Stream {
    Stream(const Sizes& s, const std::string& name, int64_t tokens)
        : sizes(s),
          count(tokens),
          qkv(s.products(name + "_attn.qkv", hidden, 3 * hidden)),
          mlp_down(s.products(name + "_mlp.2", mlp, hidden)) {}

    /// Kept by Stream::finish(), besides statistics: its part of the attention if that is a copy,
    /// the projection, the residual, the MLP before its activation, and its result.
    int64_t finish() const {
        return sizes.joined_copy(count) + 3 * sizes.hidden(count) + sizes.mlp(count);
    }

    int64_t graph() const {
        const int64_t modulation = sizes.vectors(1 + 6);          // silu, its six parts
        return 2 * sizes.norm(count) + 3 * sizes.hidden(count) +  // queries, keys, values in rows
               finish() + modulation;
    }

    int64_t mlp_room() const { return sizes.linear_room(mlp_down, count, mlp, hidden, mlp); }
    int64_t qkv_room() const { return sizes.linear_room(qkv, count, hidden, 3 * hidden, hidden); }

    const Sizes& sizes;
    int64_t count;
    int64_t hidden = sizes.config.hidden_size, mlp = sizes.config.mlp_hidden();
    kernels::Products qkv, mlp_down;
};

UnitActivations double_block(const Sizes& s, int64_t weights, int64_t index) {
    const int64_t text = s.pass.text_tokens, image = s.pass.image_tokens;
    const std::string name = "double_blocks." + std::to_string(index);
    const Stream txt(s, name + ".txt", text), img(s, name + ".img", image);
    const int64_t hidden = s.config.hidden_size, mlp = s.config.mlp_hidden();
    const int64_t state = s.hidden(s.all);
    // Heads and result of the attention.
    const int64_t graph = txt.graph() + img.graph() + s.heads(s.all) + state + s.per_head(s.all);
    const int64_t begin = graph + 2 * state;  // result and its gradient
    const int64_t down = s.weight(mlp, hidden);
    const int64_t finish_weights = 2 * down + s.weight(hidden, hidden);
    // The MLP of the image, which ran last; then, with the image's part done, that of the text.
    const int64_t image_mlp = begin + s.mlp(image) + down + img.mlp_room();
    const int64_t text_mlp = begin - img.finish() + s.hidden(image) + s.hidden(image) +
                             s.mlp(text) + finish_weights + down + txt.mlp_room();
    const int64_t attention = begin - txt.finish() - img.finish() + 5 * state +
                              s.attention_workspace(s.all) + 2 * finish_weights;
    const int64_t end = 3 * state + 6 * s.hidden(image) + weights + img.qkv_room();
    return {.input = state,
            .memo = s.memo(s.all),
            .graph = graph,
            .forward = 0,
            .backward = std::max({text_mlp, image_mlp, attention, end}),
            .handing_over = 3 * state + weights};
}

UnitActivations single_block(const Sizes& s, int64_t weights, int64_t index) {
    const bool joins = index == 0, is_last = index + 1 == s.config.depth_single_blocks;
    const int64_t count = is_last ? s.pass.image_tokens : s.all;  // that are handed on
    const int64_t state = s.hidden(s.all), result = s.hidden(count), mlp = s.mlp(count);
    const int64_t wide = 3 * state + mlp;
    const std::string name = "single_blocks." + std::to_string(index);
    const int64_t hidden = s.config.hidden_size, inner = s.config.mlp_hidden();
    const auto first = s.products(name + ".linear1", hidden, 3 * hidden + inner);
    const auto second = s.products(name + ".linear2", hidden + inner, hidden);
    const int64_t modulation = s.vectors(1 + 3);  // silu, its three parts
    // Norm, linear1; heads and result of the attention; linear2.
    const int64_t graph = (joins ? state : 0) + s.norm(s.all) + wide + s.heads(s.all) + state +
                          s.joined_copy(s.all) + s.per_head(s.all) + result + modulation;
    // linear2's, with the heads and GELU's result at hand.
    const int64_t forward = graph - s.heads(s.all) + 3 * state + mlp +
                            s.emulated_forward(second, count, hidden + inner, hidden);
    const int64_t begin = graph + 2 * result;  // result and its gradient
    const int64_t linear2 = s.weight(hidden + inner, hidden);
    // Without linear2's result: its gradient, and those of its two inputs.
    const int64_t pair = begin - result + 2 * result + mlp + linear2 +
                         s.linear_room(second, count, hidden + inner, hidden, inner);
    // Gradients of q, k, v from the attention's.
    const int64_t attention =
        begin - result + state + mlp + 3 * state + s.attention_workspace(s.all) + linear2;
    // From there on, without what linear2 and the attention kept.
    const int64_t rest = begin - result - s.heads(s.all) - state - s.joined_copy(s.all) -
                         s.per_head(s.all) + 3 * state + linear2;
    const int64_t sums = (s.pass.on_gpu ? 5 : 3) * hidden;  // there the scales' of each head too
    const int64_t heads_room = s.gradient_copies(s.all) + s.chunk_sums(s.all, sums);
    int64_t most = std::max(pair, attention);
    if (is_last) {  // linear1 in two parts
        const int64_t up = s.weight(hidden, inner), qkv = s.weight(hidden, 3 * hidden);
        const int64_t part = s.pass.batch > 1 ? result : 0;  // of x, in order
        const int64_t gelu = rest + 2 * mlp + s.chunk_sums(count, inner);
        const int64_t mlp_up = rest + std::max(state + part, result) + up +
                               s.linear_room(first, count, hidden, inner, hidden);
        const int64_t heads = rest - mlp + result + up + 3 * state + heads_room;
        const int64_t whole = 3 * result + 4 * state + up + qkv + linear2 +
                              s.linear_room(first, s.all, hidden, 3 * hidden, hidden);
        const int64_t weight = 3 * result + state + weights + up + qkv;
        const int64_t slices = 2 * result + 3 * state + weights;
        most = std::max({most, gelu, mlp_up, heads, whole, weight, slices});
    } else {
        const int64_t heads = rest + mlp + wide + heads_room;
        const int64_t end = (joins ? 4 : 3) * state + wide + weights +
                            s.linear_room(first, s.all, hidden, 3 * hidden + inner, hidden);
        most = std::max({most, heads, end});
    }
    return {.input = state,
            .memo = s.memo(count),
            .graph = graph,
            .forward = forward,
            .backward = most,
            .handing_over = state + 2 * result + weights};
}

UnitActivations embedders(const Sizes& s, int64_t weights) {
    const FluxConfig& c = s.config;
    const int64_t embedded = c.guidance_embed ? 3 : 2;  // each keeps silu's input and result
    const int64_t input = s.tokens(s.pass.image_tokens, c.in_channels) +
                          s.tokens(s.pass.text_tokens, c.context_in_dim) +
                          s.tokens(1, c.vec_in_dim) +
                          (embedded - 1) * s.tokens(1, kTimestepEmbedding) +
                          2 * s.all * c.head_dim() * kFloatBytes;  // positions
    const int64_t graph = s.vectors(2 * embedded);
    return {.input = input,
            .memo = 0,
            .graph = graph,
            .forward = 0,
            .backward = graph + 2 * (s.hidden(s.all) + s.vectors(1)) + weights,
            .handing_over = 2 * s.hidden(s.all) + weights};
}

UnitActivations final_layer(const Sizes& s, int64_t weights) {
    const int64_t image = s.pass.image_tokens;
    // The image's norm; silu and both vectors of the modulation.
    const int64_t result = s.tokens(image, s.config.out_channels);  // given on in fp32
    const int64_t kept_result = s.element == kFloatBytes ? 0 : result;
    const int64_t graph = s.norm(image) + s.hidden(image) + s.vectors(1 + 2) + kept_result;
    const int64_t begin = graph - kept_result + 2 * result;
    const int64_t norm =
        begin + 2 * s.hidden(image) + s.weight(s.config.hidden_size, s.config.out_channels);
    const int64_t end = 3 * s.hidden(image) + weights;
    return {.input = s.hidden(image),
            .memo = 0,
            .graph = graph,
            .forward = 0,
            .backward = std::max(norm, end),
            .handing_over = 2 * result + s.hidden(image) + weights};
}

int64_t kept_by_unit(const std::vector<UnitActivations>& units, size_t i,
                     const units::RecomputePolicy& policy) {
    const int64_t memo = policy.keeps_results ? units[i].memo : 0;
    return units[i].input + (policy.recomputes(i) ? memo : units[i].graph);
}

}  // namespace

std::vector<UnitActivations> activations(const FluxConfig& config, const PassShape& shape) {
    const Sizes sizes(config, shape);
    const auto units = make_units(config);
    std::vector<UnitActivations> all;
    for (size_t i = 0; i < units.size(); ++i) {
        int64_t weights = 0;  // their gradients
        for (const units::Parameter& parameter : units[i]->parameters()) {
            weights += parameter.numel() * sizes.element;
        }
        const auto block = static_cast<int64_t>(i) - 1;
        if (block < 0) {
            all.push_back(embedders(sizes, weights));
        } else if (block < config.depth) {
            all.push_back(double_block(sizes, weights, block));
        } else if (block < config.depth + config.depth_single_blocks) {
            all.push_back(single_block(sizes, weights, block - config.depth));
        } else {
            all.push_back(final_layer(sizes, weights));
        }
    }
    all[1].input += sizes.vectors(1);  // vec, which all blocks share
    return all;
}

int64_t kept_by_forward(const std::vector<UnitActivations>& units,
                        const units::RecomputePolicy& policy) {
    int64_t kept = 0;
    for (size_t i = 0; i < units.size(); ++i) {
        kept += kept_by_unit(units, i, policy);
    }
    return kept;
}

int64_t activation_peak(const std::vector<UnitActivations>& units,
                        const units::RecomputePolicy& policy, std::span<const int64_t> sums) {
    std::vector<int64_t> before{0};  // kept by the units before each
    for (size_t i = 0; i < units.size(); ++i) {
        before.push_back(before.back() + kept_by_unit(units, i, policy));
    }
    int64_t peak = before.back(), later = 0;  // sums of the units after this one
    for (size_t i = units.size(); i-- > 0;) {
        const UnitActivations& unit = units[i];
        const bool recalls = policy.recomputes(i) && policy.keeps_results;
        const int64_t forward = recalls ? 0 : unit.forward + (policy.recomputes(i) ? later : 0);
        const int64_t backward = later + unit.backward;
        later += sums.empty() ? 0 : sums[i];
        peak = std::max(peak, before[i] + unit.input +
                                  std::max({forward, backward, later + unit.handing_over}));
    }
    return peak;
}

}  // namespace flux::model
