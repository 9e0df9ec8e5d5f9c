/* arena.h - one large block, 64-byte aligned, on huge pages where the system gives
 * them, touched when it is made so that a lack of memory shows then and not later. */
#ifndef NIB_BASE_ARENA_H
#define NIB_BASE_ARENA_H

#include "base/base.h"

typedef struct nib_arena { uint8_t *base; size_t bytes; } nib_arena;

nib_status nib_arena_create(nib_ctx *ctx, size_t bytes, nib_arena *out,
                            nib_error *err); /* zeroed */
void nib_arena_destroy(nib_ctx *ctx, nib_arena *arena);

#endif
