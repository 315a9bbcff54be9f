#include "flux/train/init_from.h"

#include <ATen/ops/empty.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <cstring>
#include <set>

#include "flux/base/dtype.h"
#include "flux/base/error.h"
#include "flux/base/log.h"
#include "flux/base/shape.h"
#include "flux/checkpoint/diffusers.h"
#include "flux/model/mmdit.h"

namespace flux::train {
namespace {

namespace fs = std::filesystem;

constexpr const char* kOtherModel =
    "the file is of another model: choose its model.flavor and sizes (model.depth, ...)";

/// The file or index that training.init_from means.
fs::path weights_path(const fs::path& path) {
    if (fs::is_directory(path)) {
        if (const auto found = checkpoint::find_diffusers_weights(path)) {
            return *found;
        }
        fail_config(
            "training.init_from = \"{}\": the folder holds no {} or {}, nor does transformer/ in "
            "it; `flux_train checkpoint export` makes a file of a run's checkpoint",
            path.string(), checkpoint::kDiffusersIndex, checkpoint::kDiffusersSingle);
    }
    if (!fs::exists(path)) {
        fail_config("training.init_from = \"{}\": no such file or folder", path.string());
    }
    return path;
}

/// "x" or "x (and 3 more)".
std::string first_of(const std::vector<std::string>& names) {
    return names.size() == 1 ? names.front()
                             : fmt::format("{} (and {} more)", names.front(), names.size() - 1);
}

}  // namespace

InitialWeights::InitialWeights(const fs::path& path, const model::FluxConfig& model)
    : weights_(weights_path(path)) {
    checkpoint::check_diffusers_config(weights_.path().parent_path(), model);
    check_guidance(model);
    bind(model);
    check_nothing_is_left();
}

/// Weights of the other kind of model would differ in these tensors alone.
void InitialWeights::check_guidance(const model::FluxConfig& model) const {
    const std::vector<std::string> names = weights_.names();
    const auto found = std::find_if(names.begin(), names.end(), model::is_guidance_weight);
    if (found != names.end() && !model.guidance_embed) {
        fail_config(
            "model.guidance_embed = false: {} holds {}, as guidance-distilled weights (flux-dev) "
            "do: set model.guidance_embed = true, or take weights without guidance (flux-schnell)",
            weights_.file_of(*found).path().string(), *found);
    }
    if (found == names.end() && model.guidance_embed) {
        fail_config(
            "model.guidance_embed = true: {} holds no guidance_in tensors: set "
            "model.guidance_embed = false, or take guidance-distilled weights (flux-dev)",
            weights_.path().string());
    }
}

void InitialWeights::bind(const model::FluxConfig& model) {
    const auto layout = weights_.has("x_embedder.weight") ? model::WeightLayout::kDiffusers
                                                          : model::WeightLayout::kPublished;
    std::vector<std::string> missing;
    for (const auto& unit : model::make_units(model)) {
        for (const units::Parameter& parameter : unit->parameters()) {
            auto tensors =
                model::stored_tensors(layout, parameter.name, parameter.shape, model.hidden_size);
            for (const model::StoredTensor& tensor : tensors) {
                if (!weights_.has(tensor.name)) {
                    missing.push_back(tensor.name);
                }
            }
            places_.emplace(parameter.name, std::move(tensors));
        }
    }
    if (!missing.empty()) {
        fail("{}: tensor {}: is missing: {}, or it is incomplete", weights_.path().string(),
             first_of(missing), kOtherModel);
    }
    for (const auto& [name, tensors] : places_) {
        std::for_each(tensors.begin(), tensors.end(),
                      [&](const model::StoredTensor& tensor) { check_tensor(tensor); });
    }
}

void InitialWeights::check_tensor(const model::StoredTensor& expected) const {
    const TensorInfo& info = weights_.info(expected.name);
    const std::string place =
        fmt::format("{}: tensor {}", weights_.file_of(info.name).path().string(), info.name);
    if (info.shape != expected.shape) {
        fail("{}: shape = {}: this model has {}: {}", place, shape_text(info.shape),
             shape_text(expected.shape), kOtherModel);
    }
    if (!at::isFloatingType(info.dtype)) {
        fail("{}: dtype = {}: weights must be floating point numbers", place,
             short_name(info.dtype));
    }
}

void InitialWeights::check_nothing_is_left() const {
    std::set<std::string> used;
    for (const auto& [name, tensors] : places_) {
        for (const model::StoredTensor& tensor : tensors) {
            used.insert(tensor.name);
        }
    }
    std::vector<std::string> left;
    for (const std::string& name : weights_.names()) {
        if (!used.contains(name)) {
            left.push_back(name);
        }
    }
    if (!left.empty()) {
        fail("{}: tensor {}: this model does not have it: {}",
             weights_.file_of(left.front()).path().string(), first_of(left), kOtherModel);
    }
}

void InitialWeights::load_into(units::ParameterStore& parameters) const {
    for (const units::FlatShard& shard : parameters.shards()) {
        for (const units::Segment& segment : shard.segments) {
            const units::LocalPart part = units::local_part(shard, segment);
            const auto places = places_.find(segment.name);
            TORCH_CHECK(places != places_.end(), segment.name, " is not bound");
            for (const model::StoredTensor& tensor : places->second) {
                read(tensor, part, part.of(shard.param));
            }
        }
    }
    parameters.parameters_changed();
    log::info("first weights from {}", weights_.path().string());
}

/// What `tensor` holds of the parameter's elements [part.begin, part.end), which `into` is.
void InitialWeights::read(const model::StoredTensor& tensor, const units::LocalPart& part,
                          const at::Tensor& into) const {
    constexpr int64_t kBlock = int64_t{1} << 22;  // elements copied at once; bounds memory
    const TensorInfo& info = weights_.info(tensor.name);
    const auto bytes = weights_.file_of(tensor.name).bytes(tensor.name);
    const size_t element_bytes = c10::elementSize(info.dtype);
    int64_t stored = 0;  // where the range begins in the stored tensor
    for (const model::FlatRange& range : tensor.from) {
        const int64_t begin = std::max(range.begin, part.begin);
        const int64_t end = std::min(range.end, part.end);
        for (int64_t at = begin; at < end; at += kBlock) {
            const int64_t count = std::min(kBlock, end - at);
            const at::Tensor block = at::empty({count}, at::TensorOptions().dtype(info.dtype));
            const auto first = static_cast<size_t>(stored + at - range.begin);
            std::memcpy(block.mutable_data_ptr(), bytes.data() + first * element_bytes,
                        block.nbytes());
            into.narrow(0, at - part.begin, count).copy_(block);
        }
        stored += range.end - range.begin;
    }
}

}  // namespace flux::train
