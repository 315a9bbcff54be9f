// Linear layers in 8-bit floating point (FP8), with scales found anew for every product. Numerics
// follow torchao's recipes `tensorwise` and `rowwise`.
//
// Legend: B batch, T tokens, C channels of an input, out channels of the result.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>

#include "flux/kernels/fused.h"

namespace flux::kernels {

/// How the three products of a linear layer are made: y = x W^T, dx = dy W, dW = dy^T x.
struct Products {
    enum class Kind {
        kPlain,       // in the tensors' dtype
        kTensorwise,  // one scale a tensor; x and W in e4m3, dy in e5m2
        kRowwise,     // one scale, a power of two, for each row and column that is multiplied; e4m3
    };
    Kind kind = Kind::kPlain;
    /// The same numbers in 8 bits, multiplied in fp32: on every device, and slower than kPlain.
    bool emulated = false;

    bool operator==(const Products&) const = default;
};

/// Both sides of a weight must be multiples of it.
inline constexpr int64_t kFloat8Alignment = 16;

/// [parts] weight^T of one or two parts; takes part in autograd. Casts are fused on GPUs, if
/// built with a CUDA compiler, and give the same bits as the twin's; backward casts again. What is
/// not finite makes the result so. weight: [out, C of all parts], all fp32 or all bf16; result:
/// [B, T, out], which is left in `memo` for a second run. Throws c10::Error for more parts.
at::Tensor float8_linear(Path path, const Products& products, std::span<const LinearInput> parts,
                         const at::Tensor& weight, Memo* memo = nullptr);

}  // namespace flux::kernels
