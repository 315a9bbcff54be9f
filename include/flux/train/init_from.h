// training.init_from: published weights as the first values of a new run, in place of drawn ones.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "flux/base/safetensors_set.h"
#include "flux/model/flux_config.h"
#include "flux/model/weight_layout.h"
#include "flux/units/parameter_store.h"

namespace flux::train {

class InitialWeights {
public:
    /// Opens a safetensors file, the index of its shards or a folder of the diffusers library, and
    /// binds every tensor of the model to its places there; reads no weights. Throws ConfigError
    /// naming the option to change, or Error naming a tensor that is missing, has another shape or
    /// no floating point type, or that the model does not have.
    InitialWeights(const std::filesystem::path& path, const model::FluxConfig& model);

    /// Fills this process's part of all parameters, in fp32; reads only that part of the files.
    void load_into(units::ParameterStore& parameters) const;

private:
    void bind(const model::FluxConfig& model);
    void check_guidance(const model::FluxConfig& model) const;
    void check_tensor(const model::StoredTensor& expected) const;
    void check_nothing_is_left() const;
    void read(const model::StoredTensor& tensor, const units::LocalPart& part,
              const at::Tensor& into) const;

    SafetensorsSet weights_;
    std::map<std::string, std::vector<model::StoredTensor>, std::less<>> places_;  // by parameter
};

}  // namespace flux::train
