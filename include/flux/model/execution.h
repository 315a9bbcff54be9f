// How the transformer computes what its weights mean; no weight depends on it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "flux/kernels/float8.h"
#include "flux/kernels/fused.h"
#include "flux/model/flux_config.h"

namespace flux::model {

struct Execution {
    kernels::Path path = kernels::Path::kFused;
    /// Of the blocks' linear layers,
    kernels::Products products{};
    /// but for those whose name holds one of these words.
    std::vector<std::string> plain_layers{};

    /// Of a linear layer of a block; plain if a side is not what FP8 takes.
    kernels::Products products_of(std::string_view layer, int64_t in, int64_t out) const;
};

/// A linear layer of a block, its modulation's apart.
struct BlockLinear {
    std::string name;  // "double_blocks.0.img_attn.qkv"
    int64_t in;
    int64_t out;
};

/// In the blocks' order.
std::vector<BlockLinear> block_linears(const FluxConfig& config);

}  // namespace flux::model
