/* parquet_values.h - the values of a page, one after another, out of any encoding.
 *
 * A value is its bytes as PLAIN stores them: numbers little-endian, a BOOLEAN one byte 0 or 1, a
 * BYTE_ARRAY without its length.
 *
 *   PLAIN                     as they are; BYTE_ARRAY behind a u32 length; BOOLEAN bits, lowest
 * first RLE_DICTIONARY            byte: bits an index; RLE hybrid of indexes into the dictionary
 * page RLE                       BOOLEAN: u32 length, RLE hybrid of one bit DELTA_BINARY_PACKED
 * INT32, INT64 DELTA_LENGTH_BYTE_ARRAY   lengths as DELTA_BINARY_PACKED, then all bytes
 *   DELTA_BYTE_ARRAY          lengths of what is kept of the value before, as DELTA_BINARY_PACKED;
 *                             what is new, as DELTA_LENGTH_BYTE_ARRAY
 *   BYTE_STREAM_SPLIT         the first byte of all values, the second of all, ...
 *
 * Source: apache/parquet-format, Encodings.md. */
#ifndef NIB_FORMAT_PARQUET_VALUES_H
#define NIB_FORMAT_PARQUET_VALUES_H

#include "format/parquet_bits.h"
#include "format/parquet_file.h"

/* Encoding of parquet.thrift. */
enum nib_parquet_encoding {
    NIB_PARQUET_PLAIN = 0,
    NIB_PARQUET_PLAIN_DICTIONARY = 2,
    NIB_PARQUET_RLE = 3,
    NIB_PARQUET_BIT_PACKED = 4,
    NIB_PARQUET_DELTA_BINARY_PACKED = 5,
    NIB_PARQUET_DELTA_LENGTH_BYTE_ARRAY = 6,
    NIB_PARQUET_DELTA_BYTE_ARRAY = 7,
    NIB_PARQUET_RLE_DICTIONARY = 8,
    NIB_PARQUET_BYTE_STREAM_SPLIT = 9
};

typedef struct nib_parquet_value { const uint8_t *data; size_t bytes; } nib_parquet_value;

/* A dictionary page: PLAIN values, and where each one of a BYTE_ARRAY begins. */
typedef struct nib_parquet_dictionary {
    const uint8_t *data;
    uint32_t count;
    uint32_t *begins; /* BYTE_ARRAY: [count] offsets of the lengths */
} nib_parquet_dictionary;

typedef struct nib_parquet_values {
    nib_ctx *ctx;
    const nib_parquet_node *leaf;
    int64_t encoding;
    const uint8_t *at, *end;
    uint64_t index;           /* BOOLEAN, BYTE_STREAM_SPLIT: values given */
    uint64_t count;           /* BYTE_STREAM_SPLIT: values in the page */
    nib_rle rle;
    nib_delta kept, lengths;  /* of the delta encodings */
    const nib_parquet_dictionary *dictionary;
    uint8_t scratch[64];      /* a number that was put together */
    uint8_t *text;            /* DELTA_BYTE_ARRAY: the value */
    size_t text_bytes, text_room;
} nib_parquet_values;

/* Begins a page of `bytes` at `data`, which has to stay there.  v keeps ctx, leaf and text from
 * page to page.  dictionary: NULL if the chunk has none.  NULL, or what is wrong; an encoding that
 * is not known for this type is refused by its name, *unsupported then true. */
const char *nib_parquet_values_begin(nib_parquet_values *v, int64_t encoding, const uint8_t *data,
                                     size_t bytes, const nib_parquet_dictionary *dictionary,
                                     bool *unsupported);

/* The next value, valid until the next call.  NULL, or what is wrong. */
const char *nib_parquet_values_next(nib_parquet_values *v, nib_parquet_value *out);

/* Checks a dictionary page and finds its values; d->begins is the caller's to free. */
const char *nib_parquet_dictionary_open(nib_ctx *ctx, const nib_parquet_node *leaf,
                                        const uint8_t *data, size_t bytes, int64_t count,
                                        nib_parquet_dictionary *d);

#endif
