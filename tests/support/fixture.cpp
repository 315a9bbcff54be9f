#include "support/fixture.h"

#include <nlohmann/json.hpp>

#include "flux/base/error.h"
#include "flux/base/file.h"
#include "support/reference.h"

namespace flux::test {

Fixture::Fixture(const std::string& name) : name_(name) {
    const auto json_path = model_fixtures() / (name + ".json");
    try {
        json_ = std::make_shared<const nlohmann::json>(nlohmann::json::parse(read_text(json_path)));
    } catch (const nlohmann::json::exception& problem) {
        fail("{}: {}", json_path.string(), problem.what());
    }
    const auto tensor_path = model_fixtures() / (name + ".safetensors");
    if (std::filesystem::exists(tensor_path)) {
        tensors_.emplace(tensor_path);
    }
}

at::Tensor Fixture::tensor(const std::string& name) const {
    if (!tensors_) {
        fail("fixture {}: has no safetensors file, so no tensor {}", name_, name);
    }
    return tensors_->tensor(name);
}

std::vector<std::string> Fixture::names_after(const std::string& prefix) const {
    std::vector<std::string> found;
    if (!tensors_) {
        return found;
    }
    for (const TensorInfo& info : tensors_->tensors()) {
        if (info.name.starts_with(prefix)) {
            found.push_back(info.name.substr(prefix.size()));
        }
    }
    return found;
}

}  // namespace flux::test
