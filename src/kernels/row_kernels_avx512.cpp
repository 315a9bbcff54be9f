#define FLUX_ROW_KERNELS kCpuKernelsAvx512
#include "kernels/row_kernels_body.h"
