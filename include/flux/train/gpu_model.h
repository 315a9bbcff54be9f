// What a plan knows about GPUs that are not at hand.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace flux::train {

struct GpuModel {
    std::string name;
    double memory_gib = 0;  // what programs see
    double tflops = 0;      // dense bf16, peak
    /// What one GPU sends in one direction, in 1e9 bytes a second.
    double intra_node_gbs = 0;
    double inter_node_gbs = 0;

    int64_t memory_bytes() const { return static_cast<int64_t>(memory_gib * (1LL << 30)); }
};

/// h100, h200, b200, mi300x. Throws ConfigError naming the nearest.
GpuModel gpu_model(std::string_view name);
std::vector<std::string> gpu_model_names();

}  // namespace flux::train
