/* fuzz_hub.c - any bytes as what a hub answers: a head, the list of a repository's files, a commit.
 *
 * The first byte chooses: below 64 lines of a head, below 128 a commit, else a page of a list, of
 * which then files are chosen.  A path that passes must stay inside its directory. */
#include <stdlib.h>

#include "hub/answer.h"
#include "hub/choose.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static nib_ctx *ctx; /* one for the whole run: it starts threads */

static void clean(void) { nib_ctx_destroy(ctx); }

static void read_head(const char *text, size_t bytes)
{
    nib_answer a = { .linked = false };
    nib_error err = { .message = "" };

    while (bytes) {
        const char *end = memchr(text, '\n', bytes);
        size_t n = end ? (size_t)(end - text) + 1 : bytes;
        nib_answer_line(&a, text, n);
        text += n;
        bytes -= n;
    }
    a.head.code = 429;
    if (!nib_answer_fail(&a, &(nib_hub_settings){ .endpoint = NULL }, "x", &err)) abort();
}

static void read_list(const char *text, size_t bytes)
{
    static const char *const patterns[] = { "*.json", "sub/" };
    nib_hub_listing l = { 0 };
    nib_error err = { .message = "" };
    bool *chosen;

    if (nib_hub_listing_add(ctx, &l, text, bytes, "list", &err) && !err.message[0]) abort();
    chosen = calloc(l.count + 1, sizeof *chosen);
    if (!chosen) abort();
    for (size_t i = 0; i < l.count; i++) {
        const char *path = l.files[i].path;
        if (*path == '/' || !strncmp(path, "../", 3) || strstr(path, "/../") || strstr(path, "//"))
            abort();
    }
    for (int way = 0; way < 4; way++) {
        nib_hub_wish w = { "x", way == 1 ? patterns : NULL, way == 1 ? 2 : 0,
                           way == 2 ? "Q4_K_M" : "", way == 3 };
        if (nib_hub_choose(&l, &w, chosen, &err) && !err.message[0]) abort();
    }
    free(chosen);
    nib_hub_listing_free(ctx, &l);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    char commit[NIB_HUB_COMMIT + 1];
    const char *text = (const char *)data + 1;
    nib_error err = { .message = "" };

    if (!ctx) {
        if (nib_ctx_create(&(nib_ctx_options){ .threads = 1 }, &ctx, NULL)) abort();
        atexit(clean);
    }
    if (bytes < 1) return 0;
    if (data[0] < 64) read_head(text, bytes - 1);
    else if (data[0] >= 128) read_list(text, bytes - 1);
    else if (!nib_hub_read_commit(text, bytes - 1, "commit", commit, &err) &&
             strlen(commit) != NIB_HUB_COMMIT) abort();
    return 0;
}
