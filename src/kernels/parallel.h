// at::parallel_for() that does run on several threads.
#pragma once

#include <ATen/Parallel.h>

#if !defined(INTRA_OP_PARALLEL)
#error "compile this file with -fopenmp: without it at::parallel_for() is a loop on one thread"
#endif
