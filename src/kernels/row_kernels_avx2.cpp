#define FLUX_ROW_KERNELS kCpuKernelsAvx2
#include "kernels/row_kernels_body.h"
