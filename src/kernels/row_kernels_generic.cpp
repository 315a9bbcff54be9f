#define FLUX_ROW_KERNELS kCpuKernelsGeneric
#include "kernels/row_kernels_body.h"
