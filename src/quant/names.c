/* names.c - see names.h. */
#include "quant/names.h"

const nib_setting *nib_setting_member(const nib_setting **at, const char *path, const char **name)
{
    size_t n = strlen(path);

    for (const nib_setting *s = *at; s && s->key; s++) {
        if (strncmp(s->key, path, n) != 0 || s->key[n] != '/' || strchr(s->key + n + 1, '/'))
            continue;
        *name = s->key + n + 1;
        *at = s + 1;
        return s;
    }
    return NULL;
}

nib_status nib_names_read(nib_ctx *ctx, const nib_setting *config, const char *key,
                          const char *where, nib_names **out, nib_error *err)
{
    const nib_setting *at = config, *s;
    const char *number;
    size_t count = 0, bytes = 0;
    nib_names *names;
    const char *text = nib_setting_value(config, key);
    char *to;

    *out = NULL;
    if (text && *text != '[') /* the whole, in front of its members */
        return nib_fail(err, NIB_E_FORMAT, "%s%s: expected a list of names or null, got %.60s",
                        where, key, text);
    while ((s = nib_setting_member(&at, key, &number))) {
        if (!s->value)
            return nib_fail(err, NIB_E_FORMAT, "%s%s: entry %s is null, expected a name", where,
                            key, number);
        count++, bytes += strlen(s->value) + 1;
    }
    if (!count) return NIB_OK;
    names = nib_alloc(ctx, sizeof *names + count * sizeof *names->at + bytes);
    if (!names) return nib_fail(err, NIB_E_NOMEM, "%s%s: out of memory", where, key);
    names->count = 0;
    to = (char *)(names->at + count);
    for (at = config; (s = nib_setting_member(&at, key, &number));) {
        bytes = strlen(s->value) + 1;
        memcpy(to, s->value, bytes);
        names->at[names->count++] = to;
        to += bytes;
    }
    *out = names;
    return NIB_OK;
}

void nib_names_free(nib_ctx *ctx, nib_names *names) { nib_free(ctx, names); }
