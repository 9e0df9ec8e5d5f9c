/* dump_table.c - prints the records of a .csv, .tsv or .parquet file as JSON lines, for
 * test_containers.py.   dump_table FILE [COLUMN...]   (only these columns; all if none is named) */
#include <stdio.h>
#include <stdlib.h>

#include "format/table.h"

static void use_only(nib_table *t, char **names, int count)
{
    for (size_t i = 0; i < nib_table_column_count(t); i++) {
        bool named = false;

        for (int n = 0; n < count; n++)
            named = named || !strcmp(names[n], nib_table_column_name(t, i));
        nib_table_use_column(t, i, named);
    }
}

int main(int argc, char **argv)
{
    nib_ctx *ctx = NULL;
    nib_table *t = NULL;
    nib_table_kind kind;
    nib_error err;
    nib_status status;

    if (argc < 2 || !nib_table_kind_of(argv[1], &kind)) {
        fprintf(stderr, "usage: dump_table FILE.csv|FILE.tsv|FILE.parquet [COLUMN...]\n");
        return 2;
    }
    status = nib_ctx_create(&(nib_ctx_options){ .threads = 1 }, &ctx, &err);
    if (!status) status = nib_table_open(ctx, argv[1], kind, &t, &err);
    if (!status && argc > 2) use_only(t, argv + 2, argc - 2);
    while (!status) {
        json_t *record = NULL;

        status = nib_table_next(t, &record, &err);
        if (status || !record) break;
        if (json_dumpf(record, stdout, JSON_COMPACT | JSON_REAL_PRECISION(17)) ||
            putchar('\n') == EOF)
            abort();
        json_decref(record);
    }
    if (status) fprintf(stderr, "%s\n", err.message);
    nib_table_close(t);
    nib_ctx_destroy(ctx);
    return status ? 1 : 0;
}
