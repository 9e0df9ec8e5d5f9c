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

const char *const nib_mlx_modes[] = { "affine", "mxfp4", "nvfp4", "mxfp8", NULL };

/* What each mode has where config.json has nothing; of floats there is no other. */
static const struct { unsigned bits, group; } defaults[] = {
    [NIB_MLX_AFFINE] = { 4, 64 }, [NIB_MLX_MXFP4] = { 4, 32 }, [NIB_MLX_NVFP4] = { 4, 16 },
    [NIB_MLX_MXFP8] = { 8, 32 },
};

nib_mlx_rule nib_mlx_mode_rule(nib_mlx_mode mode)
{
    return (nib_mlx_rule){ .mode = mode, .bits = defaults[mode].bits,
                           .group = defaults[mode].group };
}

enum { ABSENT = 1 << 30 };

static nib_status check(nib_mlx_rule *r, const char *where, nib_error *err)
{
    const char *module = r->module ? r->module : "", *colon = r->module ? ": " : "";
    unsigned b, g;

    if (r->bits == ABSENT) r->bits = defaults[r->mode].bits;
    if (r->group == ABSENT) r->group = defaults[r->mode].group;
    b = r->bits;
    g = r->group;
    if (r->mode != NIB_MLX_AFFINE) {
        if (b == defaults[r->mode].bits && g == defaults[r->mode].group) return NIB_OK;
        return nib_fail(err, NIB_E_UNSUPPORTED, "%s%.200s%smode %s has group_size %u and bits %u, "
                        "got %u and %u", where, module, colon, nib_mlx_modes[r->mode],
                        defaults[r->mode].group, defaults[r->mode].bits, g, b);
    }
    if (b < 2 || b > 8 || b == 7)
        return nib_fail(err, NIB_E_UNSUPPORTED, "%s%.200s%sbits: MLX packs 2, 3, 4, 5, 6 or 8, got "
                        "%u", where, module, colon, b);
    if (g != 32 && g != 64 && g != 128)
        return nib_fail(err, NIB_E_UNSUPPORTED, "%s%.200s%sgroup_size: MLX has 32, 64 or 128, got "
                        "%u", where, module, colon, g);
    return NIB_OK;
}

/* One of the three keys of an object; list: the key and its value alone. */
static nib_status take(const nib_setting *list, const char *where, nib_mlx_rule *r, nib_error *err)
{
    nib_status status = nib_setting_count(list, where, "bits", &r->bits, err);

    if (!status) status = nib_setting_count(list, where, "group_size", &r->group, err);
    if (status || strcmp(list->key, "mode") != 0 || !list->value) return status;
    for (unsigned i = 0; nib_mlx_modes[i]; i++)
        if (strcmp(list->value, nib_mlx_modes[i]) == 0) {
            r->mode = (nib_mlx_mode)i;
            return NIB_OK;
        }
    return nib_fail(err, NIB_E_UNSUPPORTED, "%s%.200s%smode '%.40s' of MLX is not read; known are "
                    "affine, mxfp4, nvfp4 and mxfp8", where, r->module ? r->module : "",
                    r->module ? ": " : "", list->value);
}

/* What an object leaves out has MLX's default, not that of all. */
static nib_status take_object(const nib_setting **at, const char *where, nib_mlx_rule *r,
                              nib_error *err)
{
    const nib_setting *s = *at;
    size_t n = strlen(s->key);
    nib_status status = NIB_OK;

    r->bits = r->group = ABSENT;
    r->mode = NIB_MLX_AFFINE;
    for (s++; s->key && strncmp(s->key, (*at)->key, n) == 0 && s->key[n] == '/' && !status; s++) {
        const nib_setting one[] = { { s->key + n + 1, s->value }, { NULL, NULL } };
        if (!is_key(one->key))
            status = nib_fail(err, NIB_E_UNSUPPORTED, "%s%.200s: the key %.60s is not known; known "
                              "are group_size, bits and mode", where, r->module, one->key);
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
    *rules = (nib_mlx_rules){ .all = { .bits = ABSENT, .group = ABSENT } };
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
