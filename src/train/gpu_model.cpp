#include "flux/train/gpu_model.h"

#include <fmt/ranges.h>

#include <array>

#include "flux/base/error.h"
#include "flux/base/nearest.h"
#include "flux/metrics/meter.h"

namespace flux::train {
namespace {

struct Row {
    const char* name;
    double memory_gib;
    double intra_node_gbs;
    double inter_node_gbs;
};

/// Of what a data sheet's link carries, collectives of some ten megabytes and more reach this.
constexpr double kLinkShare = 0.8;

// Memory as the drivers report it to programs: of the 80, 141, 180 and 192 GB of the data sheets.
// Links in one direction, half of what the data sheets add up: NVLink 4 900 GB/s (H100 SXM, H200
// SXM), NVLink 5 1800 GB/s (HGX B200), Infinity Fabric 7 x 128 GB/s (MI300X platform). Between
// machines one adapter of 400 Gb/s for each GPU, as in DGX H100, DGX H200, DGX B200 and the usual
// MI300X servers. Peaks: metrics/meter.cpp.
constexpr std::array<Row, 4> kRows{{{"h100", 79.1, 450, 50},
                                    {"h200", 139.8, 450, 50},
                                    {"b200", 178.3, 900, 50},
                                    {"mi300x", 191.9, 448, 50}}};

}  // namespace

GpuModel gpu_model(std::string_view name) {
    for (const Row& row : kRows) {
        if (row.name == name) {
            return {.name = row.name,
                    .memory_gib = row.memory_gib,
                    .tflops = metrics::peak_tflops(row.name).value(),
                    .intra_node_gbs = kLinkShare * row.intra_node_gbs,
                    .inter_node_gbs = kLinkShare * row.inter_node_gbs};
        }
    }
    const std::vector<std::string> names = gpu_model_names();
    fail_config("command line: --gpu {}: unknown{}; there are {}", name, did_you_mean(name, names),
                fmt::join(names, ", "));
}

std::vector<std::string> gpu_model_names() {
    std::vector<std::string> names;
    for (const Row& row : kRows) {
        names.emplace_back(row.name);
    }
    return names;
}

}  // namespace flux::train
