#include "flux/train/execution.h"

#include <fmt/format.h>

#include <algorithm>

#include "flux/base/error.h"
#include "flux/kernels/cuda_device.h"
#include "flux/model/mmdit.h"

namespace flux::train {
namespace {

using Kind = kernels::Products::Kind;

bool wants_float8(const config::JobConfig& config) {
    const auto& converters = config.model.converters;
    return std::find(converters.begin(), converters.end(), "float8") != converters.end();
}

bool in_float8(const model::Execution& how, const model::BlockLinear& layer) {
    return how.products_of(layer.name, layer.in, layer.out).kind != Kind::kPlain;
}

void check_names(const std::vector<std::string>& words, const model::FluxConfig& dimensions) {
    const auto units = model::make_units(dimensions);
    for (const std::string& word : words) {
        const auto names_one = [&](const units::Parameter& parameter) {
            const size_t end = parameter.name.rfind('.');  // of the layer's name
            return parameter.name.substr(0, end).find(word) != std::string::npos;
        };
        if (std::none_of(units.begin(), units.end(), [&](const auto& unit) {
                const auto& parameters = unit->parameters();
                return std::any_of(parameters.begin(), parameters.end(), names_one);
            })) {
            fail_config(
                "float8.filter_fqns: \"{}\" is in the name of no layer of this model: names are "
                "such as double_blocks.0.img_attn.qkv and single_blocks.0.linear1",
                word);
        }
    }
}

}  // namespace

model::Execution execution(const config::JobConfig& config) {
    model::Execution how{.path =
                             config.kernels.fused ? kernels::Path::kFused : kernels::Path::kTwin};
    if (wants_float8(config)) {
        how.products = {
            .kind = config.float8.recipe_name == "rowwise" ? Kind::kRowwise : Kind::kTensorwise,
            .emulated = config.float8.emulate};
        how.plain_layers = config.float8.filter_fqns;
    }
    return how;
}

void check_float8_layers(const config::JobConfig& config, const model::FluxConfig& dimensions) {
    if (!wants_float8(config)) {
        return;
    }
    check_names(config.float8.filter_fqns, dimensions);
    const model::Execution how = execution(config);
    const auto layers = model::block_linears(dimensions);
    if (std::none_of(layers.begin(), layers.end(),
                     [&](const auto& layer) { return in_float8(how, layer); })) {
        fail_config(
            "model.converters = [\"float8\"]: takes no layer of this model: float8.filter_fqns = "
            "{} leaves them out, or their sides are no multiples of {} (model.hidden_size = {}); "
            "change these or leave the converter out",
            config.float8.filter_fqns.empty()
                ? "[]"
                : fmt::format("[\"{}\"]", fmt::join(config.float8.filter_fqns, "\", \"")),
            kernels::kFloat8Alignment, dimensions.hidden_size);
    }
}

void check_float8_device(const config::JobConfig& config, c10::Device device) {
    if (!wants_float8(config) || config.float8.emulate) {
        return;
    }
    constexpr const char* kRemedy =
        "train on a GPU of compute capability 8.9 or higher (Ada, Hopper, Blackwell), leave the "
        "converter out, or set float8.emulate = true, which is slow and meant for tests";
    if (!device.is_cuda()) {
        fail_config("model.converters = [\"float8\"]: the CPU does not compute in FP8: {}",
                    kRemedy);
    }
    const int capability = kernels::cuda_capability(device.index());  // 0: unknown
    if (capability != 0 && capability < kernels::kFloat8Capability) {
        fail_config(
            "model.converters = [\"float8\"]: {}, of compute capability {}.{}, does not compute in "
            "FP8: {}",
            kernels::cuda_device_name(device.index()), capability / 10, capability % 10, kRemedy);
    }
}

std::string products_text(const config::JobConfig& config, const model::FluxConfig& dimensions) {
    const model::Execution how = execution(config);
    if (how.products.kind == Kind::kPlain) {
        return {};
    }
    const auto layers = model::block_linears(dimensions);
    return fmt::format(", {} of {} linear layers of the blocks in FP8 {}{}",
                       std::count_if(layers.begin(), layers.end(),
                                     [&](const auto& layer) { return in_float8(how, layer); }),
                       layers.size(),
                       how.products.kind == Kind::kRowwise ? "rowwise" : "tensorwise",
                       how.products.emulated ? " (emulated)" : "");
}

}  // namespace flux::train
