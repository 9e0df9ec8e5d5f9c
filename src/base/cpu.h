/* cpu.h - what the processor and the operating system can run. */
#ifndef NIB_BASE_CPU_H
#define NIB_BASE_CPU_H

#include "base/base.h"

#if defined(__x86_64__)
#define NIB_ARCH_X86 1
#else
#define NIB_ARCH_X86 0
#endif

enum {
    NIB_CPU_AVX2 = 1 << 0,       /* AVX2, FMA, F16C */
    NIB_CPU_AVX512 = 1 << 1,     /* AVX-512 F, BW, VL, DQ, and all of the above */
    NIB_CPU_AVX512BF16 = 1 << 2, /* vdpbf16ps, vcvtne2ps2bf16, and all of the above */
    NIB_CPU_AMX = 1 << 3         /* AMX's tiles and tdpbf16ps, and all of the above */
};

uint32_t nib_cpu_detect(void);                 /* asks the CPU and the operating system,
                                                  for the use of tiles too */
uint32_t nib_ctx_cpu(const nib_ctx *ctx);      /* as lowered by options or NIBBLE_ISA */
const char *nib_cpu_name(uint32_t cpu);        /* "ref", "avx2", "avx512", "avx512bf16",
                                                  "amx" */
bool nib_cpu_from_name(const char *name, uint32_t *cpu);

#endif
