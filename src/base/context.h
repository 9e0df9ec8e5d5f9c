/* context.h - what a context holds; only base/ looks inside. */
#ifndef NIB_BASE_CONTEXT_H
#define NIB_BASE_CONTEXT_H

#include "base/base.h"

typedef struct nib_pool nib_pool;

/* Warnings that were given; see warnings.c. */
typedef struct nib_warnings {
    nib_warning *items;
    size_t count, capacity;
    size_t repeated;        /* of them, in a summary */
} nib_warnings;

struct nib_ctx {
    nib_ctx_options options; /* with every default filled in */
    uint32_t cpu;            /* NIB_CPU_ bits in use */
    nib_pool *pool;
    nib_warnings warnings;
    bool quiet;              /* nib_quiet() */
};

nib_status nib_pool_create(nib_ctx *ctx, unsigned threads, nib_pool **out, nib_error *err);
void nib_pool_destroy(nib_ctx *ctx, nib_pool *pool);

#endif
