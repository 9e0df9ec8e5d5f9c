/* dispatch.c - chooses each kernel for the processor at hand. */
#include "kernel/kernels.h"

nib_kernels nib_kernels_for(uint32_t cpu)
{
    nib_kernels k = { .bf16_depth = cpu & NIB_CPU_AMX ? 512 : 2048 };
#define KERNEL(op, variant, needs) \
    if ((cpu & (needs)) == (needs)) k.op = nib_##op##_##variant;
#include "kernel/list.h"
#undef KERNEL
    /* Where there are tiles vdpbf16ps is slow: words in fixed point are the faster dot. */
    if (cpu & NIB_CPU_AMX) k.dot4_bf16 = NULL;
    return k;
}
