// The weights of one model as one map from name to tensor, whether they lie in one safetensors file
// or in shards listed by an index:
//   {"metadata": {...}, "weight_map": {"name": "model-00001-of-00003.safetensors", ...}}
#pragma once

#include <map>
#include <string>
#include <vector>

#include "flux/base/safetensors.h"

namespace flux {

class SafetensorsSet {
public:
    /// Opens a file, or with a path that ends in ".json" an index and all its shards, and checks
    /// all headers. Index and shards must name exactly the same tensors; shards lie in the index's
    /// folder or below. Throws Error naming the place.
    explicit SafetensorsSet(const std::filesystem::path& path);

    const std::filesystem::path& path() const { return path_; }
    bool has(const std::string& name) const { return files_by_name_.contains(name); }
    /// Sorted.
    std::vector<std::string> names() const;

    /// Throws Error naming the file if there is no such tensor.
    const TensorInfo& info(const std::string& name) const { return file_of(name).info(name); }
    /// The file that holds the tensor.
    const SafetensorsFile& file_of(const std::string& name) const;
    /// A copy that the caller owns, on the CPU.
    at::Tensor tensor(const std::string& name) const { return file_of(name).tensor(name); }
    /// Copies the tensor into `destination` (the same shape; any dtype and device) without a second
    /// copy in memory.
    void copy_to(const std::string& name, const at::Tensor& destination) const;

private:
    void open_index();

    std::filesystem::path path_;
    std::vector<SafetensorsFile> files_;
    std::map<std::string, size_t> files_by_name_;
};

}  // namespace flux
