/* ops.h - every operation of the kernel table, once; a family's entries lie in its file. */
#include "kernel/ops_gemm.h"
#include "kernel/ops_elementwise.h"
#include "kernel/ops_attention.h"
#include "kernel/ops_recurrence.h"
#include "kernel/ops_quant.h"
#include "kernel/ops_optimizer.h"
