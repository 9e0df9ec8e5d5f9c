/* list.h - every kernel once, the better after the worse; a family's entries lie in its file. */
#include "kernel/list_gemm.h"
#include "kernel/list_elementwise.h"
#include "kernel/list_attention.h"
#include "kernel/list_recurrence.h"
#include "kernel/list_quant.h"
#include "kernel/list_optimizer.h"
