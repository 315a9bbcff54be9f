// How files name and cut the model's weights. Two layouts are in use: the published one, which is
// also ours, and that of the diffusers library. One table stands for both directions.
//
// The diffusers library keeps query, key and value apart where the published layout has one tensor,
// and the last modulation as (scale, shift) instead of (shift, scale). Every tensor of either is
// made of whole rows of the other, so a place in a file is a flat range.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace flux::model {

enum class WeightLayout { kPublished, kDiffusers };

/// Flat elements [begin, end) of a published tensor.
struct FlatRange {
    int64_t begin = 0;
    int64_t end = 0;
    bool operator==(const FlatRange&) const = default;
};

/// A tensor as a layout has it: ranges of one published tensor, laid end to end.
struct StoredTensor {
    std::string name;
    std::vector<int64_t> shape;
    std::vector<FlatRange> from;
};

/// The tensors that together hold the published tensor `name` of this shape, in a model of width
/// `hidden_size`. Throws Error for a name that the layout has no place for.
std::vector<StoredTensor> stored_tensors(WeightLayout layout, const std::string& name,
                                         const std::vector<int64_t>& shape, int64_t hidden_size);

/// Whether a tensor of either layout belongs to the embedder of the guidance strength.
bool is_guidance_weight(std::string_view name);

}  // namespace flux::model
