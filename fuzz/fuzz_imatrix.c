/* fuzz_imatrix.c - any bytes as an importance matrix, GGUF or of the older form: refused, or every
 * value is a mean of squares. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "job/importance.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static char path[64];

static void tidy(void) { unlink(path); }

static void write_file(const uint8_t *data, size_t bytes)
{
    FILE *f = fopen(path, "wb");

    if (!f || (bytes && fwrite(data, 1, bytes, f) != bytes) || fclose(f)) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static nib_ctx *ctx; /* one for the whole run: it starts threads */
    nib_importances m = { 0 };
    nib_error err;

    if (!ctx) {
        if (nib_ctx_create(&(nib_ctx_options){ .threads = 1 }, &ctx, &err)) abort();
        snprintf(path, sizeof path, "%s/nibble-imatrix-%ld",
                 access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm", (long)getpid());
        atexit(tidy);
    }
    write_file(data, bytes);
    if (nib_importances_open(ctx, path, &m, &err)) return 0;
    for (size_t i = 0; i < m.count; i++) {
        if (m.items[i].count % m.items[i].groups) abort();
        for (size_t k = 0; k < m.items[i].count; k++)
            if (!(m.items[i].values[k] >= 0 && isfinite(m.items[i].values[k]))) abort();
    }
    nib_importances_free(&m);
    return 0;
}
