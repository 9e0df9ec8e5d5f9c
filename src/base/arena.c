/* arena.c - large blocks through the context's allocator, aligned and touched. */
#include "base/arena.h"

#include <sys/mman.h>

enum { HUGE_PAGE = 2 << 20, ALIGNMENT = 64 };

nib_status nib_arena_create(nib_ctx *ctx, size_t bytes, nib_arena *out, nib_error *err)
{
    /* Room to align, and in front of the base the pointer that free() wants. */
    size_t alignment = bytes >= HUGE_PAGE ? HUGE_PAGE : ALIGNMENT, total;
    uint8_t *memory, *base;

    *out = (nib_arena){ 0 };
    if (__builtin_add_overflow(bytes, alignment + sizeof memory, &total))
        return nib_fail(err, NIB_E_NOMEM, "an arena of %zu bytes cannot be", bytes);
    memory = nib_alloc(ctx, total);
    if (!memory) return nib_fail(err, NIB_E_NOMEM, "out of memory: an arena of %zu bytes", bytes);
    base = (uint8_t *)nib_round_up((uintptr_t)memory + sizeof memory, alignment);
    memcpy(base - sizeof memory, &memory, sizeof memory);
    /* a wish */
    if (bytes >= HUGE_PAGE) madvise(base, bytes / HUGE_PAGE * HUGE_PAGE, MADV_HUGEPAGE);
    memset(base, 0, bytes);
    *out = (nib_arena){ .base = base, .bytes = bytes };
    return NIB_OK;
}

void nib_arena_destroy(nib_ctx *ctx, nib_arena *arena)
{
    if (arena->base) {
        void *memory;
        memcpy(&memory, arena->base - sizeof memory, sizeof memory);
        nib_free(ctx, memory);
    }
    *arena = (nib_arena){ 0 };
}
