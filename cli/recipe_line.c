/* recipe_line.c - see recipe_line.h. */
#include "recipe_line.h"

#include "option_words.h"

#include <string.h>
#include <sys/stat.h>

/* An alias takes a value where the key it stands for does. */
static bool is_flag(const nib_recipe_key *k)
{
    const nib_recipe_key *other;

    for (size_t i = 0; k->use == NIB_RECIPE_ALIAS && (other = nib_recipe_key_at(i)); i++)
        if (strcmp(other->name, k->help) == 0) return other->flag;
    return k->flag;
}

/* Keys that are without effect or refused, and aliases, are understood, not listed. */
size_t recipe_line_options(recipe_line *r, bool (*listed)(const char *name), const option *own,
                           size_t own_count, option to[RECIPE_MOST_OPTIONS])
{
    const nib_recipe_key *k;
    size_t n = 0;

    for (size_t i = 0; (k = nib_recipe_key_at(i)) && n < RECIPE_MOST_OPTIONS - own_count;
         i++, n++) {
        char *name = r->names[n];
        bool flag = is_flag(k), shown = k->use == NIB_RECIPE_USED && (!listed || listed(k->name));
        snprintf(name, RECIPE_NAME_ROOM, "%s", k->name);
        for (char *p = name; *p; p++)
            if (*p == '_') *p = '-';
        to[n] = (option){ name, flag ? OPTION_PAIR_FLAG : OPTION_PAIR, &r->pairs,
                          flag         ? NULL
                          : k->example ? k->example
                                       : "VALUE",
                          shown ? k->help : NULL };
    }
    for (size_t i = 0; i < own_count; i++) to[n++] = own[i];
    return n;
}

static bool is_key(const char *name) /* with dashes */
{
    const nib_recipe_key *k;

    for (size_t i = 0; (k = nib_recipe_key_at(i)); i++) {
        size_t n = 0;
        while (name[n] && (k->name[n] == '_' ? '-' : k->name[n]) == name[n]) n++;
        if (!name[n] && !k->name[n]) return true;
    }
    return false;
}

/* The key that a word of the command line stands for: itself, or what it is an alias of. */
static void take_alias(char name[RECIPE_NAME_ROOM])
{
    const char *other;

    for (char *p = name; *p; p++)
        if (*p == '_') *p = '-';
    for (size_t i = 0; !is_key(name) && (other = option_word_alias(name, i)); i++)
        if (is_key(other)) snprintf(name, RECIPE_NAME_ROOM, "%s", other);
    for (char *p = name; *p; p++)
        if (*p == '-') *p = '_';
}

static bool ends(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

int recipe_line_sort(recipe_line *r, verb *v)
{
    for (size_t i = 0; i < v->positional_count; i++) {
        const char *text = v->positional[i], *equals = strchr(text, '=');
        struct stat info;
        bool there = stat(text, &info) == 0;

        if (i == 0 && there && !S_ISDIR(info.st_mode) && !ends(text, ".gguf")) {
            r->path = text;
        } else if (equals && !(i == 0 && there)) {
            size_t n = (size_t)(equals - text);
            if (r->pairs.count == OPTION_PAIR_ROOM || n >= RECIPE_NAME_ROOM)
                return options_misuse(v, "expected key=value, got '%.60s'", text);
            snprintf(r->positional_names[i], RECIPE_NAME_ROOM, "%.*s", (int)n, text);
            take_alias(r->positional_names[i]);
            r->pairs.items[r->pairs.count].key = r->positional_names[i];
            r->pairs.items[r->pairs.count++].value = equals + 1;
        } else if (i == 0 && !there && (ends(text, ".yaml") || ends(text, ".yml"))) {
            r->path = text; /* opening it says what is wrong */
        } else if (i == 0) {
            /* there is room: pairs come with positionals */
            r->pairs.items[r->pairs.count].key = "model_name_or_path";
            r->pairs.items[r->pairs.count++].value = text;
        } else {
            return options_misuse(
                v, "unexpected argument '%s': after MODEL or RECIPE, expected key=value", text);
        }
    }
    return 0;
}

int recipe_line_read(recipe_line *r, session *s, verb *v, nib_status *status)
{
    *status = nib_recipe_create(s->ctx, &r->recipe, &s->err);
    if (!*status && r->path) *status = nib_recipe_load(r->recipe, r->path, &s->err);
    for (size_t i = 0; i < r->pairs.count && !*status; i++) {
        *status = nib_recipe_set(r->recipe, r->pairs.items[i].key, r->pairs.items[i].value,
                                 &s->err);
        if (*status == NIB_E_INVALID) return options_misuse(v, "%s", s->err.message);
    }
    if (!*status) *status = nib_recipe_finetune_options(r->recipe, &r->o, &s->err);
    if (*status) return 0;
    if (!r->o->model.model && r->path)
        return options_misuse(v, "%s: missing key model_name_or_path", r->path);
    if (!r->o->model.model) return options_misuse(v, "missing argument MODEL or RECIPE");
    if (!r->o->data.data && r->path) return options_misuse(v, "%s: missing key data", r->path);
    if (!r->o->data.data) return options_misuse(v, "missing option --data");
    return 0;
}

void recipe_line_free(recipe_line *r)
{
    nib_recipe_destroy(r->recipe);
    r->recipe = NULL;
}
