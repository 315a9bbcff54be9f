// What the pretrained encoders share: where their weights live, and how a file's tensors are bound
// to the parameters that the layers declare.
//
// Binding looks at names and shapes only, so a file is checked as a whole before any data is read.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "flux/base/safetensors_set.h"
#include "flux/units/parameter_store.h"

namespace flux::encoders {

enum class ModelKind { kT5, kClip, kAutoencoder };

/// "T5", "CLIP", "autoencoder", for messages.
std::string_view name_of(ModelKind kind);

/// Where an encoder computes and where its weights wait.
struct Placement {
    at::ScalarType dtype = at::kFloat;
    at::Device device = at::kCPU;
    /// Weights stay in host memory and come to the device a unit at a time.
    bool offload = false;

    units::StoreSettings store() const;
};

/// A tensor as a file names and shapes it.
struct FileTensor {
    std::string name;
    std::vector<int64_t> shape;
};

/// The file's name for a parameter.
using Layout = std::function<FileTensor(const units::Parameter&)>;

/// One parameter and the tensor that it takes its values from.
struct Binding {
    std::string parameter;
    std::string tensor;
};

/// Finds every parameter's tensor. Throws Error naming a tensor that is missing, has another shape
/// or no floating-point type, or that nothing uses and unused_tensors.h does not know.
std::vector<Binding> bind_weights(const SafetensorsSet& weights, ModelKind kind,
                                  std::span<const units::Parameter> parameters,
                                  const Layout& layout);

/// Copies the bound tensors into the store, in its dtype.
void load_weights(const SafetensorsSet& weights, std::span<const Binding> bindings,
                  units::ParameterStore& store);

/// Where a file holds both of two tied tensors, they must be equal: only one is read.
void check_tied_copies(const SafetensorsSet& weights, const std::string& first,
                       const std::string& second);

/// Bytes of a frozen network's weights, on its device and in host memory.
struct WeightBytes {
    int64_t device = 0;
    int64_t host = 0;
    int64_t parameters = 0;  // their number

    WeightBytes& operator+=(const WeightBytes& other);
};
WeightBytes weight_bytes(const std::vector<std::span<const units::Parameter>>& units,
                         const Placement& placement);

template <class UnitList>
WeightBytes weight_bytes_of(const UnitList& units, const Placement& placement) {
    std::vector<std::span<const units::Parameter>> lists;
    for (const auto& unit : units) {
        lists.emplace_back(unit->parameters());
    }
    return weight_bytes(lists, placement);
}

/// All parameters of a list of units, in order.
template <class UnitList>
std::vector<units::Parameter> all_parameters(const UnitList& units) {
    std::vector<units::Parameter> all;
    for (const auto& unit : units) {
        all.insert(all.end(), unit->parameters().begin(), unit->parameters().end());
    }
    return all;
}

}  // namespace flux::encoders
