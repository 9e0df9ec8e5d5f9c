/* recipe_value.c - a value of a recipe, as the type its key asks for. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "job/recipe_keys.h"

static nib_status wrong(const char *place, const nib_yaml_node *n, nib_error *err,
                        const char *expected)
{
    if (n->kind == NIB_YAML_SCALAR)
        return nib_fail(err, NIB_E_INVALID, "%s: '%.200s' is not %s", place, n->text, expected);
    return nib_fail(err, NIB_E_INVALID, "%s: a %s, expected %s", place,
                    n->kind == NIB_YAML_LIST ? "list" : "map", expected);
}

/* YAML's words for true and false, all of them: the key says that a truth value is due. */
static bool read_bool(const nib_yaml_node *n, bool *out)
{
    static const char *const words[] = { "true", "yes", "on", "false", "no", "off" };

    if (n->kind != NIB_YAML_SCALAR) return false;
    for (size_t i = 0; i < NIB_COUNT(words); i++)
        if (strcasecmp(n->text, words[i]) == 0) return *out = i < 3, true;
    return false;
}

static bool read_integer(const nib_yaml_node *n, int64_t lo, int64_t hi, int64_t *out)
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

static bool read_number(const char *text, double *out)
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

/* TrainingArguments' numbers of steps: whole, or written as a float that is, or a fraction of all
 * steps below 1. */
static nib_status read_steps(const nib_recipe_row *row, const nib_yaml_node *n, const char *place,
                             int *steps, double *fraction, nib_error *err)
{
    double value;

    if (n->kind != NIB_YAML_SCALAR || !read_number(n->text, &value) || value < 0 ||
        (value >= 1 && (value != floor(value) || value > INT32_MAX)))
        return wrong(place, n, err, "a number of steps, or a fraction of them below 1");
    *steps = value >= 1 ? (int)value : 0;
    if (value > 0 || row->kind == NIB_KEY_STEPS) *fraction = value < 1 ? value : 0;
    return NIB_OK;
}

static bool read_size(const nib_yaml_node *n, uint64_t *out)
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

/* The word of `words` that a text is, or NULL; "a=b" gives b for a. */
static const char *find_word(nib_recipe *r, const char *words, const char *text, bool *known)
{
    size_t n = strlen(text);

    *known = false;
    for (const char *w = words; *w; w += *w == ' ') {
        size_t length = strcspn(w, " ");
        const char *equals = memchr(w, '=', length);
        size_t name = equals ? (size_t)(equals - w) : length;
        if (name == n && strncmp(w, text, n) == 0) {
            *known = true;
            return equals ? nib_recipe_copy(r, equals + 1, length - name - 1)
                          : nib_recipe_copy(r, w, length);
        }
        w += length;
    }
    return NULL;
}

static nib_status no_memory(const char *place, nib_error *err)
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

static nib_status read_text(nib_recipe *r, const nib_recipe_row *row, const nib_yaml_node *n,
                            const char *place, const char **out, nib_error *err)
{
    const char *text;
    char expected[512];
    bool known = true;

    if (n->kind != NIB_YAML_SCALAR) return wrong(place, n, err, "a text");
    text = row->words ? find_word(r, row->words, n->text, &known)
                      : nib_recipe_copy(r, n->text, strlen(n->text));
    if (!known) {
        list_words(row->words, expected, sizeof expected);
        return wrong(place, n, err, expected);
    }
    if (!text) return no_memory(place, err);
    *out = text;
    return NIB_OK;
}

/* --- lists --- */

/* A comma list as a list of texts; `text` is cut up. */
static size_t cut(char *text, const char **items)
{
    size_t count = 0;
    char *rest = NULL;

    for (char *p = strtok_r(text, ",", &rest); p; p = strtok_r(NULL, ",", &rest)) {
        while (*p == ' ') p++;
        for (size_t n = strlen(p); n && p[n - 1] == ' '; n--) p[n - 1] = 0;
        if (*p) items[count++] = p;
    }
    return count;
}

/* The texts of a list, or of a scalar that is a comma list; room for `before` more in front. */
static nib_status read_list(nib_recipe *r, const nib_yaml_node *n, const char *place, size_t before,
                            const char ***items, size_t *count, nib_error *err)
{
    size_t most = n->count, used = 0;
    char *text = NULL;

    if (n->kind == NIB_YAML_SCALAR) {
        most = strlen(n->text) / 2 + 1;
        text = nib_recipe_copy(r, n->text, strlen(n->text));
        if (!text) return no_memory(place, err);
    } else if (n->kind == NIB_YAML_MAP) {
        return wrong(place, n, err, "a list");
    }
    *items = nib_recipe_take(r, (before + most + 1) * sizeof **items);
    if (!*items) return no_memory(place, err);
    if (text) used = cut(text, *items + before);
    for (const nib_yaml_node *c = n->first; c; c = c->next, used++) {
        if (c->kind != NIB_YAML_SCALAR || !*c->text)
            return nib_fail(err, NIB_E_INVALID, "%s: item %zu is not a text", place, used + 1);
        (*items)[before + used] = nib_recipe_copy(r, c->text, strlen(c->text));
        if (!(*items)[before + used]) return no_memory(place, err);
    }
    *count = before + used;
    return NIB_OK;
}

/* Names by suffix; or, as PEFT's string form, one regular expression ("regex:..." or a text that
 * cannot be a name); or all-linear. */
static nib_status read_names(nib_recipe *r, const nib_yaml_node *n, const char *place, bool more,
                             nib_names *out, nib_error *err)
{
    static const char
        letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-., ";
    size_t before = more && !out->regex && !out->all_linear ? out->count : 0;
    const char **items;
    nib_status status;

    if (n->kind == NIB_YAML_SCALAR && strcmp(n->text, "all-linear") == 0) {
        *out = (nib_names){ .all_linear = true };
        return NIB_OK;
    }
    if (n->kind == NIB_YAML_SCALAR &&
        (strncmp(n->text, "regex:", 6) == 0 || n->text[strspn(n->text, letters)])) {
        const char *expression = n->text + (strncmp(n->text, "regex:", 6) == 0 ? 6 : 0);
        items = nib_recipe_take(r, sizeof *items);
        if (!items || !(items[0] = nib_recipe_copy(r, expression, strlen(expression))))
            return no_memory(place, err);
        *out = (nib_names){ .items = items, .count = 1, .regex = true };
        return NIB_OK;
    }
    status = read_list(r, n, place, before, &items, &(size_t){ 0 }, err);
    if (status) return status;
    for (size_t i = 0; i < before; i++) items[i] = out->items[i];
    *out = (nib_names){ .items = items };
    while (items[out->count]) out->count++;
    if (!out->count) return wrong(place, n, err, "a list of names");
    return NIB_OK;
}

/* Some of the row's words, by commas. */
static nib_status read_words(nib_recipe *r, const nib_recipe_row *row, const nib_yaml_node *n,
                             const char *place, const char **out, nib_error *err)
{
    const char **items;
    size_t count = 0, used = 0;
    char *text;
    nib_status status = read_list(r, n, place, 0, &items, &count, err);

    if (status) return status;
    text = nib_recipe_take(r, strlen(row->words) * (count + 1));
    if (!text) return no_memory(place, err);
    for (size_t i = 0; i < count; i++) {
        bool known;
        const char *word = find_word(r, row->words, items[i], &known);
        if (!known)
            return wrong(place, &(nib_yaml_node){ .text = items[i] }, err,
                         "one of the words of this key: see --help");
        if (!word) return no_memory(place, err);
        if (!*word)
            nib_note(r->ctx, "without effect here: %s %s (nothing is sent to the network)",
                     row->key.name, items[i]);
        else used += (size_t)sprintf(text + used, "%s%s", used ? "," : "", word);
    }
    if (used) *out = text;
    return NIB_OK;
}

static nib_status read_numbers(nib_recipe *r, const nib_yaml_node *n, const char *place, bool more,
                               const int **out, size_t *count, nib_error *err)
{
    size_t before = more ? *count : 0, all;
    const char **items;
    int *numbers;
    nib_status status = read_list(r, n, place, before, &items, &all, err);

    if (status) return status;
    numbers = nib_recipe_take(r, (all + 1) * sizeof *numbers);
    if (!numbers) return no_memory(place, err);
    for (size_t i = 0; i < before; i++) numbers[i] = (*out)[i];
    for (size_t i = before; i < all; i++) {
        nib_yaml_node item = { .kind = NIB_YAML_SCALAR, .text = items[i] };
        int64_t number;
        if (!read_integer(&item, 0, INT32_MAX, &number))
            return wrong(place, &item, err, "the number of a layer");
        numbers[i] = (int)number;
    }
    *out = numbers;
    *count = all;
    return NIB_OK;
}

/* {name: number, ...}, or name=number with commas. */
/* Pairs of a name and a value: the members of a map, or the items "name=value" of a list. */
typedef struct pairs {
    const char **items;
    const nib_yaml_node *member;
    size_t count, at;
} pairs;

static nib_status open_pairs(nib_recipe *r, const nib_yaml_node *n, const char *place, pairs *out,
                             nib_error *err)
{
    *out = (pairs){ .member = n->first, .count = n->count };
    return n->kind == NIB_YAML_MAP ? NIB_OK
                                   : read_list(r, n, place, 0, &out->items, &out->count, err);
}

/* *null: the value is YAML's null. */
static bool next_pair(pairs *p, const char **name, size_t *name_bytes, const char **value,
                      bool *null)
{
    const char *item, *equals;

    if (p->at == p->count) return false;
    *null = false;
    if (p->items) {
        item = p->items[p->at];
        equals = strrchr(item, '=');
        *name = item;
        *name_bytes = equals ? (size_t)(equals - item) : strlen(item);
        *value = equals ? equals + 1 : "";
    } else {
        *name = p->member->key;
        *name_bytes = strlen(*name);
        *value = p->member->kind == NIB_YAML_SCALAR ? p->member->text : "";
        *null = nib_yaml_is_null(p->member);
        p->member = p->member->next;
    }
    p->at++;
    return true;
}

static nib_status read_pattern(nib_recipe *r, const nib_yaml_node *n, const char *place, bool more,
                               const nib_pattern **out, size_t *count, nib_error *err)
{
    size_t used = more ? *count : 0, bytes;
    const char *name, *value;
    bool null;
    pairs p;
    nib_pattern *made;
    nib_status status = open_pairs(r, n, place, &p, err);

    if (status) return status;
    made = nib_recipe_take(r, (used + p.count + 1) * sizeof *made);
    if (!made) return no_memory(place, err);
    for (size_t i = 0; i < used; i++) made[i] = (*out)[i];
    for (; next_pair(&p, &name, &bytes, &value, &null); used++) {
        if (!read_number(value, &made[used].value))
            return nib_fail(err, NIB_E_INVALID, "%s: '%.*s' has no number, as q_proj=4 has", place,
                            (int)nib_min(bytes, 200), name);
        made[used].name = nib_recipe_copy(r, name, bytes);
        if (!made[used].name) return no_memory(place, err);
    }
    *out = made;
    *count = used;
    return NIB_OK;
}

/* Numbers and texts; null is what a function's argument is by default, and left out. */
static nib_status read_arguments(nib_recipe *r, const nib_yaml_node *n, const char *place,
                                 bool more, const nib_argument **out, size_t *count,
                                 nib_error *err)
{
    size_t used = more ? *count : 0, bytes;
    const char *name, *value;
    bool null, is_text;
    pairs p;
    nib_argument *made;
    nib_status status = open_pairs(r, n, place, &p, err);

    if (status) return status;
    made = nib_recipe_take(r, (used + p.count + 1) * sizeof *made);
    if (!made) return no_memory(place, err);
    for (size_t i = 0; i < used; i++) made[i] = (*out)[i];
    while (next_pair(&p, &name, &bytes, &value, &null)) {
        if (null) continue;
        if (!*value)
            return nib_fail(err, NIB_E_INVALID, "%s: '%.*s' has no value, as num_cycles=2 has",
                            place, (int)nib_min(bytes, 200), name);
        made[used] = (nib_argument){ .name = nib_recipe_copy(r, name, bytes) };
        is_text = !read_number(value, &made[used].value);
        if (is_text) made[used].text = nib_recipe_copy(r, value, strlen(value));
        if (!made[used].name || (is_text && !made[used].text)) return no_memory(place, err);
        used++;
    }
    *out = made;
    *count = used;
    return NIB_OK;
}

/* --- settings of weights --- */

void nib_recipe_drop_setting(nib_recipe *r, const char *key)
{
    for (size_t i = 0; i < r->setting_count; i++) {
        if (strcmp(r->settings[i].key, key) != 0) continue;
        memmove(r->settings + i, r->settings + i + 1,
                (r->setting_count - i) * sizeof *r->settings); /* with the end */
        r->setting_count--;
        return;
    }
}

static nib_status read_setting(nib_recipe *r, const nib_recipe_row *row, const nib_yaml_node *n,
                               const char *place, nib_error *err)
{
    const char *text = NULL;
    double number;
    bool yes;
    nib_status status = NIB_OK;

    if (row->key.flag) {
        if (!read_bool(n, &yes)) return wrong(place, n, err, "true or false");
        text = yes ? "true" : "false";
    } else if (row->words) {
        status = read_text(r, row, n, place, &text, err);
    } else if (n->kind != NIB_YAML_SCALAR || !read_number(n->text, &number)) {
        status = wrong(place, n, err, "a number");
    } else if (!(text = nib_recipe_copy(r, n->text, strlen(n->text)))) {
        status = no_memory(place, err);
    }
    if (status) return status;
    nib_recipe_drop_setting(r, row->key.name);
    assert(r->setting_count < NIB_RECIPE_SETTINGS);
    r->settings[r->setting_count++] = (nib_setting){ row->key.name, text };
    r->v.o.model.settings = r->settings;
    return NIB_OK;
}

/* --- the type to compute in --- */

static nib_status read_compute(nib_recipe *r, size_t slot, const nib_yaml_node *n,
                               const char *place, nib_error *err)
{
    static const char *const names[] = { "auto", "float32", "bfloat16", "float16" };
    static const nib_compute values[] = { NIB_COMPUTE_AUTO, NIB_COMPUTE_FLOAT32,
                                          NIB_COMPUTE_BFLOAT16, NIB_COMPUTE_FLOAT16 };

    if (slot >= NIB_COMPUTE_BF16) {
        r->compute[slot] = slot == NIB_COMPUTE_BF16 ? NIB_COMPUTE_BFLOAT16 : NIB_COMPUTE_FLOAT16;
        return read_bool(n, &r->compute_flag[slot]) ? NIB_OK
                                                    : wrong(place, n, err, "true or false");
    }
    for (size_t i = 0; n->kind == NIB_YAML_SCALAR && i < NIB_COUNT(names); i++)
        if (strcmp(strncmp(n->text, "torch.", 6) == 0 ? n->text + 6 : n->text, names[i]) == 0) {
            r->compute[slot] = values[i];
            return NIB_OK;
        }
    return wrong(place, n, err, "auto, float32, bfloat16 or float16");
}

/* --- all of them --- */

nib_status nib_recipe_read_value(nib_recipe *r, const nib_recipe_row *row, const nib_yaml_node *n,
                                 const char *place, bool more, nib_error *err)
{
    char *base = (char *)&r->v;
    void *target = base + row->offset, *count = base + row->second;
    int64_t integer;
    bool yes;

    switch (row->kind) {
    case NIB_KEY_BOOL: return read_bool(n, target) ? NIB_OK : wrong(place, n, err, "true or false");
    case NIB_KEY_CHOICE:
        if (!read_bool(n, &yes)) return wrong(place, n, err, "true or false");
        *(int *)target = yes;
        return NIB_OK;
    case NIB_KEY_BATCH:
        if (n->kind == NIB_YAML_SCALAR && strcmp(n->text, "auto") == 0) {
            *(int *)target = 0;
            return NIB_OK;
        }
        if (!read_integer(n, 1, INT32_MAX, &integer))
            return wrong(place, n, err, "a whole number above 0, or auto");
        *(int *)target = (int)integer;
        return NIB_OK;
    case NIB_KEY_STEPS: case NIB_KEY_WARMUP:
        return read_steps(row, n, place, target, count, err);
    case NIB_KEY_INT: case NIB_KEY_COUNT:
        if (!read_integer(n, INT32_MIN, INT32_MAX, &integer))
            return wrong(place, n, err, "a whole number");
        *(int *)target = (int)integer;
        return NIB_OK;
    case NIB_KEY_SEED: case NIB_KEY_LONG:
        if (!read_integer(n, row->kind == NIB_KEY_SEED ? 0 : INT64_MIN, INT64_MAX, &integer))
            return wrong(place, n, err,
                         row->kind == NIB_KEY_SEED ? "a whole number from 0 on" : "a whole number");
        if (row->kind == NIB_KEY_SEED) *(uint64_t *)target = (uint64_t)integer;
        else *(int64_t *)target = integer;
        return NIB_OK;
    case NIB_KEY_SIZE:
        return read_size(n, target) ? NIB_OK
                                    : wrong(place, n, err, "a size such as 6GiB or 512MiB");
    case NIB_KEY_FLOAT:
        if (n->kind == NIB_YAML_SCALAR && read_number(n->text, target)) return NIB_OK;
        return wrong(place, n, err, "a number");
    case NIB_KEY_TEXT: return read_text(r, row, n, place, target, err);
    case NIB_KEY_JSON: return nib_recipe_read_json(r, n, place, target, err);
    case NIB_KEY_WORDS: return read_words(r, row, n, place, target, err);
    case NIB_KEY_NAMES: return read_names(r, n, place, more, target, err);
    case NIB_KEY_NUMBERS: return read_numbers(r, n, place, more, target, count, err);
    case NIB_KEY_PATTERN: return read_pattern(r, n, place, more, target, count, err);
    case NIB_KEY_ARGUMENTS:
        return read_arguments(r, n, place, more, target, count, err);
    case NIB_KEY_SETTING: return read_setting(r, row, n, place, err);
    case NIB_KEY_COMPUTE: return read_compute(r, row->offset, n, place, err);
    case NIB_KEY_NONE: break;
    }
    assert(!"a key that is used has a target");
    return NIB_OK;
}

static bool is_neutral_text(const char *words, const nib_yaml_node *n)
{
    double a, b;

    if (!*n->text) return true;
    for (const char *w = words ? words : ""; *w; w += *w == ' ') {
        size_t length = strcspn(w, " ");
        char word[32];
        bool yes, no;

        snprintf(word, sizeof word, "%.*s", (int)nib_min(length, sizeof word - 1), w);
        if (strcasecmp(word, n->text) == 0 ||
            (read_number(word, &a) && read_number(n->text, &b) && a == b) ||
            (read_bool(&(nib_yaml_node){ .text = word }, &yes) && read_bool(n, &no) && yes == no))
            return true;
        w += length;
    }
    return false;
}

bool nib_recipe_is_neutral(const nib_recipe_row *row, const nib_yaml_node *n)
{
    if (nib_yaml_is_null(n)) return true;
    if (n->kind == NIB_YAML_SCALAR) return is_neutral_text(row->words, n);
    for (const nib_yaml_node *c = n->first; c; c = c->next) /* a list: of such values only */
        if (n->kind == NIB_YAML_MAP || c->kind != NIB_YAML_SCALAR ||
            !is_neutral_text(row->words, c))
            return false;
    return true;
}
