/* recipe_json.c - a key whose value is an object of any shape: a YAML map, or the JSON text of one.
 * Kept as JSON text with its keys in order, so that two ways to write it are one value. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "format/json.h"
#include "recipe/recipe_keys.h"

/* A scalar by YAML's own rules: what is in quotes is a text. */
static json_t *scalar(const nib_yaml_node *n)
{
    char *end;
    long long whole;
    double real;

    if (n->quoted) return json_string(n->text);
    if (nib_yaml_is_null(n)) return json_null();
    if (strcmp(n->text, "true") == 0 || strcmp(n->text, "True") == 0) return json_true();
    if (strcmp(n->text, "false") == 0 || strcmp(n->text, "False") == 0) return json_false();
    if (strspn(n->text, "+-.0123456789eE") == strlen(n->text)) {
        errno = 0;
        whole = strtoll(n->text, &end, 10);
        if (!*end && !errno) return json_integer(whole);
        real = strtod(n->text, &end);
        if (!*end && isfinite(real)) return json_real(real);
    }
    return json_string(n->text);
}

static json_t *to_json(const nib_yaml_node *n) /* as deep as yaml.h allows */
{
    json_t *made = n->kind == NIB_YAML_SCALAR ? scalar(n)
                   : n->kind == NIB_YAML_LIST ? json_array()
                                              : json_object();
    int bad = !made;

    for (const nib_yaml_node *c = n->first; c && !bad; c = c->next) {
        json_t *value = to_json(c);
        bad = n->kind == NIB_YAML_LIST ? json_array_append_new(made, value)
                                       : json_object_set_new(made, c->key, value);
    }
    if (!bad) return made;
    json_decref(made);
    return NULL;
}

nib_status nib_recipe_read_json(nib_recipe *r, const nib_yaml_node *n, const char *place,
                                const char **out, nib_error *err)
{
    json_t *value = NULL;
    char *text = NULL;
    nib_status status = NIB_OK;

    if (n->kind == NIB_YAML_SCALAR)
        status = nib_json_parse(n->text, strlen(n->text), place,
                                NIB_JSON_ANY_VALUE | NIB_JSON_ONE_LINE, &value, err);
    else if (!(value = to_json(n)))
        status = nib_fail(err, NIB_E_NOMEM, "%s: out of memory", place);
    if (status == NIB_E_FORMAT) status = NIB_E_INVALID;
    if (!status && !json_is_object(value))
        status = nib_fail(
            err, NIB_E_INVALID,
            "%s: expected a map, or a JSON object such as {\"enable_thinking\": false}", place);
    if (!status) {
        text = nib_json_dump(r->ctx, value, JSON_SORT_KEYS);
        *out = text ? nib_recipe_copy(r, text, strlen(text)) : NULL;
        if (!*out) status = nib_fail(err, NIB_E_NOMEM, "%s: out of memory", place);
    }
    nib_free(r->ctx, text);
    json_decref(value);
    return status;
}
