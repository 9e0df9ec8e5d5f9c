/* json_append.c - see json_append.h.  The text is valid: a scan needs only to know where strings
 * and brackets begin and end. */
#include "format/json_append.h"

static const char *skip_space(const char *p)
{
    return p + strspn(p, " \t\r\n");
}

/* Behind the string that begins at p. */
static const char *skip_string(const char *p)
{
    for (p++; *p && *p != '"'; p++)
        if (*p == '\\' && p[1]) p++;
    return *p ? p + 1 : p;
}

/* Behind the value that begins at p. */
static const char *skip_value(const char *p)
{
    size_t depth = 0;

    if (*p != '"' && *p != '[' && *p != '{') return p + strcspn(p, ",]} \t\r\n");
    do {
        if (*p == '"') {
            p = skip_string(p);
            continue;
        }
        depth += *p == '[' || *p == '{';
        depth -= *p == ']' || *p == '}';
        p++;
    } while (*p && depth);
    return p;
}

static bool is_key(const char *begin, const char *end, const char *key)
{
    return (size_t)(end - begin) == strlen(key) + 2 && memcmp(begin + 1, key, strlen(key)) == 0;
}

/* Where the value of `key` begins, *end behind it; NULL: there is none, and *end is behind the
 * last member's value or the opening bracket. */
static const char *find_member(const char *text, const char *key, const char **end)
{
    const char *p = strchr(text, '{') + 1; /* a byte order mark may stand before it */

    *end = p;
    for (p = skip_space(p); *p == '"'; p = skip_space(p)) {
        const char *name = p, *behind = skip_string(p);
        p = skip_space(skip_space(behind) + 1); /* the colon */
        *end = skip_value(p);
        if (is_key(name, behind, key)) return p;
        p = skip_space(*end);
        if (*p == ',') p = skip_space(p + 1);
    }
    return NULL;
}

static void put_items(nib_text *out, const char *text, const char *value, const char *end,
                      const char *items)
{
    const char *last = end - 1; /* the closing bracket */
    bool empty;

    while (strchr(" \t\r\n", last[-1])) last--;
    empty = last - 1 == value;
    nib_text_put(out, text, (size_t)(last - text));
    nib_text_puts(out, empty ? "" : ",");
    nib_text_puts(out, items);
    if (last == end - 1) nib_text_puts(out, "\n  "); /* the bracket stood behind the last value */
    nib_text_puts(out, last);
}

nib_status nib_json_append(const char *text, const char *where, const char *key, char kind,
                           const char *items, nib_text *out, nib_error *err)
{
    const char *end, *value = find_member(text, key, &end);

    bool null = value && end - value == 4 && memcmp(value, "null", 4) == 0;

    if (value && !null && *value != kind)
        return nib_fail(err, NIB_E_FORMAT, "%s: %s is %.*s, expected %s", where, key,
                        (int)nib_min((size_t)(end - value), 40), value,
                        kind == '[' ? "a list" : "an object");
    if (value && !null) {
        put_items(out, text, value, end, items);
    } else {
        nib_text_put(out, text, (size_t)((value ? value : end) - text));
        if (!value) {
            nib_text_puts(out, end - 1 == strchr(text, '{') ? "" : ",");
            nib_text_printf(out, "\n  \"%s\": ", key);
        }
        nib_text_puts(out, kind == '[' ? "[" : "{");
        nib_text_puts(out, items);
        nib_text_puts(out, kind == '[' ? "\n  ]" : "\n  }");
        nib_text_puts(out, end);
    }
    return out->failed ? nib_fail(err, NIB_E_NOMEM, "%s: out of memory", where) : NIB_OK;
}
