/* parquet_bits.h - the three ways in which Parquet packs small integers.
 *
 *   RLE hybrid   runs, each begun by a varint: n << 1: a value in whole bytes, n times;
 *                g << 1 | 1: g groups of 8 values, `width` bits each, lowest bits first
 *   BIT_PACKED   values one after another, highest bits first (levels of old files)
 *   DELTA_BINARY_PACKED   varints: values a block, miniblocks a block, count; zigzag: the first
 *                value; blocks: zigzag least delta, a byte of width each miniblock, and the
 *                miniblocks, lowest bits first; those behind the last value are left out
 *
 * All give one value after another from where they are; nothing is allocated.
 * Source: apache/parquet-format, Encodings.md. */
#ifndef NIB_FORMAT_PARQUET_BITS_H
#define NIB_FORMAT_PARQUET_BITS_H

#include "base/base.h"

typedef struct nib_rle {
    const uint8_t *at, *end;
    unsigned width;        /* bits a value, at most 32 */
    uint64_t left;         /* values left of the run */
    const uint8_t *packed; /* NULL: the run repeats `value` */
    uint64_t index;        /* in packed */
    uint32_t value;
    bool highest_first;    /* BIT_PACKED: one run, packed */
} nib_rle;

nib_rle nib_rle_open(const uint8_t *data, size_t bytes, unsigned width);
nib_rle nib_bit_packed_open(const uint8_t *data, size_t bytes, unsigned width);
bool nib_rle_next(nib_rle *r, uint32_t *out); /* false: the data end */

unsigned nib_bit_width(uint32_t most); /* bits that hold 0 .. most */

typedef struct nib_delta {
    const uint8_t *at, *end;  /* at: behind the last miniblock that was begun */
    uint64_t count, left;     /* values in all, not yet given */
    uint64_t value;           /* the last one given, or the first to give; wraps as its type does */
    uint64_t least;           /* delta of the block */
    uint64_t a_miniblock;     /* values */
    uint64_t miniblocks;      /* a block */
    uint64_t miniblock;       /* the one at hand in the block */
    uint64_t index;           /* in it */
    const uint8_t *widths, *packed;
} nib_delta;

/* False: the data are not of this encoding. */
bool nib_delta_open(const uint8_t *data, size_t bytes, nib_delta *out);
bool nib_delta_next(nib_delta *d, int64_t *out);
/* Where the data end, found a miniblock at a time; NULL: they end too early. */
const uint8_t *nib_delta_end(nib_delta d);

#endif
