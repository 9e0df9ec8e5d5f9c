/* fuzz_parquet.c - any bytes as a Parquet file: refused, or rows of the schema's columns.
 *
 * A level's run may say billions of nulls in a few bytes, so only the first rows are read. */
#include <stdlib.h>

#include "format/table.h"

enum { MOST_ROWS = 2000 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static nib_ctx *ctx; /* one for the whole run: it starts threads */
    nib_table *t = NULL;
    nib_error err = { 0 };
    nib_status status;

    if (!ctx && nib_ctx_create(&(nib_ctx_options){ .threads = 1 }, &ctx, NULL)) abort();
    status = nib_table_open_memory(ctx, data, bytes, "input", NIB_TABLE_PARQUET, &t, &err);
    for (size_t rows = 0; !status && rows < MOST_ROWS; rows++) {
        json_t *record = NULL;

        status = nib_table_next(t, &record, &err);
        if (status || !record) break;
        if (json_object_size(record) != nib_table_column_count(t)) abort();
        json_decref(record);
    }
    if (status && !err.message[0]) abort();
    nib_table_close(t);
    return 0;
}
