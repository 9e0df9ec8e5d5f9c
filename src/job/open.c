/* open.c - names and types that several jobs settle alike. */
#include "job/open.h"

#include <limits.h>
#include <stdlib.h>

#include "base/filemap.h"

/* "models--org--name/snapshots/<hash>" somewhere in `path`: where org begins, NULL when there is
 * none. */
static const char *find_hub_name(const char *path, size_t *org, size_t *bytes)
{
    const char *begin = strstr(path, "models--"), *end, *gap;

    if (!begin || (begin > path && begin[-1] != '/')) return NULL;
    begin += strlen("models--");
    end = strchr(begin, '/');
    gap = strstr(begin, "--");
    if (!end || strncmp(end, "/snapshots/", 11) != 0 || !gap || gap >= end) return NULL;
    *org = (size_t)(gap - begin);
    *bytes = (size_t)(end - begin);
    return begin;
}

/* org/name when `dir` lies in a hub cache (.../models--org--name/snapshots/<hash>), as it is typed
 * or as it is called in full; allocated.  NULL with NIB_OK: it does not. */
static nib_status hub_name(nib_ctx *ctx, const char *dir, char **out, nib_error *err)
{
    char real[PATH_MAX];
    size_t org = 0, bytes = 0;
    const char *name = find_hub_name(dir, &org, &bytes);

    *out = NULL;
    if (!name && realpath(dir, real)) name = find_hub_name(real, &org, &bytes);
    if (!name) return NIB_OK;
    *out = nib_sprintf(ctx, "%.*s/%.*s", (int)org, name, (int)(bytes - org - 2), name + org + 2);
    return *out ? NIB_OK : nib_fail(err, NIB_E_NOMEM, "%s: out of memory", dir);
}

char *nib_base_model_name(nib_ctx *ctx, const char *given, const char *dir, const json_t *config)
{
    const char *path = json_string_value(json_object_get(config, "_name_or_path"));
    char *hub;

    if (given) return nib_strdup(ctx, given);
    if (hub_name(ctx, dir, &hub, NULL)) return NULL;
    if (hub) return hub;
    return nib_strdup(ctx, path && *path ? path : dir);
}

nib_dtype nib_open_compute(nib_ctx *ctx, nib_compute wanted)
{
    if (wanted == NIB_COMPUTE_FLOAT16)
        nib_note(ctx, "compute_dtype float16 is computed in float32");
    return nib_compute_type(ctx, wanted);
}
