/* fuzz_csv.c - any bytes as a csv or tsv file: refused, or records of the header's columns. */
#include <stdlib.h>

#include "format/table.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void read_all(nib_ctx *ctx, const uint8_t *data, size_t bytes, nib_table_kind kind)
{
    nib_table *t = NULL;
    nib_error err;

    if (nib_table_open_memory(ctx, data, bytes, "input", kind, &t, &err)) return;
    for (size_t lines = 0;; lines++) {
        json_t *record = NULL;

        if (nib_table_next(t, &record, &err) || !record) break;
        if (json_object_size(record) != nib_table_column_count(t)) abort();
        if (lines > bytes) abort(); /* a row has at least its line's end */
        json_decref(record);
    }
    nib_table_close(t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static nib_ctx *ctx; /* one for the whole run: it starts threads */

    if (!ctx && nib_ctx_create(&(nib_ctx_options){ .threads = 1 }, &ctx, NULL)) abort();
    read_all(ctx, data, bytes, NIB_TABLE_CSV);
    read_all(ctx, data, bytes, NIB_TABLE_TSV);
    return 0;
}
