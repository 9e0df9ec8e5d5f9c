/* kernels.h - the table of arithmetic, one entry an operation, chosen at run time.
 *
 * list.h names every variant once; the declarations here, the choice in dispatch.c
 * and the cases of tests and benchmarks are made of it.  Prototypes of the
 * operations are the typedefs in the headers named below: one header a family. */
#ifndef NIB_KERNEL_KERNELS_H
#define NIB_KERNEL_KERNELS_H

#include "base/cpu.h"
#include "kernel/additive.h"    /* sums of codebooks' entries */
#include "kernel/adamw8.h"      /* AdamW with 8-bit moments */
#include "kernel/attention.h"   /* attention forward and backward */
#include "kernel/awq_dot.h"     /* few rows times AWQ's codes */
#include "kernel/block_fit.h"   /* their encoders: with a search */
#include "kernel/block_plain.h" /* without */
#include "kernel/blocks.h"      /* ggml's block formats */
#include "kernel/conv.h"        /* depthwise causal convolution */
#include "kernel/dot4.h"        /* one row times low-bit rows */
#include "kernel/dot8.h"        /* rows of 8-bit codes, a sketch of a matrix */
#include "kernel/elementwise.h" /* norms, activations, rotation, softmax and loss, optimizer */
#include "kernel/float4.h"      /* E2M1 under shared scales */
#include "kernel/float8.h"      /* E4M3 to float */
#include "kernel/gemm.h"        /* micro-kernels, packers, dots, 4-bit decoding */
#include "kernel/fixed.h"       /* a row in fixed point */
#include "kernel/grouped_dot.h" /* few rows times grouped integers */
#include "kernel/grouped_row.h" /* of which those of a row lie side by side */
#include "kernel/grouped_panel.h" /* grouped integers into panels */
#include "kernel/panel4.h"      /* 4-bit codes into panels */
#include "kernel/quant4.h"      /* 4-bit encoding */
#include "kernel/rows8.h"       /* rows of signed 8-bit integers */
#include "kernel/scan.h"        /* the delta rule and state spaces */
#include "kernel/wkv.h"         /* RWKV's averages */

typedef struct nib_kernels {
#define KERNEL_OP(op) nib_##op##_fn *op;
#include "kernel/ops.h"
#undef KERNEL_OP
    size_t bf16_depth; /* terms at a time that gemm_bf16 is to have: so many of a panel stay in the
                          cache that it reads them from */
} nib_kernels;

#define KERNEL(op, variant, needs) nib_##op##_fn nib_##op##_##variant;
#include "kernel/list.h"
#undef KERNEL

/* The best kernel of each op for a CPU with the features `cpu`: the last in the
 * list whose needs are met.  Tests pass fewer features than the CPU has. */
nib_kernels nib_kernels_for(uint32_t cpu);

#endif
