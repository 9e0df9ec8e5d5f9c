/* tiles_amx.h - the tile instructions of AMX that kernels use, or the same made of loops
 * (NIB_EMULATE_AMX): each *_amx.c is built both ways, so that machines that lack them test it.
 *
 * A tile is a register of up to 16 rows of up to 64 bytes; its number in an instruction is a digit.
 * The compilers' own intrinsics do not say that they read memory, so that stores before them may be
 * moved behind them.
 *
 * The emulated product keeps the sums of even and of odd members of pairs apart and adds both at
 * the end of a step, as the "Operation" of TDPBF16PS has it in Intel's guide (intel.com/content/
 * www/us/en/docs/intrinsics-guide).  It flushes nothing, so it equals the instruction but for
 * subnormal values. */
#ifndef NIB_KERNEL_TILES_AMX_H
#define NIB_KERNEL_TILES_AMX_H

#include "kernel/simd.h"

enum { NIB_TILE_ROWS = 16, NIB_TILE_BYTES = 64, NIB_TILES = 8 };

/* What TILE_SHAPES reads: palette 1, and the size of each tile. */
typedef struct tile_shapes {
    uint8_t palette, start, reserved[14];
    uint16_t bytes[16]; /* of a row */
    uint8_t rows[16];
} tile_shapes;

#ifdef NIB_EMULATE_AMX
#include <math.h>

#define NIB_TILES_VARIANT(op) nib_##op##_amxemu

typedef struct tile_state {
    tile_shapes shapes;
    uint8_t data[NIB_TILES][NIB_TILE_ROWS][NIB_TILE_BYTES];
} tile_state;

NIB_INLINE void set_shapes(tile_state *t, const tile_shapes *to)
{
    t->shapes = *to;
    memset(t->data, 0, sizeof t->data);
}
NIB_INLINE void load_tile(tile_state *t, int i, const void *from, size_t apart)
{
    for (size_t r = 0; r < t->shapes.rows[i]; r++)
        memcpy(t->data[i][r], (const char *)from + r * apart, t->shapes.bytes[i]);
}
NIB_INLINE void store_tile(const tile_state *t, int i, void *to, size_t apart)
{
    for (size_t r = 0; r < t->shapes.rows[i]; r++)
        memcpy((char *)to + r * apart, t->data[i][r], t->shapes.bytes[i]);
}
NIB_INLINE void add_product(tile_state *t, int sums, int x, int y)
{
    for (size_t m = 0; m < t->shapes.rows[sums]; m++) {
        float even[NIB_TILE_ROWS] = { 0 }, odd[NIB_TILE_ROWS] = { 0 }, sum[NIB_TILE_ROWS];
        uint16_t a[NIB_TILE_BYTES / 2], b[NIB_TILE_BYTES / 2];

        memcpy(a, t->data[x][m], sizeof a);
        for (size_t k = 0; k < t->shapes.rows[y]; k++) {
            float first = nib_bf16_to_f32(a[2 * k]), second = nib_bf16_to_f32(a[2 * k + 1]);
            memcpy(b, t->data[y][k], sizeof b);
            for (size_t n = 0; n < NIB_TILE_ROWS; n++) {
                even[n] = fmaf(first, nib_bf16_to_f32(b[2 * n]), even[n]);
                odd[n] = fmaf(second, nib_bf16_to_f32(b[2 * n + 1]), odd[n]);
            }
        }
        memcpy(sum, t->data[sums][m], sizeof sum);
        for (size_t n = 0; n < NIB_TILE_ROWS; n++) sum[n] += even[n] + odd[n];
        memcpy(t->data[sums][m], sum, sizeof sum);
    }
}
#define TILE_SHAPES(t, shapes) set_shapes(t, shapes)
#define TILE_ZERO(t, i) memset((t)->data[i], 0, sizeof (t)->data[i])
#define TILE_LOAD(t, i, from, apart) load_tile(t, i, from, apart)
#define TILE_LOAD_ONCE TILE_LOAD
#define TILE_STORE(t, i, to, apart) store_tile(t, i, to, apart)
#define TILE_PRODUCT(t, sums, x, y) add_product(t, sums, x, y)
#define TILE_RELEASE(t) (void)(t)

#else
#define NIB_TILES_VARIANT(op) nib_##op##_amx

typedef struct tile_state { char none; } tile_state; /* tiles are registers */

#define TILE_ASM(t, ...)                                                                           \
    do {                                                                                           \
        (void)(t);                                                                                 \
        __asm__ volatile(__VA_ARGS__);                                                             \
    } while (0)
/* Sets all tiles to 0. */
#define TILE_SHAPES(t, shapes) TILE_ASM(t, "ldtilecfg %0" : : "m"(*(shapes)))
#define TILE_ZERO(t, i) TILE_ASM(t, "tilezero %%tmm" #i : :)
/* Rows lie `apart` bytes apart. */
#define TILE_LOAD(t, i, from, apart)                                                               \
    TILE_ASM(t, "tileloadd (%0,%1,1), %%tmm" #i : : "r"(from), "r"((size_t)(apart)) : "memory")
/* What is not to take the place of others in the first cache. */
#define TILE_LOAD_ONCE(t, i, from, apart)                                                          \
    TILE_ASM(t, "tileloaddt1 (%0,%1,1), %%tmm" #i                                                  \
             : : "r"(from), "r"((size_t)(apart)) : "memory")
#define TILE_STORE(t, i, to, apart)                                                                \
    TILE_ASM(t, "tilestored %%tmm" #i ", (%0,%1,1)" : : "r"(to), "r"((size_t)(apart)) : "memory")
/* sums[m][n] += the sum over k of x[m][k] y[k][n], pairs of bfloat16. */
#define TILE_PRODUCT(t, sums, x, y)                                                                \
    TILE_ASM(t, "tdpbf16ps %%tmm" #y ", %%tmm" #x ", %%tmm" #sums : :)
/* A thread without tiles is switched at less cost: they are 8 KiB. */
#define TILE_RELEASE(t) TILE_ASM(t, "tilerelease" : :)
#endif

#endif
