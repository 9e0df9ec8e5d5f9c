/* weight_settings.c - see weight_settings.h. */
#include "quant/weight_settings.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

bool nib_setting_is(const nib_setting *s, const char *key)
{
    const char *a = s->key;

    for (; *a && *key; a++, key++)
        if ((*a == '-' ? '_' : *a) != *key) return false;
    return *a == *key;
}

const char *nib_setting_value(const nib_setting *list, const char *key)
{
    const char *value = NULL;

    for (; list && list->key; list++)
        if (nib_setting_is(list, key)) value = list->value;
    return value;
}

/* Python's words too: what a config object prints. */
nib_status nib_setting_bool(const nib_setting *list, const char *where, const char *key, bool *out,
                            nib_error *err)
{
    const char *value = nib_setting_value(list, key);

    if (!value) return NIB_OK;
    if (strcmp(value, "true") == 0 || strcmp(value, "True") == 0) return *out = true, NIB_OK;
    if (strcmp(value, "false") == 0 || strcmp(value, "False") == 0) return *out = false, NIB_OK;
    return nib_fail(err, NIB_E_INVALID, "%s%s: expected true or false, got '%.60s'", where, key,
                    value);
}

nib_status nib_setting_count(const nib_setting *list, const char *where, const char *key,
                             unsigned *out, nib_error *err)
{
    const char *value = nib_setting_value(list, key);
    unsigned long n;

    if (!value) return NIB_OK;
    errno = 0;
    n = strtoul(value, NULL, 10);
    if (!*value || value[strspn(value, "0123456789")] || errno || n > UINT32_MAX)
        return nib_fail(err, NIB_E_INVALID, "%s%s: expected an integer, got '%.60s'", where, key,
                        value);
    *out = (unsigned)n;
    return NIB_OK;
}

nib_status nib_setting_float(const nib_setting *list, const char *where, const char *key,
                             float *out, nib_error *err)
{
    const char *value = nib_setting_value(list, key);
    double number;
    char *end;

    if (!value) return NIB_OK;
    number = strtod(value, &end);
    if (end == value || *end || !isfinite((float)number) ||
        value[strspn(value, "+-.0123456789eE")]) /* no hexadecimal, no blanks */
        return nib_fail(err, NIB_E_INVALID, "%s%s: expected a number, got '%.60s'", where, key,
                        value);
    *out = (float)number;
    return NIB_OK;
}

nib_status nib_setting_word(const nib_setting *list, const char *where, const char *key,
                            const char *const *words, unsigned *out, nib_error *err)
{
    const char *value = nib_setting_value(list, key);
    char known[200] = "";
    size_t used = 0;

    if (!value) return NIB_OK;
    for (unsigned i = 0; words[i]; i++) {
        if (strcmp(value, words[i]) == 0) return *out = i, NIB_OK;
        if (used < sizeof known)
            used += (size_t)snprintf(known + used, sizeof known - used, "%s%s",
                                     !i ? "" : words[i + 1] ? ", " : " and ", words[i]);
    }
    return nib_fail(err, NIB_E_INVALID, "%s%s: '%.60s'; known are %s", where, key, value, known);
}

void nib_settings_put(nib_settings *to, const char *key, const char *value)
{
    assert(to->count < NIB_SETTINGS_MOST);
    to->items[to->count++] = (nib_setting){ key, value };
    to->items[to->count] = (nib_setting){ 0 };
}

void nib_settings_put_count(nib_settings *to, const char *key, unsigned value)
{
    char *text = to->room[to->count];

    snprintf(text, sizeof to->room[0], "%u", value);
    nib_settings_put(to, key, text);
}

void nib_setting_float_text(float value, char text[NIB_SETTING_FLOAT_ROOM])
{
    int digits = 1;

    do snprintf(text, NIB_SETTING_FLOAT_ROOM, "%.*g", digits, (double)value);
    while (strtof(text, NULL) != value && ++digits <= 9);
    if (!strpbrk(text, ".en")) strcat(text, ".0"); /* of infinities and NaN the n */
}

void nib_settings_put_float(nib_settings *to, const char *key, float value)
{
    char *text = to->room[to->count];

    nib_setting_float_text(value, text);
    nib_settings_put(to, key, text);
}
