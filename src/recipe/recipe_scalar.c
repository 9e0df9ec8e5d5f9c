/* recipe_scalar.c - values of a recipe that are one text: truth, numbers, sizes, words. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "recipe/recipe_values.h"

nib_status nib_recipe_wrong(const char *place, const nib_yaml_node *n, nib_error *err,
                            const char *expected)
{
    if (n->kind == NIB_YAML_SCALAR)
        return nib_fail(err, NIB_E_INVALID, "%s: '%.200s' is not %s", place, n->text, expected);
    return nib_fail(err, NIB_E_INVALID, "%s: a %s, expected %s", place,
                    n->kind == NIB_YAML_LIST ? "list" : "map", expected);
}

/* YAML's words for true and false, all of them: the key says that a truth value is expected. */
bool nib_recipe_bool(const nib_yaml_node *n, bool *out)
{
    static const char *const words[] = { "true", "yes", "on", "false", "no", "off" };

    if (n->kind != NIB_YAML_SCALAR) return false;
    for (size_t i = 0; i < NIB_COUNT(words); i++)
        if (strcasecmp(n->text, words[i]) == 0) return *out = i < 3, true;
    return false;
}

bool nib_recipe_integer(const nib_yaml_node *n, int64_t lo, int64_t hi, int64_t *out)
{
    char *end;
    long long value;

    if (n->kind != NIB_YAML_SCALAR || !*n->text ||
        strspn(n->text, "+-0123456789") != strlen(n->text))
        return false;
    errno = 0;
    value = strtoll(n->text, &end, 10);
    if (errno || *end || value < lo || value > hi) return false;
    *out = value;
    return true;
}

bool nib_recipe_number(const char *text, double *out)
{
    char *end;
    double value;

    /* no nan, no 0x, no blanks */
    if (!*text || strspn(text, "+-.0123456789eE") != strlen(text)) return false;
    value = strtod(text, &end);
    if (end == text || *end || !isfinite(value)) return false;
    *out = value;
    return true;
}

void nib_recipe_number_text(double x, char text[40])
{
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(text, 40, "%.*g", digits, x);
        if (strtod(text, NULL) == x) break;
    }
}

/* TrainingArguments' numbers of steps: whole, or written as a float that is, or a fraction of all
 * steps below 1. */
nib_status nib_recipe_steps(const nib_recipe_row *row, const nib_yaml_node *n, const char *place,
                            int *steps, double *fraction, nib_error *err)
{
    double value;

    if (n->kind != NIB_YAML_SCALAR || !nib_recipe_number(n->text, &value) || value < 0 ||
        (value >= 1 && (value != floor(value) || value > INT32_MAX)))
        return nib_recipe_wrong(place, n, err, "a number of steps, or a fraction of them below 1");
    *steps = value >= 1 ? (int)value : 0;
    if (value > 0 || row->kind == NIB_KEY_STEPS) *fraction = value < 1 ? value : 0;
    return NIB_OK;
}

bool nib_recipe_size(const nib_yaml_node *n, uint64_t *out)
{
    static const struct { const char *unit; double factor; } units[] = {
        { "", 1 }, { "B", 1 }, { "KiB", 1024 }, { "MiB", 1048576 }, { "GiB", 1073741824 },
        { "KB", 1e3 }, { "MB", 1e6 }, { "GB", 1e9 }, { "K", 1024 }, { "M", 1048576 },
        { "G", 1073741824 },
    };
    char *end;
    double value;

    if (n->kind != NIB_YAML_SCALAR || *n->text < '0' || *n->text > '9') return false;
    /* 0x10, which strtod() takes */
    if (n->text[strspn(n->text, "0123456789")] == 'x') return false;
    value = strtod(n->text, &end);
    while (*end == ' ') end++;
    for (size_t i = 0; i < NIB_COUNT(units); i++)
        if (strcmp(end, units[i].unit) == 0 && value > 0 && value * units[i].factor < 1e18)
            return *out = (uint64_t)(value * units[i].factor), true;
    return false;
}

/* Is a text the word, or its beginning where that ends in "*"? */
static bool is_word(const char *word, size_t length, const char *text)
{
    if (length && word[length - 1] == '*')
        return strncmp(text, word, length - 1) == 0 && text[length - 1];
    return strlen(text) == length && strncmp(word, text, length) == 0;
}

/* The word of `words` that a text is, or NULL; "a=b" gives b for a, "a*" any that begins with
 * it. */
const char *nib_recipe_word(nib_recipe *r, const char *words, const char *text, bool *known)
{
    *known = false;
    for (const char *w = words; *w; w += *w == ' ') {
        size_t length = strcspn(w, " ");
        const char *equals = memchr(w, '=', length);
        size_t name = equals ? (size_t)(equals - w) : length;
        if (is_word(w, name, text)) {
            *known = true;
            return equals ? nib_recipe_copy(r, equals + 1, length - name - 1)
                          : nib_recipe_copy(r, text, strlen(text));
        }
        w += length;
    }
    return NULL;
}

nib_status nib_recipe_no_memory(const char *place, nib_error *err)
{
    return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", place);
}

/* "one of a b c": without other spellings of them. */
static void list_words(const char *words, char *out, size_t room)
{
    size_t used = (size_t)snprintf(out, room, "one of");

    for (const char *w = words; *w && used < room; w += *w == ' ') {
        size_t length = strcspn(w, " ");
        if (!memchr(w, '=', length))
            used += (size_t)snprintf(out + used, room - used, " %.*s", (int)length, w);
        w += length;
    }
}

nib_status nib_recipe_text(nib_recipe *r, const nib_recipe_row *row, const nib_yaml_node *n,
                           const char *place, const char **out, nib_error *err)
{
    const char *text;
    char expected[1024];
    bool known = true;

    if (n->kind != NIB_YAML_SCALAR) return nib_recipe_wrong(place, n, err, "a text");
    text = row->words ? nib_recipe_word(r, row->words, n->text, &known)
                      : nib_recipe_copy(r, n->text, strlen(n->text));
    if (!known) {
        list_words(row->words, expected, sizeof expected);
        return nib_recipe_wrong(place, n, err, expected);
    }
    if (!text) return nib_recipe_no_memory(place, err);
    *out = text;
    return NIB_OK;
}
