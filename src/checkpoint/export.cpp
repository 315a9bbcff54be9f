#include "flux/checkpoint/export.h"

#include <ATen/ops/aminmax.h>
#include <c10/util/Exception.h>

#include <cmath>
#include <string>
#include <vector>

#include "flux/base/dtype.h"
#include "flux/base/error.h"
#include "flux/base/progress.h"
#include "flux/base/safetensors.h"
#include "flux/checkpoint/load.h"

namespace flux::checkpoint {
namespace {

bool fits(const at::Tensor& value, at::ScalarType dtype) {
    const bool finite = std::isfinite(value.item<double>());
    return !finite || std::isfinite(value.to(dtype).to(at::kDouble).item<double>());
}

}  // namespace

at::Tensor converted(const at::Tensor& tensor, c10::ScalarType dtype, const std::string& name) {
    if (tensor.scalar_type() == dtype || tensor.numel() == 0) {
        return tensor.to(dtype);
    }
    const auto [low, high] = at::aminmax(tensor);
    for (const at::Tensor& value : {low, high}) {
        if (!fits(value, dtype)) {
            fail("tensor {}: value {} does not fit into {}: choose bfloat16 or float32", name,
                 value.item<double>(), long_name(dtype));
        }
    }
    return tensor.to(dtype);
}

void export_model(const std::filesystem::path& checkpoint, const std::filesystem::path& out_file,
                  c10::ScalarType dtype, const std::string& kind) {
    TORCH_CHECK(at::isFloatingType(dtype), "weights cannot be exported as ", dtype);
    Checkpoint source(checkpoint);
    std::vector<TensorSpec> specs;
    for (const TensorEntry* entry : source.weights(kind)) {
        specs.push_back({.name = entry->name, .dtype = dtype, .shape = entry->shape});
    }
    if (specs.empty()) {
        fail("{}: holds no model weights to export", checkpoint.string());
    }
    SafetensorsWriter writer(out_file, specs, {{"format", "pt"}}, Existing::kRefuse);
    Progress progress({.label = "export", .unit = "tensors", .total = std::ssize(specs)});
    int64_t done = 0;
    for (const TensorSpec& spec : specs) {
        writer.write(converted(source.tensor(kind, spec.name), dtype, spec.name));
        progress.update(++done);
    }
    writer.commit();
}

}  // namespace flux::checkpoint
