// Which of the bodies of row_kernels.h runs here.
#pragma once

#include <c10/core/ScalarType.h>

#include "kernels/row_kernels.h"

namespace flux::kernels {

/// The instruction set that ATen takes, which ATEN_CPU_CAPABILITY may lower.
enum class InstructionSet { kGeneric, kAvx2, kAvx512 };
InstructionSet instruction_set();

/// The bodies for it. dtype: fp32 or bf16.
const CpuKernels& cpu_kernels(at::ScalarType dtype);

}  // namespace flux::kernels
