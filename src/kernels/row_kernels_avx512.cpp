#define FLUX_ROW_KERNELS kRowKernelsAvx512
#include "kernels/row_kernels_body.h"
