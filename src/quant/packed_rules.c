/* packed_rules.c - see packed_rules.h. */
#include "quant/packed_rules.h"

#include <stdio.h>

#include "quant/names.h"

/* The value of PATH/key. */
static const char *inner(const nib_setting *config, const char *path, const char *key)
{
    char whole[300];

    snprintf(whole, sizeof whole, "%.200s/%s", path, key);
    return nib_setting_value(config, whole);
}

static bool says(const char *value, const char *word) { return value && strcmp(value, word) == 0; }

/* Null, {}, or absent. */
static bool is_empty(const char *value) { return !value || says(value, "{}"); }

/* --- targets --- */

static void free_targets(nib_ctx *ctx, nib_packed_targets *t)
{
    for (size_t i = 0; i < t->count; i++) nib_python_regex_destroy(ctx, t->at[i].regex);
    nib_free(ctx, t->at);
    nib_names_free(ctx, t->names);
}

static nib_status read_targets(nib_ctx *ctx, const nib_setting *config, const char *key,
                               const char *where, nib_packed_targets *t, nib_error *err)
{
    nib_names *names = NULL;
    nib_status status = nib_names_read(ctx, config, key, where, &names, err);

    if (status || !names) return status;
    t->names = names;
    t->at = nib_new_array(ctx, names->count, sizeof *t->at);
    if (!t->at) return nib_fail(err, NIB_E_NOMEM, "%s%s: out of memory", where, key);
    for (size_t i = 0; i < names->count && !status; i++) {
        t->at[t->count++].text = names->at[i];
        if (strncmp(names->at[i], "re:", 3) == 0)
            status = nib_python_regex_create(ctx, key, "", names->at[i] + 3, "", &t->at[i].regex,
                                             err);
    }
    return status;
}

typedef enum match { NONE, CLASS, EXPRESSION, NAME } match; /* the better after the worse */

static nib_status best_match(const nib_packed_targets *t, const nib_format_module *module,
                             match *best, nib_error *err)
{
    *best = NONE;
    for (size_t i = 0; i < t->count; i++) {
        const nib_packed_target *target = &t->at[i];
        match found = NONE;
        bool yes = false;
        nib_status status = NIB_OK;

        if (target->regex)
            status = nib_python_regex_match(target->regex, module->name, false, &yes, NULL, err);
        if (status) return status;
        if (yes) found = EXPRESSION;
        else if (strcmp(target->text, module->name) == 0) found = NAME;
        else if (says(target->text, module->class) || says(target->text, "Module")) found = CLASS;
        if (found > *best) *best = found;
    }
    return NIB_OK;
}

nib_status nib_packed_rules_find(const nib_packed_rules *rules, const nib_format_module *module,
                                 const nib_packed_group **group, nib_error *err)
{
    match best, found = NONE;
    nib_status status = best_match(&rules->ignore, module, &best, err);

    *group = NULL;
    if (status || best) return status;
    for (size_t i = 0; i < rules->count; i++) {
        status = best_match(&rules->groups[i].targets, module, &best, err);
        if (status) return status;
        if (best <= found) continue;
        found = best;
        *group = &rules->groups[i];
    }
    return NIB_OK;
}

/* --- one group --- */

static void cannot(nib_packed_group *g, const char *format, const char *what)
{
    snprintf(g->why, sizeof g->why, format, what);
    g->unread = g->why;
}

static void set_float8(nib_packed_group *g, unsigned rows, unsigned columns)
{
    g->type = NIB_PACKED_FLOAT8;
    g->float8 = (nib_float8_said){ .options = { .rows = rows, .columns = columns },
                                   .exact = true, .rounded = true };
}

static bool set_float4(nib_packed_group *g, nib_float4_kind kind)
{
    g->type = NIB_PACKED_FLOAT4;
    g->float4 = kind;
    return true;
}

/* "W4A16", whose members are its targets. */
static bool read_preset(const char *name, nib_packed_group *g)
{
    char asym[8] = "";
    unsigned bits = 0, activations = 0;

    g->preset = true;
    g->options.group = 128;
    if (strcmp(name, "FP8") == 0) return set_float8(g, 0, 0), true;
    if (strcmp(name, "FP8_DYNAMIC") == 0) return set_float8(g, 1, 0), true;
    if (strcmp(name, "FP8_BLOCK") == 0) return set_float8(g, 128, 128), true;
    if (strcmp(name, "NVFP4") == 0 || strcmp(name, "NVFP4A16") == 0)
        return set_float4(g, NIB_NVFP4);
    if (strcmp(name, "MXFP4") == 0 || strcmp(name, "MXFP4A16") == 0 ||
        strcmp(name, "MXFP4XFP8") == 0)
        return set_float4(g, NIB_MXFP4);
    if (strcmp(name, "INT8") == 0 || strcmp(name, "W8A8") == 0) {
        g->options.bits = 8;
        g->options.group = NIB_GROUP_ROW;
        return true;
    }
    if (sscanf(name, "W%uA%u%7s", &bits, &activations, asym) < 2 || bits < 2 || bits > 8)
        return false;
    g->options.bits = bits;
    g->options.asymmetric = strcmp(asym, "_ASYM") == 0;
    return !*asym || g->options.asymmetric;
}

/* Weights of type float with 8 bits: E4M3. */
static nib_status read_float8(const nib_setting *config, const char *where, const char *weights,
                              nib_packed_group *g, nib_error *err)
{
    const char *strategy = inner(config, weights, "strategy");
    const char *text = inner(config, weights, "block_structure");
    const nib_setting own[] = { { "rows", inner(config, weights, "block_structure/0") },
                                { "columns", inner(config, weights, "block_structure/1") },
                                { 0 } };
    unsigned rows = 0, columns = 0;
    nib_status status;

    if (!strategy || says(strategy, "tensor")) return set_float8(g, 0, 0), NIB_OK;
    if (says(strategy, "channel")) return set_float8(g, 1, 0), NIB_OK;
    if (!says(strategy, "block")) {
        cannot(g, "floats with strategy %.40s (known are tensor, channel and block)", strategy);
        return NIB_OK;
    }
    status = nib_setting_count(own, where, "rows", &rows, err);
    if (!status) status = nib_setting_count(own, where, "columns", &columns, err);
    if (status) return status;
    if (!rows && text) sscanf(text, "%ux%u", &rows, &columns); /* "128x128", of old files */
    if (!rows || !columns)
        return nib_fail(err, NIB_E_FORMAT, "%sblock_structure: expected two numbers above 0, got "
                        "%.40s", where, text ? text : "nothing");
    set_float8(g, rows, columns);
    return NIB_OK;
}

/* Weights of type float with 4 bits: E2M1, whose groups and their scales are one of two kinds. */
static nib_status read_float4(const nib_setting *config, const char *where, const char *weights,
                              nib_packed_group *g, nib_error *err)
{
    const char *strategy = inner(config, weights, "strategy");
    const nib_setting own[] = { { "group_size", inner(config, weights, "group_size") }, { 0 } };
    unsigned group = NIB_GROUP_ROW;
    nib_status status = nib_setting_group(own, where, "group_size", &group, err);

    if (status) return status;
    if (group == 16 && says(strategy, "tensor_group")) set_float4(g, NIB_NVFP4);
    else if (group == 32 && (!strategy || says(strategy, "group"))) set_float4(g, NIB_MXFP4);
    else
        snprintf(g->why, sizeof g->why, "floats of 4 bits with strategy %.40s and group_size %.20s "
                 "(known: tensor_group, 16; group, 32)",
                 strategy ? strategy : "null", own[0].value ? own[0].value : "null");
    if (*g->why) g->unread = g->why;
    return NIB_OK;
}

static nib_status read_strategy(const nib_setting *config, const char *where, const char *weights,
                                nib_packed_group *g, nib_error *err)
{
    const char *strategy = inner(config, weights, "strategy");
    const char *size = inner(config, weights, "group_size");
    const nib_setting own[] = { { "group_size", size }, { 0 } };
    unsigned group = NIB_GROUP_ROW;
    nib_status status = nib_setting_group(own, where, "group_size", &group, err);

    if (status) return status;
    if (!strategy) strategy = !size ? "tensor" : group == NIB_GROUP_ROW ? "channel" : "group";
    if (says(strategy, "tensor")) g->options.group = NIB_GROUP_TENSOR;
    else if (says(strategy, "channel")) g->options.group = NIB_GROUP_ROW;
    else if (says(strategy, "group")) g->options.group = group;
    else cannot(g, "strategy %.40s (known are group, channel and tensor)", strategy);
    return NIB_OK;
}

static nib_status read_weights(const nib_setting *config, const char *where, const char *weights,
                               nib_packed_group *g, nib_error *err)
{
    const char *type = inner(config, weights, "type"), *order = inner(config, weights, "actorder");
    const char *dynamic = inner(config, weights, "dynamic");
    const nib_setting own[] = { { "num_bits", inner(config, weights, "num_bits") },
                                { "symmetric", inner(config, weights, "symmetric") }, { 0 } };
    bool symmetric = true;
    nib_status status;

    g->options.bits = 8;
    status = nib_setting_count(own, where, "num_bits", &g->options.bits, err);
    if (!status) status = nib_setting_bool(own, where, "symmetric", &symmetric, err);
    if (!status && says(type, "float") && !symmetric) {
        cannot(g, "%.40s that are not symmetric", "floats");
        return NIB_OK;
    }
    if (!status && says(type, "float") && g->options.bits == 8)
        return read_float8(config, where, weights, g, err);
    if (!status && says(type, "float") && g->options.bits == 4)
        return read_float4(config, where, weights, g, err);
    if (!status) status = read_strategy(config, where, weights, g, err);
    if (status) return status;
    g->options.asymmetric = !symmetric;
    g->by_order = says(order, "group") || says(order, "dynamic") || says(order, "true");
    if (type && strcmp(type, "int") != 0) cannot(g, "weights of type %.40s", type);
    else if (g->options.bits < 2 || g->options.bits > 8)
        cannot(g, "num_bits %.40s (known are 2 to 8)", own[0].value);
    else if (dynamic && strcmp(dynamic, "false") != 0)
        cannot(g, "weights with dynamic %.40s", dynamic);
    return NIB_OK;
}

/* The names of formats that are read; their tensors tell which it is. */
static bool is_read(const char *format)
{
    static const char *const names[] = { "dense", "pack-quantized", "int-quantized",
                                         "float-quantized", "naive-quantized",
                                         "nvfp4-pack-quantized", "mxfp4-pack-quantized",
                                         "mixed-precision" };

    for (size_t i = 0; format && i < NIB_COUNT(names); i++)
        if (strcmp(format, names[i]) == 0) return true;
    return !format;
}

static nib_status read_group(nib_ctx *ctx, const nib_setting *config, const char *where,
                             const nib_setting *s, const char *name, nib_packed_group *g,
                             nib_error *err)
{
    char weights[300], targets[300], place[600];
    const char *format = inner(config, s->key, "format");
    bool preset = s->value && s->value[0] == '[';
    nib_status status;

    snprintf(place, sizeof place, "%.400s%.150s: ", where, s->key);
    snprintf(weights, sizeof weights, "%.200s/weights", s->key);
    snprintf(targets, sizeof targets, "%.200s%s", s->key, preset ? "" : "/targets");
    g->options.maker = NIB_GROUPED_PACK;
    status = read_targets(ctx, config, targets, where, &g->targets, err);
    if (status) return status;
    if (preset) {
        if (!read_preset(name, g)) cannot(g, "the preset %.40s", name);
        return NIB_OK;
    }
    if (is_empty(nib_setting_value(config, weights))) {
        cannot(g, "no weights (%.40s)", "activations alone");
        return NIB_OK;
    }
    status = read_weights(config, place, weights, g, err);
    if (status) return status;
    if (!is_empty(inner(config, s->key, "output_activations")))
        cannot(g, "%.40s: outputs would have to be rounded", "output_activations");
    if (!is_read(format)) cannot(g, "format %.40s", format);
    return NIB_OK;
}

static nib_status read_groups(nib_ctx *ctx, const nib_setting *config, const char *where,
                              nib_packed_rules *rules, nib_error *err)
{
    const nib_setting *at = config, *s;
    const char *name;
    size_t count = 0;
    nib_status status = NIB_OK;

    while (nib_setting_member(&at, "config_groups", &name)) count++;
    if (!count)
        return nib_fail(err, NIB_E_FORMAT, "%sconfig_groups is missing or has no group", where);
    rules->groups = nib_new_array(ctx, count, sizeof *rules->groups);
    if (!rules->groups) return nib_fail(err, NIB_E_NOMEM, "%sout of memory", where);
    for (at = config; !status && (s = nib_setting_member(&at, "config_groups", &name));)
        status = read_group(ctx, config, where, s, name, &rules->groups[rules->count++], err);
    return status;
}

/* What holds for the whole file. */
static nib_status check_whole(nib_ctx *ctx, const nib_setting *config, const char *where,
                              nib_error *err)
{
    const char *format = nib_setting_value(config, "format");
    const char *sparse = nib_setting_value(config, "sparsity_config/format");
    const char *status = nib_setting_value(config, "quantization_status");

    if (!is_read(format))
        return nib_fail(err, NIB_E_UNSUPPORTED, "%sformat %.60s; known are pack-, int-, float-, "
                        "nvfp4-pack- and mxfp4-pack-quantized: take the checkpoint before it was "
                        "made sparse or repacked",
                        where, format);
    if (sparse && strcmp(sparse, "dense") != 0)
        return nib_fail(err, NIB_E_UNSUPPORTED,
                        "%ssparsity_config with format %.40s; known is dense", where, sparse);
    if (!is_empty(nib_setting_value(config, "moe_sparsity_config")))
        return nib_fail(err, NIB_E_UNSUPPORTED, "%smoe_sparsity_config: experts are made sparse; "
                        "known is none", where);
    if (!is_empty(nib_setting_value(config, "transform_config")))
        return nib_fail(err, NIB_E_UNSUPPORTED, "%stransform_config: the weights are rotated, and "
                        "activations would have to be; known is none", where);
    if (!says(status, "compressed"))
        nib_warn(ctx,
                 "%squantization_status is %.40s, not compressed: transformers does not unpack "
                 "such a file",
                 where, status ? status : "missing");
    return NIB_OK;
}

nib_status nib_packed_rules_read(nib_ctx *ctx, const nib_setting *config, const char *where,
                                 nib_packed_rules **out, nib_error *err)
{
    nib_packed_rules *rules = nib_new(ctx, sizeof *rules);
    nib_status status;

    *out = rules;
    if (!rules) return nib_fail(err, NIB_E_NOMEM, "%sout of memory", where);
    status = check_whole(ctx, config, where, err);
    if (!status) status = read_targets(ctx, config, "ignore", where, &rules->ignore, err);
    if (!status) status = read_groups(ctx, config, where, rules, err);
    return status;
}

void nib_packed_rules_free(nib_ctx *ctx, nib_packed_rules *rules)
{
    if (!rules) return;
    free_targets(ctx, &rules->ignore);
    for (size_t i = 0; i < rules->count; i++) free_targets(ctx, &rules->groups[i].targets);
    nib_free(ctx, rules->groups);
    nib_free(ctx, rules);
}
