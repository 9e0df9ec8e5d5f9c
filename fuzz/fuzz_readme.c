/* fuzz_readme.c - any bytes as the README.md of a data set's folder.
 *
 * The first byte chooses: bit 0 a config's name, bit 1 a split.  Every pattern that comes out is
 * tried on a few paths. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "format/record_configs.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static nib_ctx *ctx; /* one for the whole run: it starts threads */
static char dir[64], path[96];

static void clean(void)
{
    nib_ctx_destroy(ctx);
    unlink(path);
    rmdir(dir);
}

static void prepare(void)
{
    snprintf(dir, sizeof dir, "%s/nibble-fuzz-XXXXXX",
             access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm");
    if (nib_ctx_create(&(nib_ctx_options){ .threads = 1 }, &ctx, NULL) || !mkdtemp(dir)) abort();
    snprintf(path, sizeof path, "%s/README.md", dir);
    atexit(clean);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static const char *const paths[] = { "", "a", "a/b", "train/x.jsonl", "a/b/c/d.jsonl" };
    nib_record_config c = { 0 };
    nib_error err = { .message = "" };
    FILE *f;

    if (!ctx) prepare();
    if (bytes < 1) return 0;
    f = fopen(path, "wb");
    if (!f || fwrite(data + 1, 1, bytes - 1, f) != bytes - 1 || fclose(f)) abort();
    if (nib_record_config_choose(ctx, dir, data[0] & 1 ? "one" : NULL, data[0] & 2 ? "test" : NULL,
                                 &c, &err)) {
        if (!err.message[0]) abort();
    } else if (c.split && (!c.count || !c.name)) {
        abort();
    }
    for (size_t i = 0; i < c.count && i < 20; i++)
        for (size_t k = 0; k < NIB_COUNT(paths); k++) nib_path_matches(c.patterns[i], paths[k]);
    nib_record_config_free(ctx, &c);
    nib_ctx_warnings_clear(ctx);
    return 0;
}
