/* peft_config.c - reading adapter_config.json and refusing what nibble cannot compute. */
#include "adapter/peft_config.h"

#include <math.h>
#include <stdio.h>
#include <strings.h>

#include "adapter/peft_tokens.h"
#include "adapter/start.h"
#include "base/filemap.h"
#include "base/place.h"
#include "format/json.h"

nib_peft_config nib_peft_config_default(void)
{
    return (nib_peft_config){ .r = 8, .lora_alpha = 8, .init_lora_weights = "true",
                              .loftq_iter = 1, .peft_type = "LORA" };
}

void nib_peft_names_free(nib_ctx *ctx, nib_peft_names *names)
{
    for (size_t i = 0; i < names->count; i++) nib_free(ctx, names->names[i]);
    nib_free(ctx, names->names);
    *names = (nib_peft_names){ 0 };
}

static void free_pattern(nib_ctx *ctx, nib_peft_pattern *pattern, size_t count)
{
    for (size_t i = 0; i < count; i++) nib_free(ctx, pattern[i].key);
    nib_free(ctx, pattern);
}

void nib_peft_config_free(nib_ctx *ctx, nib_peft_config *cfg)
{
    nib_peft_names_free(ctx, &cfg->target_modules);
    nib_peft_names_free(ctx, &cfg->target_parameters);
    nib_peft_names_free(ctx, &cfg->exclude_modules);
    nib_peft_names_free(ctx, &cfg->modules_to_save);
    nib_peft_names_free(ctx, &cfg->layers_pattern);
    nib_peft_tokens_free(ctx, cfg);
    free_pattern(ctx, cfg->rank_pattern, cfg->rank_count);
    free_pattern(ctx, cfg->alpha_pattern, cfg->alpha_count);
    nib_free(ctx, cfg->layers);
    nib_free(ctx, cfg->not_computed);
    nib_free(ctx, cfg->task_type);
    nib_free(ctx, cfg->base_model_name_or_path);
    nib_free(ctx, cfg->revision);
    nib_free(ctx, cfg->peft_version);
    *cfg = (nib_peft_config){ 0 };
}

nib_status nib_peft_names_set(nib_ctx *ctx, nib_peft_names *to, nib_peft_names_kind kind,
                              const char *const *names, size_t count, nib_error *err)
{
    nib_peft_names made = { .kind = kind };

    made.names = nib_new_array(ctx, count, sizeof *made.names);
    if (!made.names) return nib_fail(err, NIB_E_NOMEM, "adapter config: out of memory");
    for (; made.count < count; made.count++) {
        made.names[made.count] = nib_strdup(ctx, names[made.count]);
        if (!made.names[made.count]) {
            nib_peft_names_free(ctx, &made);
            return nib_fail(err, NIB_E_NOMEM, "adapter config: out of memory");
        }
    }
    nib_peft_names_free(ctx, to);
    *to = made;
    return NIB_OK;
}

/* What the reading functions pass around. */
typedef struct reader {
    nib_ctx *ctx;
    const json_t *root;
    const char *where;
    nib_error *err;
    bool describes; /* what is not computed is noted, not refused */
} reader;

static nib_status no_memory(const reader *r)
{
    return nib_fail(r->err, NIB_E_NOMEM, "%s: out of memory", r->where);
}

/* Null, a list of strings, or, where `string_kind` allows it, one string. */
static nib_status read_names(const reader *r, const char *key, nib_peft_names_kind string_kind,
                             nib_peft_names *out)
{
    const json_t *value = json_object_get(r->root, key), *item;
    size_t i;

    if (!value || json_is_null(value)) return NIB_OK;
    if (json_is_string(value) && string_kind != NIB_PEFT_NONE) {
        const char *text = json_string_value(value);
        return nib_peft_names_set(r->ctx, out, string_kind, &text, 1, r->err);
    }
    if (!json_is_array(value))
        return nib_fail(r->err, NIB_E_FORMAT, "%s: %s is neither null nor a list%s", r->where, key,
                        string_kind == NIB_PEFT_NONE ? "" : " nor a string");
    out->kind = NIB_PEFT_LIST;
    out->names = nib_new_array(r->ctx, json_array_size(value), sizeof *out->names);
    if (!out->names) return no_memory(r);
    json_array_foreach(value, i, item) {
        if (!json_is_string(item) || !*json_string_value(item))
            return nib_fail(r->err, NIB_E_FORMAT, "%s: %s holds something that is not a name",
                            r->where, key);
        out->names[i] = nib_strdup(r->ctx, json_string_value(item));
        if (!out->names[i]) return no_memory(r);
        out->count = i + 1;
    }
    return NIB_OK;
}

static nib_status read_pattern(const reader *r, const char *key, bool whole,
                               nib_peft_pattern **out, size_t *count)
{
    json_t *value = json_object_get(r->root, key), *number;
    const char *name;

    if (!value || json_is_null(value)) return NIB_OK;
    if (!json_is_object(value))
        return nib_fail(r->err, NIB_E_FORMAT, "%s: %s is not an object", r->where, key);
    *out = nib_new_array(r->ctx, json_object_size(value), sizeof **out);
    if (!*out) return no_memory(r);
    json_object_foreach(value, name, number) {
        if (whole && (!json_is_integer(number) || json_integer_value(number) < 1 ||
                      json_integer_value(number) > INT32_MAX))
            return nib_fail(r->err, NIB_E_FORMAT, "%s: %s of %.200s is not a positive integer",
                            r->where, key, name);
        if (!json_is_number(number) || !isfinite(json_number_value(number)))
            return nib_fail(r->err, NIB_E_FORMAT, "%s: %s of %.200s is not a number", r->where, key,
                            name);
        (*out)[*count].key = nib_strdup(r->ctx, name);
        if (!(*out)[*count].key) return no_memory(r);
        (*out)[(*count)++].value = json_number_value(number);
    }
    return NIB_OK;
}

static nib_status read_layers(const reader *r, nib_peft_config *cfg)
{
    const json_t *value = json_object_get(r->root, "layers_to_transform");
    size_t count;

    if (!value || json_is_null(value)) return NIB_OK;
    cfg->layers_is_list = json_is_array(value);
    count = cfg->layers_is_list ? json_array_size(value) : 1;
    cfg->layers = nib_new_array(r->ctx, count, sizeof *cfg->layers);
    if (!cfg->layers) return no_memory(r);
    for (size_t i = 0; i < count; i++) {
        const json_t *item = cfg->layers_is_list ? json_array_get(value, i) : value;
        if (!json_is_integer(item))
            return nib_fail(r->err, NIB_E_FORMAT,
                            "%s: layers_to_transform is neither null, an integer "
                            "nor a list of integers",
                            r->where);
        cfg->layers[i] = json_integer_value(item);
    }
    cfg->layers_count = count;
    return NIB_OK;
}

static nib_status read_text(const reader *r, const char *key, char **out)
{
    const char *text = NULL;
    nib_status status = nib_json_get_string(r->root, r->where, key, &text, r->err);

    if (status || !text) return status;
    *out = nib_strdup(r->ctx, text);
    return *out ? NIB_OK : no_memory(r);
}

static nib_status read_init(const reader *r, nib_peft_config *cfg)
{
    static const char *const known[] = { "gaussian", "pissa", "olora", "eva", "corda", "loftq",
                                         "orthogonal", "lora_ga", "mica" };
    const json_t *value = json_object_get(r->root, "init_lora_weights");
    const char *text = json_string_value(value);
    int iterations;
    bool fine = text && strncmp(text, "pissa_niter_", 12) == 0 &&
                nib_start_of(text, &iterations) == NIB_START_PISSA;

    if (!value || json_is_true(value)) return NIB_OK;
    if (json_is_false(value)) {
        strcpy(cfg->init_lora_weights, "false");
        return NIB_OK;
    }
    for (size_t i = 0; text && i < NIB_COUNT(known); i++) fine |= strcmp(text, known[i]) == 0;
    if (!fine)
        return nib_fail(r->err, NIB_E_FORMAT, "%s: init_lora_weights %.100s is not known", r->where,
                        text ? text : "is neither true, false nor a string, and");
    strcpy(cfg->init_lora_weights, text);
    return NIB_OK;
}

static nib_status read_loftq(const reader *r, nib_peft_config *cfg)
{
    const json_t *value = json_object_get(r->root, "loftq_config");
    nib_status s;

    if (!value || json_is_null(value)) return NIB_OK;
    if (!json_is_object(value))
        return nib_fail(r->err, NIB_E_FORMAT, "%s: loftq_config is not an object", r->where);
    s = nib_json_get_int(value, r->where, "loftq_bits", 1, 64, &cfg->loftq_bits, r->err);
    if (s) return s;
    return nib_json_get_int(value, r->where, "loftq_iter", 1, INT32_MAX, &cfg->loftq_iter, r->err);
}

/* True for null, false, and empty lists, objects and strings: the feature is not used. */
static bool off(const json_t *value)
{
    return !value || json_is_null(value) || json_is_false(value) ||
           (json_is_array(value) && json_array_size(value) == 0) ||
           (json_is_object(value) && json_object_size(value) == 0) ||
           (json_is_string(value) && json_string_length(value) == 0);
}

/* Kinds of adapters that are LoRA by peft_type and are not computed, by the key that asks for
 * them. */
static const struct { const char *key, *name; } variants[] = {
    { "lora_bias", "a bias of the low-rank branch" },
    { "alora_invocation_tokens", "activated LoRA" },
    { "arrow_config", "Arrow routing" },
    { "kasa_config", "KaSA" },
    { "use_bdlora", "block-diagonal LoRA" },
    { "use_qalora", "QA-LoRA" },
    { "monteclora_config", "MonteCLoRA" },
    { "layer_replication", "repeated layers" },
    { "megatron_config", "Megatron layers" },
};

/* One more kind that is not computed: an error, or a part of the description. */
static nib_status note_variant(const reader *r, nib_peft_config *cfg, const char *name,
                               const char *key)
{
    char *longer;

    if (!r->describes)
        return nib_fail(r->err, NIB_E_UNSUPPORTED,
                        "%s: %s is set (%s), and nibble does not compute this kind of adapter",
                        r->where, key, name);
    longer = nib_sprintf(r->ctx, "%s%s%s (%s)", cfg->not_computed ? cfg->not_computed : "",
                         cfg->not_computed ? ", " : "", name, key);
    if (!longer) return no_memory(r);
    nib_free(r->ctx, cfg->not_computed);
    cfg->not_computed = longer;
    return NIB_OK;
}

static nib_status read_variants(const reader *r, nib_peft_config *cfg)
{
    /* those read, and those that do not change a loaded adapter */
    static const char *const fields[] = {
        "peft_type",
        "task_type",
        "base_model_name_or_path",
        "revision",
        "inference_mode",
        "auto_mapping",
        "peft_version",
        "r",
        "lora_alpha",
        "use_rslora",
        "use_dora",
        "lora_dropout",
        "target_modules",
        "target_parameters",
        "trainable_token_indices",
        "exclude_modules",
        "bias",
        "modules_to_save",
        "fan_in_fan_out",
        "init_lora_weights",
        "rank_pattern",
        "alpha_pattern",
        "layers_to_transform",
        "layers_pattern",
        "loftq_config",
        "eva_config",
        "corda_config",
        "lora_ga_config",
        "megatron_core",
        "qalora_group_size",
        "ensure_weight_tying",
        "velora_config",
        "runtime_config",
    };
    nib_status status;
    json_t *value;
    const char *key;

    for (size_t i = 0; i < NIB_COUNT(variants); i++) {
        if (off(json_object_get(r->root, variants[i].key))) continue;
        status = note_variant(r, cfg, variants[i].name, variants[i].key);
        if (status) return status;
    }
    if (!off(json_object_get(r->root, "velora_config")))
        nib_warn(r->ctx, "%s: velora_config saves memory in training only, and is ignored",
                 r->where);
    json_object_foreach((json_t *)r->root, key, value) {
        bool known = false;
        for (size_t i = 0; i < NIB_COUNT(variants); i++) known |= strcmp(key, variants[i].key) == 0;
        for (size_t i = 0; i < NIB_COUNT(fields); i++) known |= strcmp(key, fields[i]) == 0;
        if (!known)
            nib_warn_code(r->ctx, "unused-key", "%s: %.200s is not known, and ignored", r->where,
                          key);
    }
    return NIB_OK;
}

static nib_status read_type(const reader *r, nib_peft_config *cfg)
{
    const char *type = NULL;
    nib_status status = nib_json_get_string(r->root, r->where, "peft_type", &type, r->err);

    if (status) return status;
    if (!type) return nib_fail(r->err, NIB_E_FORMAT, "%s: peft_type is missing", r->where);
    snprintf(cfg->peft_type, sizeof cfg->peft_type, "%s", type);
    if (strcmp(type, "LORA") == 0) return NIB_OK;
    if (r->describes) return note_variant(r, cfg, cfg->peft_type, "peft_type");
    return nib_fail(r->err, NIB_E_UNSUPPORTED, "%s: peft_type %.100s, only LORA is supported",
                    r->where, type);
}

static nib_status read_bias(const reader *r, nib_peft_config *cfg)
{
    static const char *const words[] = { "none", "all", "lora_only" };
    const char *word = "none";
    nib_status status = nib_json_get_string(r->root, r->where, "bias", &word, r->err);

    if (status) return status;
    for (size_t i = 0; i < NIB_COUNT(words); i++) {
        if (strcmp(word, words[i]) == 0) {
            cfg->bias = (nib_peft_bias)i;
            return NIB_OK;
        }
    }
    return nib_fail(r->err, NIB_E_FORMAT, "%s: bias is %.100s, expected none, all or lora_only",
                    r->where, word);
}

/* The rules between fields that PEFT raises errors for. */
static nib_status check(const nib_peft_config *cfg, const char *where, nib_error *err)
{
    bool is_text = cfg->target_modules.kind == NIB_PEFT_REGEX ||
                   cfg->target_modules.kind == NIB_PEFT_ALL_LINEAR;
    bool layers_given = cfg->layers != NULL, pattern_given = cfg->layers_pattern.count > 0;

    if (cfg->r < 1)
        return nib_fail(err, NIB_E_FORMAT, "%s: r is %" PRId64 ", at least 1 is needed", where,
                        cfg->r);
    if (!(cfg->lora_dropout >= 0 && cfg->lora_dropout < 1))
        return nib_fail(err, NIB_E_FORMAT, "%s: lora_dropout is %g, expected 0 to below 1", where,
                        cfg->lora_dropout);
    if (is_text && (layers_given || pattern_given))
        return nib_fail(err, NIB_E_FORMAT,
                        "%s: %s cannot go with target_modules \"%.200s\": they need "
                        "a list",
                        where, layers_given ? "layers_to_transform" : "layers_pattern",
                        cfg->target_modules.names[0]);
    if (pattern_given && !layers_given)
        return nib_fail(err, NIB_E_FORMAT, "%s: layers_pattern is set, layers_to_transform is not",
                        where);
    return NIB_OK;
}

static nib_status read_fields(const reader *r, nib_peft_config *cfg)
{
    const json_t *o = r->root;
    nib_status s;

    if ((s = read_type(r, cfg))) return s;
    if ((s = read_text(r, "task_type", &cfg->task_type))) return s;
    if ((s = read_text(r, "base_model_name_or_path", &cfg->base_model_name_or_path))) return s;
    if (strcmp(cfg->peft_type, "LORA") != 0) return NIB_OK; /* described: other fields */
    if ((s = read_variants(r, cfg))) return s;
    if ((s = nib_json_get_int(o, r->where, "r", 1, INT32_MAX, &cfg->r, r->err))) return s;
    if ((s = nib_json_get_float(o, r->where, "lora_alpha", &cfg->lora_alpha, r->err))) return s;
    if ((s = nib_json_get_float(o, r->where, "lora_dropout", &cfg->lora_dropout, r->err))) return s;
    if ((s = nib_json_get_bool(o, r->where, "use_rslora", &cfg->use_rslora, r->err))) return s;
    if ((s = nib_json_get_bool(o, r->where, "use_dora", &cfg->use_dora, r->err))) return s;
    if ((s = nib_json_get_bool(o, r->where, "fan_in_fan_out", &cfg->fan_in_fan_out, r->err)))
        return s;
    if ((s = nib_json_get_bool(o, r->where, "inference_mode", &cfg->inference_mode, r->err)))
        return s;
    if ((s = nib_json_get_bool(o, r->where, "ensure_weight_tying", &cfg->ensure_weight_tying,
                               r->err)))
        return s;
    if ((s = read_bias(r, cfg))) return s;
    if ((s = read_init(r, cfg))) return s;
    if ((s = read_loftq(r, cfg))) return s;
    if ((s = read_names(r, "target_modules", NIB_PEFT_REGEX, &cfg->target_modules))) return s;
    if ((s = read_names(r, "target_parameters", NIB_PEFT_NONE, &cfg->target_parameters))) return s;
    if ((s = read_names(r, "exclude_modules", NIB_PEFT_REGEX, &cfg->exclude_modules))) return s;
    if ((s = read_names(r, "modules_to_save", NIB_PEFT_NONE, &cfg->modules_to_save))) return s;
    if ((s = read_names(r, "layers_pattern", NIB_PEFT_REGEX, &cfg->layers_pattern))) return s;
    if ((s = read_layers(r, cfg))) return s;
    if ((s = nib_peft_tokens_read(r->ctx, json_object_get(o, "trainable_token_indices"), r->where,
                                  cfg, r->err)))
        return s;
    if ((s = read_pattern(r, "rank_pattern", true, &cfg->rank_pattern, &cfg->rank_count))) return s;
    if ((s = read_pattern(r, "alpha_pattern", false, &cfg->alpha_pattern, &cfg->alpha_count)))
        return s;
    if ((s = read_text(r, "revision", &cfg->revision))) return s;
    if ((s = read_text(r, "peft_version", &cfg->peft_version))) return s;
    if (cfg->target_modules.kind == NIB_PEFT_REGEX &&
        strcasecmp(cfg->target_modules.names[0], "all-linear") == 0)
        cfg->target_modules.kind = NIB_PEFT_ALL_LINEAR;
    return check(cfg, r->where, r->err);
}

static nib_status parse(nib_ctx *ctx, const char *text, size_t bytes, const char *where,
                        bool describes, nib_peft_config *out, nib_error *err)
{
    nib_peft_config cfg = nib_peft_config_default();
    json_t *root = NULL;
    reader r = { .ctx = ctx, .where = where, .err = err, .describes = describes };
    nib_status status = nib_json_parse(text, bytes, where, 0, &root, err);

    if (status) goto done;
    if (!json_is_object(root)) {
        status = nib_fail(err, NIB_E_FORMAT, "%s: not an object", where);
        goto done;
    }
    r.root = root;
    status = read_fields(&r, &cfg);
    if (status) goto done;
    *out = cfg;
    cfg = (nib_peft_config){ 0 }; /* handed over */
done:
    json_decref(root);
    nib_peft_config_free(ctx, &cfg);
    return status;
}

nib_status nib_peft_config_parse(nib_ctx *ctx, const char *text, size_t bytes, const char *where,
                                 nib_peft_config *out, nib_error *err)
{
    return parse(ctx, text, bytes, where, false, out, err);
}

static nib_status read_file(nib_ctx *ctx, const char *dir, bool describes, nib_peft_config *out,
                            nib_error *err)
{
    enum { LARGEST = 64 << 20 };
    char *path = nib_sprintf(ctx, "%s/adapter_config.json", dir), *text = NULL;
    size_t bytes;
    nib_status status;

    if (!path) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", dir);
    status = nib_place_check(dir, "adapter_config.json", NIB_PLACE_ADAPTER, err);
    if (!status) status = nib_file_read(ctx, path, LARGEST, &text, &bytes, err);
    if (!status) status = parse(ctx, text, bytes, path, describes, out, err);
    nib_free(ctx, text);
    nib_free(ctx, path);
    return status;
}

nib_status nib_peft_config_read(nib_ctx *ctx, const char *dir, nib_peft_config *out, nib_error *err)
{
    return read_file(ctx, dir, false, out, err);
}

nib_status nib_peft_config_describe(nib_ctx *ctx, const char *dir, nib_peft_config *out,
                                    nib_error *err)
{
    return read_file(ctx, dir, true, out, err);
}
