/* format_fp8.c - checkpoints of E4M3 floats: quant_method "fp8", whose scales belong to blocks of
 * 128 x 128 (DeepSeek-V3, Qwen3), rows or whole matrices, GPTQModel's, whose scales divide, and
 * NVIDIA's, "modelopt", which has NVFP4 too (formats-quant.md 1, 3.4, 3.5).
 *
 * float8_open.h and float4_open.h have the tensors.  Which weights are quantized the tensors say:
 * libraries read the lists of modules that stay dense in different ways. */
#include <fnmatch.h>
#include <stdio.h>

#include "quant/float4_open.h"
#include "quant/float8_open.h"
#include "quant/formats.h"
#include "quant/grouped_open.h"
#include "quant/names.h"

static const char *const keys[] = { NULL };
static const char *const pieces[] = { ".weight_scale_inv", ".weight_scale", ".input_scale",
                                      ".k_scale", ".v_scale", ".weight_scale_2", NULL };
static const nib_float4_names float4_names = { ".weight", ".weight_scale", ".weight_scale_2",
                                               false };

/* GPTQModel's keys too.  Inputs are not rounded, nor a cache of keys and values. */
static const char *const fp8_keys[] = {
    "quant_method", "method", "format", "fmt", "weight_block_size/*", "weight_scale_method",
    "weight_scale_semantics", "scale_fmt", "activation_scheme", "expert_dtype",
    "modules_to_not_convert/*", "modules_to_convert/*", "ignored_layers/*", "dequantize", "bits",
    "lm_head", "meta/**", "pack_dtype", "group_size", "desc_act", "sym", "kv_cache_scheme/**",
    "kv_cache_quant_algo", "true_sequential", NULL };
static const char *const modelopt_keys[] = {
    "quant_method", "quant_algo", "ignore/*", "exclude_modules/*", "group_size",
    "kv_cache_scheme/**", "kv_cache_quant_algo", "producer/**", "version", "config_groups/**",
    "quantization_status", "format", "has_zero_point", NULL };

/* What config.json says of modules. */
typedef struct fp8_rules {
    nib_float8_said said;
    nib_names *skipped;
    bool patterns; /* of the shell, for whole names; else parts of names */
    bool float4;   /* NVFP4, not E4M3 */
} fp8_rules;

/* Nothing is encoded in E4M3: no setting asks for it. */
static nib_status read_settings(const nib_setting *s, const char *where, nib_form *form,
                                nib_error *err)
{
    (void)s, (void)form;
    return nib_fail(err, NIB_E_UNSUPPORTED, "%sfp8 is read and not written", where);
}

static void settings_of(const nib_form *form, nib_settings *out)
{
    (void)form;
    *out = (nib_settings){ 0 };
}

/* --- config.json --- */

static bool is_method(const nib_setting *config, const char *name)
{
    const char *method = nib_setting_value(config, "quant_method");

    if (!method) method = nib_setting_value(config, "method");
    return method && strcmp(method, name) == 0;
}

static bool means_fp8(const nib_setting *config) { return is_method(config, "fp8"); }

static bool means_modelopt(const nib_setting *config) { return is_method(config, "modelopt"); }

static nib_status read_blocks(const nib_setting *config, const char *where, nib_float8_options *o,
                              nib_error *err)
{
    const nib_setting own[] = { { "rows", nib_setting_value(config, "weight_block_size/0") },
                                { "columns", nib_setting_value(config, "weight_block_size/1") },
                                { 0 } };
    const char *all = nib_setting_value(config, "weight_block_size");
    nib_status status;

    if (!all) return NIB_OK;
    status = nib_setting_count(own, where, "rows", &o->rows, err);
    if (!status) status = nib_setting_count(own, where, "columns", &o->columns, err);
    if (!status && (!o->rows || !o->columns))
        status = nib_fail(err, NIB_E_FORMAT, "%sweight_block_size: expected two numbers above 0, "
                          "got %.60s", where, all);
    return status;
}

/* One of two spellings of E4M3, or absent. */
static nib_status check_type(const nib_setting *config, const char *where, const char *key,
                             nib_error *err)
{
    const char *type = nib_setting_value(config, key);

    if (!type || strcmp(type, "e4m3") == 0 || strcmp(type, "float8_e4m3fn") == 0) return NIB_OK;
    return nib_fail(err, NIB_E_UNSUPPORTED, "%s%s '%.60s'; known are e4m3 and float8_e4m3fn", where,
                    key, type);
}

/* GPTQModel's keys: which kind of scales, and that they divide. */
static nib_status read_semantics(const nib_setting *config, const char *where, nib_float8_said *s,
                                 nib_error *err)
{
    static const char *const methods[] = { "block", "tensor", "row", NULL };
    const char *semantics = nib_setting_value(config, "weight_scale_semantics");
    unsigned method = 0;
    nib_status status;

    s->options.divide = semantics && strcmp(semantics, "inverse") == 0;
    if (semantics && !s->options.divide)
        return nib_fail(err, NIB_E_UNSUPPORTED, "%sweight_scale_semantics '%.60s'; known is "
                        "inverse, or none", where, semantics);
    status = nib_setting_word(config, where, "weight_scale_method", methods, &method, err);
    if (status || !method) return status;
    s->exact = true;
    s->options.columns = 0;
    s->options.rows = method == 2;
    return NIB_OK;
}

/* What transformers knows beside; inputs are not rounded, and the scales' type the tensors tell. */
static nib_status check_words(const nib_setting *config, const char *where, nib_error *err)
{
    static const char *const schemes[] = { "dynamic", "static", NULL };
    static const char *const types[] = { "float", "ue8m0", NULL };
    static const char *const experts[] = { "fp8", NULL };
    unsigned word = 0;
    nib_status status = nib_setting_word(config, where, "activation_scheme", schemes, &word, err);

    if (!status) status = nib_setting_word(config, where, "scale_fmt", types, &word, err);
    if (!status) status = nib_setting_word(config, where, "expert_dtype", experts, &word, err);
    return status;
}

static nib_status new_rules(nib_ctx *ctx, const char *where, nib_held *out, fp8_rules **rules,
                            nib_error *err)
{
    out->rules = *rules = nib_new(ctx, sizeof **rules);
    if (!*rules) return nib_fail(err, NIB_E_NOMEM, "%sout of memory", where);
    return NIB_OK;
}

static nib_status read_fp8(nib_ctx *ctx, const nib_setting *config, const char *where,
                           nib_held *out, nib_error *err)
{
    fp8_rules *rules;
    nib_status status = new_rules(ctx, where, out, &rules, err);

    if (!status) status = check_type(config, where, "fmt", err);
    if (!status) status = check_type(config, where, "format", err);
    if (!status) status = check_words(config, where, err);
    if (!status) status = read_blocks(config, where, &rules->said.options, err);
    if (!status) status = read_semantics(config, where, &rules->said, err);
    if (!status)
        status = nib_names_read(ctx, config, "modules_to_not_convert", where, &rules->skipped,
                                err);
    if (!status && !rules->skipped)
        status = nib_names_read(ctx, config, "ignored_layers", where, &rules->skipped, err);
    if (status) return status;
    rules->said.options.dtype = NIB_BF16;
    out->form = nib_float8_form(&rules->said.options);
    return NIB_OK;
}

/* The algorithms: what the scales of E4M3 weights belong to, or NVFP4. */
static bool read_algorithm(const char *name, fp8_rules *rules)
{
    static const struct { const char *name; unsigned rows, columns; bool float4; } known[] = {
        { "FP8", 0, 0, false }, { "FP8_PER_CHANNEL_PER_TOKEN", 1, 0, false },
        { "FP8_PB_WO", 128, 128, false }, { "FP8_BLOCK_SCALES", 128, 128, false },
        { "NVFP4", 0, 0, true }, { "W4A16_NVFP4", 0, 0, true },
    };

    for (size_t i = 0; name && i < NIB_COUNT(known); i++)
        if (strcmp(name, known[i].name) == 0) {
            rules->said.options.rows = known[i].rows;
            rules->said.options.columns = known[i].columns;
            rules->float4 = known[i].float4;
            return true;
        }
    return false;
}

static nib_status read_modelopt(nib_ctx *ctx, const nib_setting *config, const char *where,
                                nib_held *out, nib_error *err)
{
    const char *algorithm = nib_setting_value(config, "quant_algo");
    fp8_rules *rules;
    nib_status status = new_rules(ctx, where, out, &rules, err);

    if (status) return status;
    if (!read_algorithm(algorithm, rules))
        return nib_fail(err, NIB_E_UNSUPPORTED, "%squant_algo %.60s; known are FP8, "
                        "FP8_PER_CHANNEL_PER_TOKEN, FP8_PB_WO, FP8_BLOCK_SCALES, NVFP4 and "
                        "W4A16_NVFP4", where, algorithm ? algorithm : "is missing");
    rules->patterns = true;
    rules->said.exact = true;
    rules->said.options.dtype = NIB_BF16;
    status = nib_names_read(ctx, config, "ignore", where, &rules->skipped, err);
    if (!status && !rules->skipped)
        status = nib_names_read(ctx, config, "exclude_modules", where, &rules->skipped, err);
    out->form = rules->float4 ? nib_float4_form(NIB_NVFP4, NIB_BF16)
                              : nib_float8_form(&rules->said.options);
    return status;
}

static void free_rules(nib_ctx *ctx, void *self)
{
    fp8_rules *rules = self;

    nib_names_free(ctx, rules->skipped);
    nib_free(ctx, rules);
}

static nib_status packs(const nib_held *held, const nib_format_module *module, bool *packed,
                        nib_form *form, nib_error *err)
{
    const fp8_rules *rules = held->rules;

    (void)err;
    *packed = !module->head && strcmp(module->class, "Embedding") != 0;
    for (size_t i = 0; rules->skipped && i < rules->skipped->count; i++) {
        const char *entry = rules->skipped->at[i];
        if (rules->patterns ? fnmatch(entry, module->name, 0) == 0
                            : strstr(module->name, entry) != NULL)
            *packed = false;
    }
    *form = held->form;
    return NIB_OK;
}

/* --- reading --- */

/* Pieces that change what weights mean, or that are beside E4M3. */
static nib_status check(const nib_part *t, nib_part_finder find, nib_error *err)
{
    static const char *const others[] = { ".pre_quant_scale", ".svdquant_lora_a",
                                          ".weight_scale_2" };
    const char *last = strrchr(t->name, '.');
    char module[600];
    nib_part codes;

    for (size_t i = 0; last && i < NIB_COUNT(others); i++) {
        if (strcmp(last, others[i]) != 0) continue;
        snprintf(module, sizeof module, "%.*s", (int)nib_min((size_t)(last - t->name), 590),
                 t->name);
        if (strcmp(last, float4_names.global) == 0 &&
            nib_module_part(find, module, float4_names.codes, &codes) && codes.dtype == NIB_U8)
            continue;
        return nib_fail(err, NIB_E_UNSUPPORTED, "%s: a piece of NVFP4, of AWQ or of SVDQuant; "
                        "known are weights of float8_e4m3fn with weight_scale, and of ModelOpt's "
                        "NVFP4", t->name);
    }
    return NIB_OK;
}

/* NVFP4 where the codes are bytes; what is dense stays so. */
static nib_status open_float4(nib_ctx *ctx, nib_part_finder find, const nib_held *held,
                              const char *module, nib_weight **w, nib_error *err)
{
    nib_part codes = { .name = "" }, scales;
    bool weight = nib_module_part(find, module, float4_names.codes, &codes);
    bool scaled = nib_module_part(find, module, float4_names.scales, &scales);

    *w = NULL;
    nib_module_part(find, module, ".input_scale", &scales); /* a use of it: it is not reported */
    if (!weight && scaled)
        return nib_fail(err, NIB_E_FORMAT, "%s%s is missing", module, float4_names.codes);
    if (weight && codes.dtype != NIB_U8 && (scaled || codes.dtype == NIB_F8_E4M3))
        return nib_fail(err, NIB_E_MISMATCH, "%s is %s, but quant_algo NVFP4 in config.json makes "
                        "it uint8", codes.name, nib_dtype_name(codes.dtype));
    if (!weight || codes.dtype != NIB_U8) return NIB_OK;
    return nib_float4_open(ctx, find, module, &float4_names, NIB_NVFP4, held->form.dtype, w, err);
}

static nib_status open_module(nib_ctx *ctx, nib_part_finder find, const nib_held *held,
                              const nib_format_module *module, nib_weight **w, nib_error *err)
{
    const fp8_rules *rules = held->rules;
    nib_float8_said said = rules->said;

    if (rules->float4) return open_float4(ctx, find, held, module->name, w, err);
    said.options.dtype = held->form.dtype;
    return nib_float8_open(ctx, find, module->name, &said, w, err);
}

static nib_status describe(const nib_part *t, nib_part_finder find, const nib_held *held, bool *its,
                           uint64_t shape[2], nib_form *form, nib_error *err)
{
    nib_float8_options o = { .rows = 128, .columns = 128, .dtype = NIB_BF16 };

    (void)err;
    if (held && held->form.scheme == &nib_float8_scheme) o = nib_float8_form_options(&held->form);
    *its = nib_float8_describe(t, find, &o, shape, form) ||
           nib_float4_describe(t, find, &float4_names, o.dtype, shape, form);
    return NIB_OK;
}

const nib_format nib_format_fp8 = {
    .method = "fp8", .known = "fp8", .keys = keys, .read = read_settings, .settings = settings_of,
    .means = means_fp8, .read_config = read_fp8, .free_rules = free_rules,
    .config_keys = fp8_keys, .packs = packs,
    .pieces = pieces, .check = check, .open = open_module, .describe = describe,
};

const nib_format nib_format_modelopt = {
    .method = "modelopt", .known = "modelopt (FP8, NVFP4)", .keys = keys, .read = read_settings,
    .settings = settings_of, .means = means_modelopt, .read_config = read_modelopt,
    .free_rules = free_rules, .config_keys = modelopt_keys, .packs = packs, .pieces = pieces,
    .check = check,
    .open = open_module, .describe = describe,
};
