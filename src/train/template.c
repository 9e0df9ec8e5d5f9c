/* template.c - filling templates: strings as they are, numbers as Python prints them. */
#include "train/template.h"

static nib_status add_field(const char *name, size_t length, const json_t *record,
                            const char *where, nib_text *out, nib_error *err)
{
    char key[128];
    const json_t *value;

    if (length >= sizeof key)
        return nib_fail(err, NIB_E_INVALID, "template: a field name longer than %zu bytes",
                        sizeof key - 1);
    memcpy(key, name, length);
    key[length] = 0;
    value = json_object_get(record, key);
    if (!value)
        return nib_fail(err, NIB_E_FORMAT, "%s: there is no field '%s', which the template names",
                        where, key);
    if (json_is_null(value)) return NIB_OK;
    if (json_is_integer(value))
        nib_text_printf(out, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    if (json_is_real(value)) nib_text_json_float(out, json_real_value(value));
    if (json_is_number(value)) return NIB_OK;
    if (!json_is_string(value))
        return nib_fail(err, NIB_E_FORMAT, "%s: field '%s' is neither a string nor a number", where,
                        key);
    nib_text_put(out, json_string_value(value), json_string_length(value));
    return NIB_OK;
}

nib_status nib_template_fill(const char *format, const json_t *record, const char *where,
                             nib_text *out, nib_error *err)
{
    for (const char *p = format; *p; p++) {
        char c = *p;

        if (c == '{' && p[1] != '{') {
            const char *end = strchr(p, '}');
            nib_status status;
            if (!end)
                return nib_fail(err, NIB_E_INVALID, "template: '{' without '}' in: %s", format);
            status = add_field(p + 1, (size_t)(end - p - 1), record, where, out, err);
            if (status) return status;
            p = end;
            continue;
        }
        if ((c == '{' || c == '}') && p[1] == c) p++;
        else if (c == '}')
            return nib_fail(err, NIB_E_INVALID, "template: '}' without '{' in: %s", format);
        else if (c == '\\' && (p[1] == 'n' || p[1] == 't')) c = *++p == 'n' ? '\n' : '\t';
        nib_text_put(out, &c, 1);
    }
    return NIB_OK;
}

bool nib_template_names(const char *format, const char *key)
{
    size_t n = strlen(key);

    for (const char *p = format; *p; p++) {
        if (*p != '{') continue;
        if (p[1] == '{') p++;
        else if (strncmp(p + 1, key, n) == 0 && p[1 + n] == '}') return true;
    }
    return false;
}

size_t nib_template_list(const char *format, const char *value, json_t *record)
{
    json_t *found = json_object();
    size_t count;

    for (const char *p = format; *p; p++) {
        const char *end;
        if (*p != '{') continue;
        if (p[1] == '{' || !(end = strchr(p, '}'))) {
            p++;
            continue;
        }
        json_object_setn_new(found, p + 1, (size_t)(end - p - 1), json_string(value));
        p = end;
    }
    json_object_update(record, found);
    count = json_object_size(found);
    json_decref(found);
    return count;
}
