#include "flux/encoders/frozen.h"

#include <cstring>
#include <set>

#include "encoders/unused_tensors.h"
#include "flux/base/dtype.h"
#include "flux/base/error.h"
#include "flux/base/shape.h"

namespace flux::encoders {
namespace {

/// "x" or "x (and 3 more)".
std::string first_of(const std::vector<std::string>& names) {
    return names.size() == 1 ? names.front()
                             : fmt::format("{} (and {} more)", names.front(), names.size() - 1);
}

void check_tensor(const SafetensorsSet& weights, ModelKind kind, const FileTensor& expected) {
    const TensorInfo& info = weights.info(expected.name);
    const std::string place =
        fmt::format("{}: tensor {}", weights.file_of(expected.name).path().string(), info.name);
    if (info.shape != expected.shape) {
        fail("{}: shape = {}: must be {} in this {}: is it another model's file?", place,
             shape_text(info.shape), shape_text(expected.shape), name_of(kind));
    }
    if (!at::isFloatingType(info.dtype)) {
        fail("{}: dtype = {}: weights must be floating-point numbers", place,
             short_name(info.dtype));
    }
}

}  // namespace

std::string_view name_of(ModelKind kind) {
    switch (kind) {
        case ModelKind::kT5:
            return "T5 encoder";
        case ModelKind::kClip:
            return "CLIP text encoder";
        case ModelKind::kAutoencoder:
            break;
    }
    return "autoencoder";
}

units::StoreSettings Placement::store() const {
    const bool moves = offload && !device.is_cpu();  // else the weights are in host memory already
    return {.compute_dtype = dtype,
            .device = device,
            .slabs = moves ? 1 : 0,
            .trainable = false,
            .host_shards = moves};
}

WeightBytes& WeightBytes::operator+=(const WeightBytes& other) {
    device += other.device;
    host += other.host;
    parameters += other.parameters;
    return *this;
}

WeightBytes weight_bytes(const std::vector<std::span<const units::Parameter>>& units,
                         const Placement& placement) {
    const units::StoreSettings settings = placement.store();
    const units::StoreLayout layout = units::make_layout(units, settings, 1);
    const auto element = static_cast<int64_t>(c10::elementSize(placement.dtype));
    WeightBytes bytes;
    (placement.offload ? bytes.host : bytes.device) = layout.shard() * element;
    for (const int64_t slab : layout.slab_sizes) {
        bytes.device += slab * element;
    }
    for (const auto parameters : units) {
        for (const units::Parameter& parameter : parameters) {
            bytes.parameters += parameter.numel();
        }
    }
    return bytes;
}

std::vector<Binding> bind_weights(const SafetensorsSet& weights, ModelKind kind,
                                  std::span<const units::Parameter> parameters,
                                  const Layout& layout) {
    std::vector<Binding> bindings;
    std::vector<std::string> missing;
    std::set<std::string> used;
    for (const units::Parameter& parameter : parameters) {
        const FileTensor source = layout(parameter);
        if (!weights.has(source.name)) {
            missing.push_back(source.name);
            continue;
        }
        check_tensor(weights, kind, source);
        used.insert(source.name);
        bindings.push_back({parameter.name, source.name});
    }
    if (!missing.empty()) {
        fail("{}: tensor {}: is missing, so this is no complete {}: download it again",
             weights.path().string(), first_of(missing), name_of(kind));
    }
    std::vector<std::string> unexpected;
    for (const std::string& name : weights.names()) {
        if (!used.contains(name) && !is_unused(kind, name)) {
            unexpected.push_back(name);
        }
    }
    if (!unexpected.empty()) {
        fail(
            "{}: tensor {}: is not part of this {}: config.json or the file belongs to another "
            "model",
            weights.file_of(unexpected.front()).path().string(), first_of(unexpected),
            name_of(kind));
    }
    return bindings;
}

void load_weights(const SafetensorsSet& weights, std::span<const Binding> bindings,
                  units::ParameterStore& store) {
    for (const Binding& binding : bindings) {
        const at::Tensor destination = store.parameter(binding.parameter);
        // A 1 x 1 convolution may lie in the file as the matrix that it is.
        weights.copy_to(binding.tensor, destination.view(weights.info(binding.tensor).shape));
    }
    store.parameters_changed();
}

void check_tied_copies(const SafetensorsSet& weights, const std::string& first,
                       const std::string& second) {
    if (!weights.has(first) || !weights.has(second)) {
        return;
    }
    const auto a = weights.file_of(first).bytes(first);
    const auto b = weights.file_of(second).bytes(second);
    if (a.size() != b.size() || std::memcmp(a.data(), b.data(), a.size()) != 0) {
        fail("{}: tensor {}: must equal {}, to which it is tied", weights.path().string(), second,
             first);
    }
}

}  // namespace flux::encoders
