/* fixed.h - a row of x in 16 bits of fixed point with a step for each 32 values, for dots with rows
 * of small integers: sums of a block are exact in 32 bits, and a value loses up to 2^-16 of the
 * greatest of its block ("high" in torch.set_float32_matmul_precision). */
#ifndef NIB_KERNEL_FIXED_H
#define NIB_KERNEL_FIXED_H

#include <string.h>

#include "base/base.h"

/* A word is 256 times a signed byte and another one: the greatest is 127 of both. */
enum { NIB_FIXED_BLOCK = 32, NIB_FIXED_HALF = 16, NIB_FIXED_MOST = 127 * 257 };

/* How words lie.  Of the codes in a word of 32 bits, shifted and masked, those are met at a time
 * that lie 8 bits apart, four of 2 or 4 bits, or 16 bits apart, two of 8.  Four words of x are then
 * their four high bytes and their four low ones; of two blocks side by side, 32 and 32; of four, 64
 * and 64. */
typedef enum nib_fixed_order {
    NIB_FIXED_IN_ORDER = 0,
    NIB_FIXED_EVEN_ODD = 1, /* values 0, 2, ... 30, then 1, 3, ... 31 */
    NIB_FIXED_CODES2 = 2,   /* as words of codes of 2 bits meet them; bytes */
    NIB_FIXED_CODES3 = 3,   /* of twelve bits that three words are cut to, two apart */
    NIB_FIXED_CODES4 = 4,   /* bytes */
    NIB_FIXED_CODES8 = 8,
    NIB_FIXED_TURNS = 64, /* two blocks, bytes: values 0, 2, ... 62, then 1, 3, ... 63 */
    NIB_FIXED_HALVES = 65, /* two blocks, bytes: the first halves of both, then the others */
    NIB_FIXED_TURNS4 = 128 /* four blocks, bytes: as TURNS; two that are left are in TURNS */
} nib_fixed_order;

/* How many values an order arranges at a time. */
static inline size_t nib_fixed_unit(nib_fixed_order order)
{
    if (order == NIB_FIXED_TURNS4) return 4 * NIB_FIXED_BLOCK;
    return order >= NIB_FIXED_TURNS ? 2 * NIB_FIXED_BLOCK : NIB_FIXED_BLOCK;
}

/* The order of a unit before which `left` values of a row are left, with it. */
static inline nib_fixed_order nib_fixed_order_of(nib_fixed_order order, size_t left)
{
    return order == NIB_FIXED_TURNS4 && left < nib_fixed_unit(order) ? NIB_FIXED_TURNS : order;
}

/* Which of a unit's values is word i of it. */
static inline size_t nib_fixed_place(nib_fixed_order order, size_t i)
{
    static const uint8_t twelves[4][2] = { { 0, 4 }, { 3, 7 }, { 1, 6 }, { 2, 5 } };
    size_t each;

    switch (order) {
    case NIB_FIXED_EVEN_ODD: return i % NIB_FIXED_HALF * 2 + i / NIB_FIXED_HALF;
    case NIB_FIXED_CODES2: case NIB_FIXED_CODES4:
        each = 8 / (size_t)order; /* codes of a byte */
        return i / 4 / each * 4 * each + i / 4 % each + i % 4 * each;
    case NIB_FIXED_CODES3: return twelves[i / 8][i % 2] * (size_t)4 + i / 2 % 4;
    case NIB_FIXED_CODES8: return i / 4 * 4 + i / 2 % 2 + i % 2 * 2;
    case NIB_FIXED_TURNS: return i % 32 * 2 + i / 32;
    case NIB_FIXED_TURNS4: return i % 64 * 2 + i / 64;
    case NIB_FIXED_HALVES: return i % 32 / 16 * 32 + i / 32 * 16 + i % 16;
    case NIB_FIXED_IN_ORDER: break;
    }
    return i;
}

/* Where the two bytes of word i lie, the high one first: of a unit's bytes. */
static inline void nib_fixed_bytes_of(nib_fixed_order order, size_t i, size_t at[2])
{
    size_t unit = nib_fixed_unit(order), run = unit == NIB_FIXED_BLOCK ? 4 : unit / 2;

    at[0] = i / run * run * 2 + i % run;
    at[1] = at[0] + run;
}

static inline bool nib_fixed_is_bytes(nib_fixed_order order)
{
    return order == NIB_FIXED_CODES2 || order == NIB_FIXED_CODES4 || order >= NIB_FIXED_TURNS;
}

/* Word i of a unit as a number. */
static inline int32_t nib_fixed_word(nib_fixed_order order, const int16_t *unit, size_t i)
{
    const int8_t *bytes = (const int8_t *)unit;
    size_t at[2];

    nib_fixed_bytes_of(order, i, at);
    return nib_fixed_is_bytes(order) ? bytes[at[0]] * 256 + bytes[at[1]] : unit[i];
}

/* Value i of a row of n values in TURNS4. */
static inline int32_t nib_fixed_turned(const int16_t *row, size_t n, size_t i)
{
    size_t first = i - i % nib_fixed_unit(NIB_FIXED_TURNS4);
    nib_fixed_order order = nib_fixed_order_of(NIB_FIXED_TURNS4, n - first);

    i -= first;
    return nib_fixed_word(order, row + first, i % 2 * (nib_fixed_unit(order) / 2) + i / 2);
}

/* Puts it there. */
static inline void nib_fixed_put(nib_fixed_order order, int16_t *unit, size_t i, int32_t word)
{
    int8_t *bytes = (int8_t *)unit, low = (int8_t)(word & 255);
    size_t at[2];

    nib_fixed_bytes_of(order, i, at);
    if (nib_fixed_is_bytes(order)) {
        bytes[at[0]] = (int8_t)((word - low) / 256);
        bytes[at[1]] = low;
    } else {
        unit[i] = (int16_t)word;
    }
}

static inline size_t nib_fixed_bytes(size_t n) { return 2 * n + n / 8 + n / 4; }

/* n values, whole units, or, with TURNS4, a multiple of 64: n words, then for each block its step,
 * then for each half of a block the sum of its values as the words have them.  A step is NaN where
 * a value is not finite, and its words are 0.  `to` holds nib_fixed_bytes(n), aligned to 4. */
typedef void nib_arrange_fixed_fn(size_t n, nib_fixed_order order, const float *x, void *to);

/* Rows that were arranged, ldx bytes apart, from term t on. */
typedef struct nib_fixed_x {
    const int16_t *words;
    const float *steps, *sums;
    size_t ldx;
} nib_fixed_x;

static inline nib_fixed_x nib_fixed_x_at(const void *rows, size_t n, size_t t, size_t ldx)
{
    const int16_t *words = rows;
    const float *steps = (const float *)(const void *)(words + n);

    return (nib_fixed_x){ words + t, steps + t / NIB_FIXED_BLOCK,
                          steps + n / NIB_FIXED_BLOCK + t / NIB_FIXED_HALF, ldx };
}

/* Row m of them. */
static inline nib_fixed_x nib_fixed_row(const nib_fixed_x *x, size_t m)
{
    size_t by = m * x->ldx;

    return (nib_fixed_x){ (const int16_t *)(const void *)((const char *)x->words + by),
                          (const float *)(const void *)((const char *)x->steps + by),
                          (const float *)(const void *)((const char *)x->sums + by), x->ldx };
}

#endif
