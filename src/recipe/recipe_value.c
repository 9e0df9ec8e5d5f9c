/* recipe_value.c - a value of a recipe, as the type its key asks for. */
#include <stdio.h>
#include <strings.h>

#include "recipe/recipe_values.h"

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
        if (!nib_recipe_bool(n, &yes)) return nib_recipe_wrong(place, n, err, "true or false");
        text = yes ? "true" : "false";
    } else if (row->words) {
        status = nib_recipe_text(r, row, n, place, &text, err);
    } else if (n->kind != NIB_YAML_SCALAR || !nib_recipe_number(n->text, &number)) {
        status = nib_recipe_wrong(place, n, err, "a number");
    } else if (!(text = nib_recipe_copy(r, n->text, strlen(n->text)))) {
        status = nib_recipe_no_memory(place, err);
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
        return nib_recipe_bool(n, &r->compute_flag[slot])
                   ? NIB_OK
                   : nib_recipe_wrong(place, n, err, "true or false");
    }
    for (size_t i = 0; n->kind == NIB_YAML_SCALAR && i < NIB_COUNT(names); i++)
        if (strcmp(strncmp(n->text, "torch.", 6) == 0 ? n->text + 6 : n->text, names[i]) == 0) {
            r->compute[slot] = values[i];
            return NIB_OK;
        }
    return nib_recipe_wrong(place, n, err, "auto, float32, bfloat16 or float16");
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
    case NIB_KEY_BOOL:
        return nib_recipe_bool(n, target) ? NIB_OK
                                          : nib_recipe_wrong(place, n, err, "true or false");
    case NIB_KEY_CHOICE:
        if (!nib_recipe_bool(n, &yes)) return nib_recipe_wrong(place, n, err, "true or false");
        *(int *)target = yes;
        return NIB_OK;
    case NIB_KEY_BATCH:
        if (n->kind == NIB_YAML_SCALAR && strcmp(n->text, "auto") == 0) {
            *(int *)target = 0;
            return NIB_OK;
        }
        if (!nib_recipe_integer(n, 1, INT32_MAX, &integer))
            return nib_recipe_wrong(place, n, err, "a whole number above 0, or auto");
        *(int *)target = (int)integer;
        return NIB_OK;
    case NIB_KEY_STEPS: case NIB_KEY_WARMUP:
        return nib_recipe_steps(row, n, place, target, count, err);
    case NIB_KEY_INT: case NIB_KEY_COUNT:
        if (!nib_recipe_integer(n, NIB_OPEN + 1, INT32_MAX, &integer))
            return nib_recipe_wrong(place, n, err, "a whole number");
        *(int *)target = (int)integer;
        return NIB_OK;
    case NIB_KEY_SEED: case NIB_KEY_LONG:
        if (!nib_recipe_integer(n, row->kind == NIB_KEY_SEED ? 0 : INT64_MIN, INT64_MAX, &integer))
            return nib_recipe_wrong(place, n, err,
                                    row->kind == NIB_KEY_SEED ? "a whole number from 0 on"
                                                              : "a whole number");
        if (row->kind == NIB_KEY_SEED) *(uint64_t *)target = (uint64_t)integer;
        else *(int64_t *)target = integer;
        return NIB_OK;
    case NIB_KEY_SIZE:
        if (nib_recipe_size(n, target)) return NIB_OK;
        return nib_recipe_wrong(place, n, err, "a size such as 6GiB or 512MiB");
    case NIB_KEY_FLOAT:
        if (n->kind == NIB_YAML_SCALAR && nib_recipe_number(n->text, target)) return NIB_OK;
        return nib_recipe_wrong(place, n, err, "a number");
    case NIB_KEY_TEXT: return nib_recipe_text(r, row, n, place, target, err);
    case NIB_KEY_JSON: return nib_recipe_read_json(r, n, place, target, err);
    case NIB_KEY_WORDS: return nib_recipe_words(r, row, n, place, target, err);
    case NIB_KEY_NAMES: return nib_recipe_names(r, n, place, more, target, err);
    case NIB_KEY_SOURCES: return nib_recipe_sources(r, n, place, more, target, (void *)count, err);
    case NIB_KEY_NUMBERS: return nib_recipe_numbers(r, n, place, more, target, count, err);
    case NIB_KEY_PATTERN: return nib_recipe_pattern(r, n, place, more, target, count, err);
    case NIB_KEY_ARGUMENTS:
        return nib_recipe_arguments(r, n, place, more, target, count, err);
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
            (nib_recipe_number(word, &a) && nib_recipe_number(n->text, &b) && a == b) ||
            (nib_recipe_bool(&(nib_yaml_node){ .text = word }, &yes) && nib_recipe_bool(n, &no) &&
             yes == no))
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
