/* mlx_rules.c - see mlx_rules.h. */
#include "quant/mlx_rules.h"

#include "quant/mlx_names.h"

static const char *const keys[] = { "group_size", "bits", "mode" };

static bool is_key(const char *key)
{
    for (size_t i = 0; i < NIB_COUNT(keys); i++)
        if (strcmp(key, keys[i]) == 0) return true;
    return false;
}

static nib_status check(const nib_mlx_rule *r, const char *where, nib_error *err)
{
    unsigned b = r->bits, g = r->group;

    if (b < 2 || b > 8 || b == 7)
        return nib_fail(err, NIB_E_UNSUPPORTED, "%s%s%sbits: MLX packs 2, 3, 4, 5, 6 or 8, got %u",
                        where, r->module ? r->module : "", r->module ? ": " : "", b);
    if (g != 32 && g != 64 && g != 128)
        return nib_fail(err, NIB_E_UNSUPPORTED, "%s%s%sgroup_size: MLX has 32, 64 or 128, got %u",
                        where, r->module ? r->module : "", r->module ? ": " : "", g);
    return NIB_OK;
}

/* One of the three keys of an object; list: the key and its value alone. */
static nib_status take(const nib_setting *list, const char *where, nib_mlx_rule *r, nib_error *err)
{
    nib_status status = nib_setting_count(list, where, "bits", &r->bits, err);

    if (!status) status = nib_setting_count(list, where, "group_size", &r->group, err);
    if (status || strcmp(list->key, "mode") != 0 || !list->value ||
        strcmp(list->value, "affine") == 0)
        return status;
    return nib_fail(err, NIB_E_UNSUPPORTED, "%s%s%smode '%.40s' of MLX is not read; known is "
                    "affine", where, r->module ? r->module : "", r->module ? ": " : "",
                    list->value);
}

/* What an object leaves out has MLX's default, not that of all. */
static nib_status take_object(const nib_setting **at, const char *where, nib_mlx_rule *r,
                              nib_error *err)
{
    const nib_setting *s = *at;
    size_t n = strlen(s->key);
    nib_status status = NIB_OK;

    r->bits = 4;
    r->group = 64;
    for (s++; s->key && strncmp(s->key, (*at)->key, n) == 0 && s->key[n] == '/' && !status; s++) {
        const nib_setting one[] = { { s->key + n + 1, s->value }, { NULL, NULL } };
        if (!is_key(one->key))
            status = nib_fail(err, NIB_E_INVALID, "%s%.200s: the key %.60s is not known; known are "
                              "group_size, bits and mode", where, r->module, one->key);
        else status = take(one, where, r, err);
    }
    *at = s;
    return status ? status : check(r, where, err);
}

static nib_status take_module(const nib_setting **at, const char *where, nib_mlx_rule *r,
                              nib_error *err)
{
    const nib_setting *s = *at;

    if (s->value && *s->value == '{') return take_object(at, where, r, err);
    *at = s + 1;
    r->dense = !s->value || strcmp(s->value, "false") == 0; /* null is false, as Python has it */
    if (r->dense || strcmp(s->value, "true") == 0) return NIB_OK;
    return nib_fail(err, NIB_E_INVALID, "%s%.200s: %.60s; known are group_size, bits, mode, and "
                    "modules with false or with an object of these", where, s->key, s->value);
}

static nib_status read_all(const nib_setting *config, const char *where, nib_mlx_rules *rules,
                           char *names, nib_error *err)
{
    const nib_setting *s = config;
    nib_status status = NIB_OK;

    for (; s->key && !status; s++)
        if (is_key(s->key))
            status = take((nib_setting[]){ *s, { NULL, NULL } }, where, &rules->all, err);
    if (!status) status = check(&rules->all, where, err);
    for (s = config; s->key && !status;) {
        nib_mlx_rule *r = &rules->single[rules->count];
        if (is_key(s->key) || strcmp(s->key, "quant_method") == 0) { /* null: means() has seen it */
            s++;
            continue;
        }
        *r = rules->all;
        r->module = names;
        names = strcpy(names, s->key) + strlen(s->key) + 1;
        rules->count++;
        status = take_module(&s, where, r, err);
    }
    return status;
}

nib_status nib_mlx_rules_read(nib_ctx *ctx, const nib_setting *config, const char *where,
                              nib_mlx_rules **out, nib_error *err)
{
    size_t count = 0, bytes = 0;
    nib_mlx_rules *rules;
    nib_status status;

    for (const nib_setting *s = config; s->key; s++) count++, bytes += strlen(s->key) + 1;
    rules = nib_alloc(ctx, sizeof *rules + count * sizeof *rules->single + bytes);
    if (!rules) return nib_fail(err, NIB_E_NOMEM, "%sout of memory", where);
    *rules = (nib_mlx_rules){ .all = { .bits = 4, .group = 64 } };
    status = read_all(config, where, rules, (char *)(rules->single + count), err);
    if (!status) *out = rules;
    else nib_free(ctx, rules);
    return status;
}

static bool ends_with_module(const char *rule, const char *module)
{
    size_t n = strlen(rule), m = strlen(module);

    return n > m && rule[n - m - 1] == '.' && strcmp(rule + n - m, module) == 0;
}

const nib_mlx_rule *nib_mlx_rules_find(const nib_mlx_rules *rules, const char *module)
{
    const nib_mlx_rule *inside = NULL;
    char stack[NIB_MLX_NAME_ROOM];

    if (nib_mlx_stack_of(module, stack)) module = stack;
    for (size_t i = 0; i < rules->count; i++) {
        const nib_mlx_rule *r = &rules->single[i];
        if (strcmp(r->module, module) == 0) return r;
        if (!inside && ends_with_module(r->module, module)) inside = r;
    }
    return inside ? inside : &rules->all;
}
