/* open.c - names and types that several jobs settle alike. */
#include "job/open.h"

#include "base/filemap.h"

/* ".../models--org--name/snapshots/<hash>" -> "org/name" */
static char *hub_name(nib_ctx *ctx, const char *dir)
{
    const char *begin = strstr(dir, "models--"), *end, *gap;

    if (!begin || !(end = strstr(begin, "/snapshots/"))) return NULL;
    begin += strlen("models--");
    gap = strstr(begin, "--");
    if (!gap || gap >= end) return NULL;
    return nib_sprintf(ctx, "%.*s/%.*s", (int)(gap - begin), begin, (int)(end - gap - 2), gap + 2);
}

char *nib_base_model_name(nib_ctx *ctx, const char *given, const char *dir, const json_t *config)
{
    const char *path = json_string_value(json_object_get(config, "_name_or_path"));
    char *hub;

    if (given) return nib_strdup(ctx, given);
    hub = hub_name(ctx, dir);
    if (hub) return hub;
    return nib_strdup(ctx, path && *path ? path : dir);
}

nib_status nib_open_tokenizer(nib_ctx *ctx, const char *dir, nib_tokenizer **out, nib_error *err)
{
    char *path = nib_sprintf(ctx, "%s/tokenizer.json", dir);
    nib_status status = NIB_OK;

    if (!path) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", dir);
    if (nib_file_exists(path)) status = nib_tokenizer_open(ctx, dir, out, err);
    nib_free(ctx, path);
    return status;
}

nib_dtype nib_open_compute(nib_ctx *ctx, nib_compute wanted)
{
    if (wanted == NIB_COMPUTE_FLOAT16) nib_note(ctx, "compute_dtype float16 is computed in float32");
    return nib_compute_type(ctx, wanted);
}
