/* format_fp8.c - checkpoints of E4M3 floats: quant_method "fp8", whose scales belong to blocks of
 * 128 x 128 (DeepSeek-V3, Qwen3), rows or whole matrices, GPTQModel's, whose scales divide, and
 * NVIDIA's, "modelopt" (formats-quant.md 1, 3.5).
 *
 * float8_open.h has the tensors.  Which weights are quantized the tensors say: libraries read the
 * lists of modules that stay dense in different ways. */
#include <fnmatch.h>
#include <stdio.h>

#include "quant/float8_open.h"
#include "quant/formats.h"
#include "quant/names.h"

static const char *const keys[] = { NULL };
static const char *const pieces[] = { ".weight_scale_inv", ".weight_scale", ".input_scale",
                                      ".k_scale", ".v_scale", NULL };

/* What config.json says of modules. */
typedef struct fp8_rules {
    nib_float8_said said;
    nib_names *skipped;
    bool patterns; /* of the shell, for whole names; else parts of names */
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

/* The algorithms of E4M3 weights: what their scales belong to. */
static bool read_algorithm(const char *name, nib_float8_options *o)
{
    static const struct { const char *name; unsigned rows, columns; } known[] = {
        { "FP8", 0, 0 }, { "FP8_PER_CHANNEL_PER_TOKEN", 1, 0 }, { "FP8_PB_WO", 128, 128 },
        { "FP8_BLOCK_SCALES", 128, 128 },
    };

    for (size_t i = 0; name && i < NIB_COUNT(known); i++)
        if (strcmp(name, known[i].name) == 0) {
            o->rows = known[i].rows;
            o->columns = known[i].columns;
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
    if (!read_algorithm(algorithm, &rules->said.options))
        return nib_fail(err, NIB_E_UNSUPPORTED, "%squant_algo %.60s; known are FP8, "
                        "FP8_PER_CHANNEL_PER_TOKEN, FP8_PB_WO and FP8_BLOCK_SCALES", where,
                        algorithm ? algorithm : "is missing");
    rules->patterns = true;
    rules->said.exact = true;
    rules->said.options.dtype = NIB_BF16;
    status = nib_names_read(ctx, config, "ignore", where, &rules->skipped, err);
    if (!status && !rules->skipped)
        status = nib_names_read(ctx, config, "exclude_modules", where, &rules->skipped, err);
    out->form = nib_float8_form(&rules->said.options);
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

/* Weights in E4M3 with pieces that change what they mean. */
static nib_status check(const nib_part *t, nib_part_finder find, nib_error *err)
{
    static const char *const others[] = { ".pre_quant_scale", ".svdquant_lora_a",
                                          ".weight_scale_2" };
    const char *last = strrchr(t->name, '.');

    (void)find;
    for (size_t i = 0; last && i < NIB_COUNT(others); i++)
        if (strcmp(last, others[i]) == 0)
            return nib_fail(err, NIB_E_UNSUPPORTED, "%s: a piece of NVFP4, of AWQ or of SVDQuant; "
                            "known are weights of float8_e4m3fn with weight_scale", t->name);
    return NIB_OK;
}

static nib_status open_module(nib_ctx *ctx, nib_part_finder find, const nib_held *held,
                              const nib_format_module *module, nib_weight **w, nib_error *err)
{
    nib_float8_said said = ((const fp8_rules *)held->rules)->said;

    said.options.dtype = held->form.dtype;
    return nib_float8_open(ctx, find, module->name, &said, w, err);
}

static nib_status describe(const nib_part *t, nib_part_finder find, const nib_held *held, bool *its,
                           uint64_t shape[2], nib_form *form, nib_error *err)
{
    nib_float8_options o = { .rows = 128, .columns = 128, .dtype = NIB_BF16 };

    (void)err;
    if (held) o = nib_float8_form_options(&held->form);
    *its = nib_float8_describe(t, find, &o, shape, form);
    return NIB_OK;
}

const nib_format nib_format_fp8 = {
    .method = "fp8", .known = "fp8", .keys = keys, .read = read_settings, .settings = settings_of,
    .means = means_fp8, .read_config = read_fp8, .free_rules = free_rules, .packs = packs,
    .pieces = pieces, .check = check, .open = open_module, .describe = describe,
};

const nib_format nib_format_modelopt = {
    .method = "modelopt", .known = "modelopt (FP8)", .keys = keys, .read = read_settings,
    .settings = settings_of, .means = means_modelopt, .read_config = read_modelopt,
    .free_rules = free_rules, .packs = packs, .pieces = pieces, .check = check,
    .open = open_module, .describe = describe,
};
