/* recipe_list.c - values of a recipe that are lists and maps: names, numbers, pairs. */
#include <stdio.h>
#include <stdlib.h>

#include "recipe/recipe_values.h"

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
        if (!text) return nib_recipe_no_memory(place, err);
    } else if (n->kind == NIB_YAML_MAP) {
        return nib_recipe_wrong(place, n, err, "a list");
    }
    *items = nib_recipe_take(r, (before + most + 1) * sizeof **items);
    if (!*items) return nib_recipe_no_memory(place, err);
    if (text) used = cut(text, *items + before);
    for (const nib_yaml_node *c = n->first; c; c = c->next, used++) {
        if (c->kind != NIB_YAML_SCALAR || !*c->text)
            return nib_fail(err, NIB_E_INVALID, "%s: item %zu is not a text", place, used + 1);
        (*items)[before + used] = nib_recipe_copy(r, c->text, strlen(c->text));
        if (!(*items)[before + used]) return nib_recipe_no_memory(place, err);
    }
    *count = before + used;
    return NIB_OK;
}

/* Names by suffix; or, as PEFT's string form, one regular expression ("regex:..." or a text that
 * cannot be a name); or all-linear. */
nib_status nib_recipe_names(nib_recipe *r, const nib_yaml_node *n, const char *place, bool more,
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
            return nib_recipe_no_memory(place, err);
        *out = (nib_names){ .items = items, .count = 1, .regex = true };
        return NIB_OK;
    }
    status = read_list(r, n, place, before, &items, &(size_t){ 0 }, err);
    if (status) return status;
    for (size_t i = 0; i < before; i++) items[i] = out->items[i];
    *out = (nib_names){ .items = items };
    while (items[out->count]) out->count++;
    if (!out->count) return nib_recipe_wrong(place, n, err, "a list of names");
    return NIB_OK;
}

/* Some of the row's words, by commas. */
nib_status nib_recipe_words(nib_recipe *r, const nib_recipe_row *row, const nib_yaml_node *n,
                            const char *place, const char **out, nib_error *err)
{
    const char **items;
    size_t count = 0, used = 0;
    char *text;
    nib_status status = read_list(r, n, place, 0, &items, &count, err);

    if (status) return status;
    text = nib_recipe_take(r, strlen(row->words) * (count + 1));
    if (!text) return nib_recipe_no_memory(place, err);
    for (size_t i = 0; i < count; i++) {
        bool known;
        const char *word = nib_recipe_word(r, row->words, items[i], &known);
        if (!known)
            return nib_recipe_wrong(place, &(nib_yaml_node){ .text = items[i] }, err,
                                    "one of the values of this key: see --help");
        if (!word) return nib_recipe_no_memory(place, err);
        if (!*word)
            nib_note(r->ctx, "without effect here: %s %s (nothing is sent to the network)",
                     row->key.name, items[i]);
        else used += (size_t)sprintf(text + used, "%s%s", used ? "," : "", word);
    }
    if (used) *out = text;
    return NIB_OK;
}

nib_status nib_recipe_numbers(nib_recipe *r, const nib_yaml_node *n, const char *place, bool more,
                              const int **out, size_t *count, nib_error *err)
{
    size_t before = more ? *count : 0, all;
    const char **items;
    int *numbers;
    nib_status status = read_list(r, n, place, before, &items, &all, err);

    if (status) return status;
    numbers = nib_recipe_take(r, (all + 1) * sizeof *numbers);
    if (!numbers) return nib_recipe_no_memory(place, err);
    for (size_t i = 0; i < before; i++) numbers[i] = (*out)[i];
    for (size_t i = before; i < all; i++) {
        nib_yaml_node item = { .kind = NIB_YAML_SCALAR, .text = items[i] };
        int64_t number;
        if (!nib_recipe_integer(&item, 0, INT32_MAX, &number))
            return nib_recipe_wrong(place, &item, err, "the number of a layer");
        numbers[i] = (int)number;
    }
    *out = numbers;
    *count = all;
    return NIB_OK;
}

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

nib_status nib_recipe_pattern(nib_recipe *r, const nib_yaml_node *n, const char *place, bool more,
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
    if (!made) return nib_recipe_no_memory(place, err);
    for (size_t i = 0; i < used; i++) made[i] = (*out)[i];
    for (; next_pair(&p, &name, &bytes, &value, &null); used++) {
        if (!nib_recipe_number(value, &made[used].value))
            return nib_fail(err, NIB_E_INVALID, "%s: '%.*s' has no number, as q_proj=4 has", place,
                            (int)nib_min(bytes, 200), name);
        made[used].name = nib_recipe_copy(r, name, bytes);
        if (!made[used].name) return nib_recipe_no_memory(place, err);
    }
    *out = made;
    *count = used;
    return NIB_OK;
}

/* Numbers and texts; null is what a function's argument is by default, and left out. */
nib_status nib_recipe_arguments(nib_recipe *r, const nib_yaml_node *n, const char *place,
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
    if (!made) return nib_recipe_no_memory(place, err);
    for (size_t i = 0; i < used; i++) made[i] = (*out)[i];
    while (next_pair(&p, &name, &bytes, &value, &null)) {
        if (null) continue;
        if (!*value)
            return nib_fail(err, NIB_E_INVALID, "%s: '%.*s' has no value, as num_cycles=2 has",
                            place, (int)nib_min(bytes, 200), name);
        made[used] = (nib_argument){ .name = nib_recipe_copy(r, name, bytes) };
        is_text = !nib_recipe_number(value, &made[used].value);
        if (is_text) made[used].text = nib_recipe_copy(r, value, strlen(value));
        if (!made[used].name || (is_text && !made[used].text))
            return nib_recipe_no_memory(place, err);
        used++;
    }
    *out = made;
    *count = used;
    return NIB_OK;
}
