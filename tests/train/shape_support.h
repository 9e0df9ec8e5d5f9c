/* shape_support.h - records written to a file, opened with the small model's tokenizer, and shown
 * as text with what is trained in brackets. */
#ifndef NIB_TESTS_SHAPE_SUPPORT_H
#define NIB_TESTS_SHAPE_SUPPORT_H

#include <stdlib.h>
#include <string.h>

#include "test.h"
#include "train/data.h"

static inline const char *path_of(const char *name)
{
    static char path[4][600];
    static unsigned next;
    char *p = path[next++ % 4];
    snprintf(p, sizeof path[0], "%s/%s", test_tmpdir(), name);
    return p;
}

static inline const char *put_file(const char *name, const char *text)
{
    const char *path = path_of(name);
    FILE *f = fopen(path, "w");
    if (f) fputs(text, f), fclose(f);
    return path;
}

static inline nib_data_options options(const char *name, const char *text)
{
    return (nib_data_options){ .data = put_file(name, text), .max_seq_length = 1024 };
}

static nib_ctx *opened_with; /* the context of the last data set */

static inline nib_status open_data(const nib_data_options *o, nib_dataset **out, nib_error *err)
{
    nib_ctx *ctx = opened_with = test_ctx();
    nib_tokenizer *t = NULL;
    nib_status status = nib_tokenizer_open(ctx, test_data("models/pico"), &t, err);
    nib_dataset_source source = { .options = o, .model_dir = test_data("models/pico"),
                                  .tokenizer = t, .vocabulary = 2048, .now = 86400 };

    *out = NULL;
    if (!status) status = nib_dataset_open(ctx, &source, out, err);
    nib_tokenizer_close(t);
    return status;
}

/* The text of a record, what is trained in brackets; end tokens as $. */
static inline void show(const nib_dataset *d, size_t i, char *to, size_t room)
{
    nib_ctx *ctx = test_ctx();
    nib_tokenizer *t = NULL;
    nib_text_stream *s = NULL;
    nib_record r = nib_dataset_record(d, i);
    nib_error err = { .message = "" };
    bool open = false;
    size_t used = 0;

    *to = 0;
    if (nib_tokenizer_open(ctx, test_data("models/pico"), &t, &err) ||
        nib_text_stream_create(t, false, &s, &err))
        CHECK(false, "%s", err.message);
    for (uint32_t k = 0; s && k < r.length && used < room; k++) {
        const char *text;
        size_t bytes;
        if (nib_text_stream_push(s, r.ids[k], &text, &bytes, &err)) break;
        if (r.ids[k] == nib_tokenizer_eos(t)) text = "$", bytes = 1;
        if (r.trained[k] != open)
            used += (size_t)snprintf(to + used, room - used, "%s", open ? "]" : "[");
        open = r.trained[k];
        used += (size_t)snprintf(to + used, room - used, "%.*s", (int)bytes, text);
    }
    if (used < room) snprintf(to + used, room - used, "%s", open ? "]" : "");
    nib_text_stream_destroy(s);
    nib_tokenizer_close(t);
}

static inline void check_record(const nib_data_options *o, size_t i, const char *want)
{
    nib_dataset *d;
    nib_error err = { .message = "" };
    char got[4096];

    REQUIRE(open_data(o, &d, &err) == NIB_OK, "%s: %s", want, err.message);
    if (i < nib_dataset_count(d)) show(d, i, got, sizeof got);
    else snprintf(got, sizeof got, "%zu records", nib_dataset_count(d));
    CHECK(strcmp(got, want) == 0, "got  %s\n  want %s", got, want);
    nib_dataset_close(d);
}

#endif
