/* template.c - filling templates. */
#include "train/template.h"

bool nib_text_add(nib_ctx *ctx, nib_text *t, const char *bytes, size_t count)
{
    if (!nib_grow(ctx, &t->bytes, &t->capacity, t->count + count + 1, 1)) return false;
    memcpy(t->bytes + t->count, bytes, count);
    t->bytes[t->count += count] = 0;
    return true;
}

static nib_status add_field(nib_ctx *ctx, const char *name, size_t length, const json_t *record, const char *where,
                            nib_text *out, nib_error *err)
{
    char key[128];
    const json_t *value;

    if (length >= sizeof key) return nib_fail(err, NIB_E_INVALID, "template: a field name longer than %zu bytes", sizeof key - 1);
    memcpy(key, name, length);
    key[length] = 0;
    value = json_object_get(record, key);
    if (!value) return nib_fail(err, NIB_E_FORMAT, "%s: there is no field '%s', which the template names", where, key);
    if (json_is_null(value)) return NIB_OK;
    if (!json_is_string(value)) return nib_fail(err, NIB_E_FORMAT, "%s: field '%s' is not a string", where, key);
    return nib_text_add(ctx, out, json_string_value(value), json_string_length(value))
               ? NIB_OK : nib_fail(err, NIB_E_NOMEM, "%s: out of memory", where);
}

nib_status nib_template_fill(nib_ctx *ctx, const char *format, const json_t *record, const char *where,
                             nib_text *out, nib_error *err)
{
    for (const char *p = format; *p; p++) {
        char c = *p;

        if (c == '{' && p[1] != '{') {
            const char *end = strchr(p, '}');
            nib_status status;
            if (!end) return nib_fail(err, NIB_E_INVALID, "template: '{' without '}' in: %s", format);
            status = add_field(ctx, p + 1, (size_t)(end - p - 1), record, where, out, err);
            if (status) return status;
            p = end;
            continue;
        }
        if ((c == '{' || c == '}') && p[1] == c) p++;
        else if (c == '}') return nib_fail(err, NIB_E_INVALID, "template: '}' without '{' in: %s", format);
        else if (c == '\\' && (p[1] == 'n' || p[1] == 't')) c = *++p == 'n' ? '\n' : '\t';
        if (!nib_text_add(ctx, out, &c, 1)) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", where);
    }
    return NIB_OK;
}
