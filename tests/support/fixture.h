// A reference fixture: `<name>.json` with settings and scalars, and `<name>.safetensors` with
// tensors, from the folder of model fixtures.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "flux/base/safetensors.h"

namespace flux::test {

class Fixture {
public:
    /// Opens `<model_fixtures()>/<name>.json` and, where it exists, `<name>.safetensors`. Throws
    /// Error naming the file that cannot be read.
    explicit Fixture(const std::string& name);

    const nlohmann::json& json() const { return *json_; }
    bool has(const std::string& tensor) const { return tensors_ && tensors_->has(tensor); }
    /// A copy of the tensor. Throws Error naming it if it is not there.
    at::Tensor tensor(const std::string& name) const;
    /// What follows `prefix` in the names that begin with it: names_after("param.").
    std::vector<std::string> names_after(const std::string& prefix) const;

private:
    std::string name_;
    std::shared_ptr<const nlohmann::json> json_;  // incomplete type here: saves 4 s a test file
    std::optional<SafetensorsFile> tensors_;
};

}  // namespace flux::test
