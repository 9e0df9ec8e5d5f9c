/* backend_cpu.c - the processor's functions of all operations. */
#include "graph/backend.h"

#define NIB_OPERATION_FUNCTIONS(ID, name) [NIB_OP_##ID] = &nib_cpu_##name,
const nib_backend nib_backend_cpu = { "cpu", { NIB_OPERATIONS(NIB_OPERATION_FUNCTIONS) } };
