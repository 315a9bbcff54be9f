#include "flux/model/execution.h"

#include <algorithm>

#include "flux/model/mmdit.h"

namespace flux::model {

kernels::Products Execution::products_of(std::string_view layer, int64_t in, int64_t out) const {
    const bool fits = in % kernels::kFloat8Alignment == 0 && out % kernels::kFloat8Alignment == 0;
    const bool named = std::any_of(
        plain_layers.begin(), plain_layers.end(),
        [&](const std::string& word) { return layer.find(word) != std::string_view::npos; });
    return fits && !named ? products : kernels::Products{};
}

std::vector<BlockLinear> block_linears(const FluxConfig& config) {
    constexpr std::string_view kWeight = ".weight", kModulation = ".lin.weight";
    const auto units = make_units(config);
    std::vector<BlockLinear> layers;
    for (size_t i = 1; i + 1 < units.size(); ++i) {
        for (const units::Parameter& parameter : units[i]->parameters()) {
            const std::string_view name = parameter.name;
            if (parameter.shape.size() == 2 && !name.ends_with(kModulation)) {
                layers.push_back({std::string(name.substr(0, name.size() - kWeight.size())),
                                  parameter.shape[1], parameter.shape[0]});
            }
        }
    }
    return layers;
}

}  // namespace flux::model
