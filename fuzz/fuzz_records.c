/* fuzz_records.c - any bytes as a data file of lines, JSON or text.
 *
 * The first byte chooses: bits 0 and 1 the kind of file, bit 2 a field.  The rest is the file. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "format/records.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static nib_ctx *ctx; /* one for the whole run: it starts threads */
static char dir[64];

static void clean(void)
{
    nib_ctx_destroy(ctx);
    rmdir(dir);
}

static void prepare(void)
{
    snprintf(dir, sizeof dir, "%s/nibble-fuzz-XXXXXX",
             access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm");
    if (nib_ctx_create(&(nib_ctx_options){ .threads = 1 }, &ctx, NULL) || !mkdtemp(dir)) abort();
    atexit(clean);
}

/* Every record, past those that can be stepped over; never more than the file has bytes, or a
 * packed one may hold. */
static void read_all(nib_records *r, size_t bytes)
{
    for (size_t records = 0;; records++) {
        json_t *record = NULL;
        nib_error err = { 0 };
        nib_status status = nib_records_next(r, &record, &err);

        if (records > 1100 * bytes) abort();
        if (status && !err.message[0]) abort();
        if (status ? !nib_records_can_go_on(r) : !record) return;
        if (!status) json_decref(record);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static const char *const ends[] = { "jsonl", "json", "txt", "json" };
    nib_records *r = NULL;
    nib_error err = { 0 };
    char path[128];
    FILE *f;

    if (!ctx) prepare();
    if (bytes < 1) return 0;
    snprintf(path, sizeof path, "%s/data.%s", dir, ends[data[0] & 3]);
    f = fopen(path, "wb");
    if (!f || fwrite(data + 1, 1, bytes - 1, f) != bytes - 1 || fclose(f)) abort();
    nib_records_options o = { .path = path, .field = data[0] & 4 ? "data" : NULL };
    if (nib_records_open(ctx, &o, &r, &err)) {
        if (!err.message[0]) abort();
    } else {
        read_all(r, bytes);
        nib_records_close(r);
    }
    unlink(path);
    return 0;
}
