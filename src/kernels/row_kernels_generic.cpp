#define FLUX_ROW_KERNELS kRowKernelsGeneric
#include "kernels/row_kernels_body.h"
