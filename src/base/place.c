/* place.c - see place.h. */
#include "base/place.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/hub.h"

static const char *what_it_is(nib_place what)
{
    return what == NIB_PLACE_MODEL
               ? "a model is a directory with config.json, tokenizer.json and model.safetensors "
                 "(or a .gguf file)"
               : "an adapter is a directory with adapter_config.json and adapter_model.safetensors";
}

/* What to do about a name of the hub. */
static nib_status fail_hub(const char *name, nib_error *err)
{
    char cache[PATH_MAX];

    if (!nib_hub_cache(cache, sizeof cache)) strcpy(cache, "it has no place: HF_HOME is not set");
    return nib_fail(err, NIB_E_IO,
                    "%s: there is no such directory, nor is it in the cache of the hub (%s); it is "
                    "fetched with: nibble pull %s", name, cache, name);
}

nib_status nib_place_check(const char *dir, const char *file, nib_place what, nib_error *err)
{
    char path[PATH_MAX];
    struct stat info;

    if (stat(dir, &info)) {
        if (errno != ENOENT && errno != ENOTDIR)
            return nib_fail(err, NIB_E_IO, "%s: %s", dir, strerror(errno));
        if (strchr(dir, '/') && nib_hub_is_name(dir)) return fail_hub(dir, err);
        return nib_fail(err, NIB_E_IO, "%s: there is no such directory; %s", dir, what_it_is(what));
    }
    if (!S_ISDIR(info.st_mode))
        return nib_fail(err, NIB_E_IO, "%s: a file; %s", dir, what_it_is(what));
    if (snprintf(path, sizeof path, "%s/%s", dir, file) >= (int)sizeof path || stat(path, &info))
        return nib_fail(err, NIB_E_IO, "%s: there is no %s in it; %s", dir, file, what_it_is(what));
    return NIB_OK;
}
