#define FLUX_ROW_KERNELS kRowKernelsAvx2
#include "kernels/row_kernels_body.h"
