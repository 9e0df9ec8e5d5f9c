/* config_unused.c - see config_unused.h. */
#include "quant/config_unused.h"

#include <stdio.h>

/* Is `key` what the entry says, inside it ("/" and "**"), or what it lies in? */
static bool matches(const char *entry, const char *key)
{
    while (*entry && *key) {
        if (strcmp(entry, "**") == 0) return true;
        if (*entry == '*' || *entry == '#') { /* a whole member's name */
            size_t n = strcspn(key, "/");
            if (*entry++ == '#' && strspn(key, "0123456789") != n) return false;
            key += n;
        } else if (*entry++ != *key++) {
            return false;
        }
    }
    return !*key && (!*entry || *entry == '/');
}

static bool is_known(const char *const *known, const char *key)
{
    for (; *known; known++)
        if (matches(*known, key)) return true;
    return false;
}

void nib_warn_unused_settings(nib_ctx *ctx, const nib_setting *config, const char *where,
                              const char *const *known)
{
    char names[400] = "";
    const char *named = "";
    size_t used = 0, count = 0, n = 0;

    for (const nib_setting *s = config; s && s->key; s++) {
        if (n && strncmp(s->key, named, n) == 0 && s->key[n] == '/') continue;
        if (is_known(known, s->key)) continue;
        named = s->key;
        n = strlen(named);
        if (count++ < 8 && used < sizeof names)
            used += (size_t)snprintf(names + used, sizeof names - used, "%s%.80s",
                                     used ? ", " : "", s->key);
    }
    if (count)
        nib_warn_code(ctx, "unused-key", "%s%zu key%s not used: %s%s", where, count,
                      count == 1 ? "" : "s", names, count > 8 ? ", ..." : "");
}
