#include "commands/block_operations.h"

#include <ATen/ops/linear.h>
#include <fmt/core.h>

#include <array>
#include <utility>

#include "flux/model/layers.h"

namespace flux::commands {
namespace {

/// [B, tokens, in] times a weight, as `multiply` makes it.
Operation product(const Shape& shape, const std::string& name, int64_t tokens, int64_t in,
                  int64_t out, std::function<at::Tensor(const Tensors&)> multiply) {
    const auto rows = static_cast<double>(shape.batch * tokens);
    const auto from = static_cast<double>(in), to = static_cast<double>(out);
    return {.name = fmt::format("{} {} -> {}", name, in, out),
            .in_floor = true,
            .flops = 6 * rows * from * to,
            .bytes = 3 * (rows * (from + to) + from * to) * static_cast<double>(shape.element()),
            .inputs = {shape.tokens(tokens, in), shape.random({out, in})},
            .forward = [multiply = std::move(multiply)](const Tensors& t) -> Tensors {
                return {multiply(t)};
            }};
}

/// By the functions of the block's own layers. All tokens, as both streams of a double block have
/// as many together; `layer`: its name, or that of the image's.
Operation layer_product(const Shape& shape, const std::string& name, const std::string& layer,
                        int64_t in, int64_t out) {
    const kernels::Products products = shape.execution.products_of(layer, in, out);
    return product(
        shape, name, shape.all(), in, out, [products, path = shape.path](const Tensors& t) {
            return model::LinearRows{.weight = t[1], .bias = {}, .products = products}.product(
                path, {.x = t[0]});
        });
}

Operation modulation(const Shape& shape, int64_t vectors) {
    return product(shape, "modulation", 1, shape.hidden(), vectors * shape.hidden(),
                   [](const Tensors& t) { return at::linear(t[0], t[1]); });
}

Operation attention(const Shape& shape) {
    const int64_t heads = shape.model.num_heads, size = shape.model.head_dim();
    const auto head = [&] { return shape.random({shape.batch, heads, shape.all(), size}); };
    const auto tokens = static_cast<double>(shape.all());
    const double pictures = static_cast<double>(shape.batch * shape.hidden());
    return {.name = "attention",
            .in_floor = true,
            .flops = 14 * pictures * tokens * tokens,  // two products forward, five backward
            .bytes = 12 * pictures * tokens * static_cast<double>(shape.element()),
            .inputs = {head(), head(), head()},
            .forward = [path = shape.path](const Tensors& t) -> Tensors {
                return {kernels::attention(path, t[0], t[1], t[2])};
            }};
}

/// Bytes of so many passes over [B, tokens, width].
double passes(const Shape& shape, double count, int64_t tokens, int64_t width) {
    return count * static_cast<double>(shape.batch * tokens * width * shape.element());
}

Operation norm_modulate(const Shape& shape, int64_t tokens) {
    const int64_t width = shape.hidden();
    return {.name = "norm_modulate",
            .bytes = passes(shape, 5, tokens, width),
            .inputs = {shape.tokens(tokens, width), shape.tokens(1, width), shape.tokens(1, width)},
            .forward = [path = shape.path](const Tensors& t) -> Tensors {
                return {kernels::norm_modulate(path, t[0], t[1], t[2]).x};
            }};
}

Operation gated_residual(const Shape& shape, int64_t tokens) {
    const int64_t width = shape.hidden();
    return {.name = "gated_residual",
            .bytes = passes(shape, 6, tokens, width),
            .inputs = {shape.tokens(tokens, width), shape.tokens(1, width),
                       shape.tokens(tokens, width), shape.random({width})},
            .forward = [path = shape.path](const Tensors& t) -> Tensors {
                return {kernels::gated_residual(path, t[0], t[1], t[2], t[3])};
            }};
}

Operation bias_gelu(const Shape& shape, int64_t tokens) {
    return {.name = "bias_gelu",
            .bytes = passes(shape, 5, tokens, shape.inner()),
            .inputs = {shape.tokens(tokens, shape.inner()), shape.random({shape.inner()})},
            .forward = [path = shape.path](const Tensors& t) -> Tensors {
                return {kernels::bias_gelu(path, t[0], t[1]).x};
            }};
}

/// `inner`: width of the MLP's input behind queries, keys and values; 0: none.
Operation split_heads(const Shape& shape, const model::RotaryTable& positions, int64_t inner) {
    const int64_t width = 3 * shape.hidden() + inner, size = shape.model.head_dim();
    return {.name = inner == 0 ? "split_heads" : "split_heads, gelu",
            .bytes = passes(shape, 5, shape.all(), width),
            .inputs = {shape.tokens(shape.all(), width), shape.random({width}),
                       shape.random({size}), shape.random({size})},
            .forward = [path = shape.path, positions,
                        heads = shape.model.num_heads](const Tensors& t) -> Tensors {
                const std::array parts{kernels::PackedHeads{t[0], t[1], t[2], t[3], heads}};
                const kernels::Heads found =
                    kernels::split_heads(path, parts, positions.cos, positions.sin, 1e-6);
                Tensors all{found.q, found.k, found.v};
                if (found.mlp.x.defined()) {
                    all.push_back(found.mlp.x);
                }
                return all;
            }};
}

Operation times(Operation operation, int64_t count) {
    operation.times = count;
    return operation;
}

}  // namespace

std::vector<Operation> double_block_operations(const Shape& shape,
                                               const model::RotaryTable& positions) {
    std::vector<Operation> all;
    const int64_t hidden = shape.hidden();
    const std::string image = "double_blocks.0.img_";
    all.push_back(layer_product(shape, "qkv", image + "attn.qkv", hidden, 3 * hidden));
    all.push_back(attention(shape));
    all.push_back(layer_product(shape, "proj", image + "attn.proj", hidden, hidden));
    all.push_back(layer_product(shape, "mlp up", image + "mlp.0", hidden, shape.inner()));
    all.push_back(layer_product(shape, "mlp down", image + "mlp.2", shape.inner(), hidden));
    all.push_back(times(modulation(shape, 6), 2));
    all.push_back(times(norm_modulate(shape, shape.all()), 2));
    all.push_back(split_heads(shape, positions, 0));
    all.push_back(bias_gelu(shape, shape.all()));
    all.push_back(times(gated_residual(shape, shape.all()), 2));
    return all;
}

std::vector<Operation> single_block_operations(const Shape& shape,
                                               const model::RotaryTable& positions) {
    std::vector<Operation> all;
    const int64_t hidden = shape.hidden();
    const std::string block = "single_blocks.0.";
    all.push_back(
        layer_product(shape, "linear1", block + "linear1", hidden, 3 * hidden + shape.inner()));
    all.push_back(attention(shape));
    all.push_back(
        layer_product(shape, "linear2", block + "linear2", hidden + shape.inner(), hidden));
    all.push_back(modulation(shape, 3));
    all.push_back(norm_modulate(shape, shape.all()));
    all.push_back(split_heads(shape, positions, shape.inner()));
    all.push_back(gated_residual(shape, shape.all()));
    return all;
}

}  // namespace flux::commands
