// safetensors files: a named set of tensors behind one JSON header. The reader maps the file and
// checks the whole header before it hands out a byte; the writer streams, so that a model larger
// than memory can be written.
//
//   file = [ header size, 8 bytes little-endian | JSON header | data ]
//   header: {"name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [begin, end]}, ...}
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "flux/base/file.h"

namespace flux {

struct TensorInfo {
    std::string name;
    at::ScalarType dtype;
    std::vector<int64_t> shape;
    size_t begin = 0;  // bytes, counted from the start of the data
    size_t end = 0;
};

class SafetensorsFile {
public:
    /// Reads and checks the header: sizes, dtypes, offsets inside the file, no gap, no overlap, no
    /// name twice. Throws Error naming file, tensor and value.
    explicit SafetensorsFile(const std::filesystem::path& path);

    const std::filesystem::path& path() const { return file_.path(); }
    /// All tensors in the order of their data.
    std::span<const TensorInfo> tensors() const { return tensors_; }
    std::vector<std::string> names() const;
    bool has(const std::string& name) const { return by_name_.contains(name); }
    /// The file's free text entries ("__metadata__").
    const std::map<std::string, std::string>& metadata() const { return metadata_; }

    /// Throws Error naming the file if there is no such tensor.
    const TensorInfo& info(const std::string& name) const;
    /// Where its data begins in the file, in bytes.
    uint64_t offset(const std::string& name) const { return data_begin_ + info(name).begin; }
    /// A copy that the caller owns, on the CPU.
    at::Tensor tensor(const std::string& name) const;
    /// The mapped bytes, not always aligned; they live as long as this object.
    std::span<const std::byte> bytes(const std::string& name) const;

private:
    MappedFile file_;
    size_t data_begin_ = 0;
    std::vector<TensorInfo> tensors_;
    std::unordered_map<std::string, size_t> by_name_;
    std::map<std::string, std::string> metadata_;
};

/// What a writer is told about a tensor before its data comes.
struct TensorSpec {
    std::string name;
    at::ScalarType dtype;
    std::vector<int64_t> shape;
};

/// Declares all tensors first, then takes their data in the same order in one pass. The file
/// appears under its name in commit() (AtomicFile).
class SafetensorsWriter {
public:
    /// Wider dtypes first where they are mixed: every tensor must begin at a multiple of its
    /// element size, because other readers map the file.
    SafetensorsWriter(const std::filesystem::path& path, std::vector<TensorSpec> specs,
                      const std::map<std::string, std::string>& metadata = {},
                      Existing existing = Existing::kReplace);

    /// The data of the next declared tensor, which it must match in dtype and shape; any device.
    void write(const at::Tensor& tensor);
    /// Every declared tensor must have been written.
    void commit();

private:
    std::vector<TensorSpec> specs_;
    size_t next_ = 0;
    AtomicFile file_;
};

}  // namespace flux
