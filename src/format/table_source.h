/* table_source.h - what the readers behind table.h share: the bytes they read, and text. */
#ifndef NIB_FORMAT_TABLE_SOURCE_H
#define NIB_FORMAT_TABLE_SOURCE_H

#include <jansson.h>

#include "base/filemap.h"

/* No record costs more than this in memory, nor does one field: a quote that is never closed,
 * or a list that a few bytes claim to be endless, ends here. */
enum { NIB_TABLE_RECORD_BYTES = 64 << 20 };

typedef struct nib_table_source {
    nib_ctx *ctx;
    const char *name; /* for messages */
    const uint8_t *data;
    size_t bytes;
    const nib_filemap *map; /* NULL: the bytes are the caller's, nothing can be given back */
} nib_table_source;

/* Tells the system that bytes [begin, end) are not needed for now. */
void nib_table_release(const nib_table_source *s, size_t begin, size_t end);

/* Offset of the first byte that is not valid UTF-8 or is NUL (jansson and C strings end there);
 * `bytes` if there is none. */
size_t nib_text_invalid(const uint8_t *text, size_t bytes);

#endif
