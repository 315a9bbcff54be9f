#include "kernels/row_kernel_choice.h"

#include <ATen/Version.h>

#include <string>

namespace flux::kernels {

InstructionSet instruction_set() {
    static const InstructionSet set = [] {
#if defined(__x86_64__)
        const std::string found = at::get_cpu_capability();
        if (found == "AVX512") {
            return InstructionSet::kAvx512;
        }
        if (found == "AVX2") {
            return InstructionSet::kAvx2;
        }
#endif
        return InstructionSet::kGeneric;
    }();
    return set;
}

const CpuKernels& cpu_kernels(at::ScalarType dtype) {
    const KernelSet<CpuKernels>* set = &kCpuKernelsGeneric;
#if defined(__x86_64__)
    if (instruction_set() == InstructionSet::kAvx512) {
        set = &kCpuKernelsAvx512;
    } else if (instruction_set() == InstructionSet::kAvx2) {
        set = &kCpuKernelsAvx2;
    }
#endif
    return dtype == at::kFloat ? set->fp32 : set->bf16;
}

}  // namespace flux::kernels
