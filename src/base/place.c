/* place.c - see place.h. */
#include "base/place.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>

static const char *what_it_is(nib_place what)
{
    return what == NIB_PLACE_MODEL
               ? "a model is a directory with config.json, tokenizer.json and model.safetensors "
                 "(or a .gguf file)"
               : "an adapter is a directory with adapter_config.json and adapter_model.safetensors";
}

/* "organisation/name", which no path beginning with . or / is. */
static bool is_hub_name(const char *name)
{
    const char *slash = strchr(name, '/');

    return slash && slash > name && slash[1] && !strchr(slash + 1, '/') && *name != '.' &&
           *name != '~';
}

nib_status nib_place_check(const char *dir, const char *file, nib_place what, nib_error *err)
{
    char path[PATH_MAX];
    struct stat info;

    if (stat(dir, &info)) {
        if (errno != ENOENT && errno != ENOTDIR)
            return nib_fail(err, NIB_E_IO, "%s: %s", dir, strerror(errno));
        if (is_hub_name(dir))
            return nib_fail(err, NIB_E_IO,
                            "%s: there is no such directory, and nothing is downloaded here; a "
                            "name of the hub is fetched with: hf download %s --local-dir DIR",
                            dir, dir);
        return nib_fail(err, NIB_E_IO, "%s: there is no such directory; %s", dir, what_it_is(what));
    }
    if (!S_ISDIR(info.st_mode))
        return nib_fail(err, NIB_E_IO, "%s: a file; %s", dir, what_it_is(what));
    if (snprintf(path, sizeof path, "%s/%s", dir, file) >= (int)sizeof path || stat(path, &info))
        return nib_fail(err, NIB_E_IO, "%s: there is no %s in it; %s", dir, file, what_it_is(what));
    return NIB_OK;
}
