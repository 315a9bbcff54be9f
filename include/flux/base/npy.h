// NumPy's .npy files: one array behind a short text header. Stored encodings come in this form, as
// files and as byte columns of data sets.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

namespace flux {

/// An array where it lies.
struct NpyView {
    std::string descr;     // element type as the file names it: "<u2"
    at::ScalarType dtype;  // as in parse_npy
    std::vector<int64_t> shape;
    std::span<const std::byte> data;  // not always aligned
};

/// The array in `bytes`, which stay where they are; checked like parse_npy.
NpyView view_npy(std::span<const std::byte> bytes, const std::string& place);

/// The array in `bytes` as a CPU tensor of its own. Little-endian C-order arrays of f8 f4 f2 i8 i4
/// i2 i1 u1 b1; u2 gives the same bits as int16, which the caller may view as bfloat16. Throws
/// Error that begins with `place`.
at::Tensor parse_npy(std::span<const std::byte> bytes, const std::string& place);

/// The array in a file.
at::Tensor read_npy(const std::filesystem::path& path);

/// The tensor as the bytes of a version 1 file; bfloat16 becomes u2.
std::string npy_bytes(const at::Tensor& tensor);

/// Replaces the file in one step.
void write_npy(const std::filesystem::path& path, const at::Tensor& tensor);

}  // namespace flux
