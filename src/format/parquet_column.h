/* parquet_column.h - one leaf of a Parquet file: its pages, one at a time, as levels and values.
 *
 *     page   PageHeader (thrift.h) | compressed bytes
 *     v1     compressed: repetition levels, definition levels, values; RLE levels behind a u32
 * length v2     repetition levels, definition levels (lengths in the header); compressed: values
 *
 * Of a chunk one data page and the dictionary are held; they are the file's own bytes where they
 * are not compressed.  No page is larger than 256 MiB unpacked, and all columns together hold no
 * more than 1 GiB: both are known before anything is unpacked. */
#ifndef NIB_FORMAT_PARQUET_COLUMN_H
#define NIB_FORMAT_PARQUET_COLUMN_H

#include "format/parquet_values.h"

typedef struct nib_parquet_buffer { uint8_t *data; size_t room; } nib_parquet_buffer;

typedef struct nib_parquet_column {
    const nib_table_source *source;
    const nib_parquet_file *file;
    uint32_t node;
    uint64_t *held;             /* bytes in the buffers of all columns */

    uint64_t at, end, released; /* of the chunk, in the file */
    int32_t codec;
    int64_t chunk_left;         /* values in pages that are still to come */
    nib_parquet_buffer page, dictionary_page;
    nib_parquet_dictionary dictionary;
    bool has_dictionary;

    int64_t page_left;          /* values of the page behind the one at hand */
    nib_rle repetitions, definitions;
    nib_parquet_values values;

    /* The value at hand; ended: there is none, and both levels are 0. */
    uint32_t repetition, definition;
    bool ended;
} nib_parquet_column;

/* c starts zeroed but for source, file, node and held; all zeroed is fine here. */
void nib_parquet_column_close(nib_parquet_column *c);

/* Goes to the first value of a chunk; the one before must have ended. */
nib_status nib_parquet_column_begin(nib_parquet_column *c, const nib_parquet_chunk *chunk,
                                    nib_error *err);

/* The value at hand, whose definition is the leaf's greatest (else it is null: it has none). */
nib_status nib_parquet_column_value(nib_parquet_column *c, nib_parquet_value *out, nib_error *err);

/* Moves to the next one.  A value is to be read, once, before that. */
nib_status nib_parquet_column_advance(nib_parquet_column *c, nib_error *err);

#endif
