/* dump_records.c - prints the records of a data file or folder as JSON lines, for
 * test_containers.py.
 *
 *   dump_records PATH [SPLIT|-] [FIELD|-] [files]     files: only the names of the files */
#include <stdio.h>
#include <stdlib.h>

#include "format/records.h"

static const char *argument(int argc, char **argv, int i)
{
    return argc > i && strcmp(argv[i], "-") ? argv[i] : NULL;
}

static nib_status print_all(nib_records *r, nib_error *err)
{
    for (;;) {
        json_t *record = NULL;
        nib_status status = nib_records_next(r, &record, err);

        if (status || !record) return status;
        if (json_dumpf(record, stdout, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(17)) ||
            putchar('\n') == EOF)
            abort();
        json_decref(record);
    }
}

int main(int argc, char **argv)
{
    nib_records_options o = { .path = argument(argc, argv, 1), .split = argument(argc, argv, 2),
                              .field = argument(argc, argv, 3) };
    nib_ctx *ctx = NULL;
    nib_records *r = NULL;
    nib_error err;
    nib_status status;

    if (!o.path) return 2;
    status = nib_ctx_create(&(nib_ctx_options){ .threads = 1 }, &ctx, &err);
    if (!status) status = nib_records_open(ctx, &o, &r, &err);
    if (!status && argc > 4)
        for (size_t i = 0; i < nib_records_file_count(r); i++) puts(nib_records_file(r, i));
    else if (!status)
        status = print_all(r, &err);
    if (status) fprintf(stderr, "%s\n", err.message);
    nib_records_close(r);
    nib_ctx_destroy(ctx);
    return status ? 1 : 0;
}
