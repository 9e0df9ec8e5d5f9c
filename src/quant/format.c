/* format.c - the list of formats, and which of them is meant. */
#include "quant/format.h"

#include <stdio.h>
#include <stdlib.h>

#include "quant/bnb_config.h"
#include "quant/config_unused.h"
#include "quant/formats.h"

/* Every format once. */
static const nib_format *const formats[] = { &nib_format_bnb4, &nib_format_int8, &nib_format_gptq,
                                             &nib_format_awq, &nib_format_packed, &nib_format_fp8,
                                             &nib_format_modelopt, &nib_format_mxfp4,
                                             &nib_format_aqlm, &nib_format_mlx };

const nib_strange_piece nib_strange_pieces[] = {
    { ".qweight", "GPTQ or AWQ" }, { ".qzeros", "GPTQ or AWQ" }, { ".scales", "GPTQ, AWQ or MLX" },
    { ".biases", "MLX" }, { ".g_idx", "GPTQ" }, { ".SCB", "LLM.int8" },
    { ".weight_format", "LLM.int8" }, { ".codes", "AQLM" }, { ".codebooks", "AQLM" },
    { ".weight_packed", "compressed-tensors" }, { ".weight_scale", "scaled float8 or int8" },
    { ".weight_zero_point", "compressed-tensors" }, { ".weight_shape", "compressed-tensors" },
    { ".weight_g_idx", "compressed-tensors" }, { ".weight_scale_inv", "scaled float8" },
    { ".weight_scale_2", "NVFP4" }, { ".weight_global_scale", "NVFP4" },
    { ".compressed", "sparse compressed-tensors" }, { ".bitmask", "sparse compressed-tensors" },
    { ".gate_up_proj_blocks", "MXFP4" }, { ".down_proj_blocks", "MXFP4" },
    { ".W_q", "HQQ" }, { ".trellis", "EXL3" }, { ".q_weight", "EXL2" }, { ".q_scale_max", "EXL2" },
    { NULL, NULL },
};

/* Known by the name that quant_method gives them, and not read. */
static const struct { const char *method, *name; } unread[] = {
    { "exl2", "EXL2" }, { "exl3", "EXL3" }, { "hqq", "HQQ" }, { "torchao", "torchao" },
    { "marlin", "Marlin" }, { "gptq_marlin", "Marlin" }, { "bitblas", "BitBLAS" },
    { "bitnet", "BitNet" }, { "eetq", "EETQ" }, { "quanto", "Quanto" }, { "vptq", "VPTQ" },
    { "higgs", "HIGGS" }, { "spqr", "SpQR" }, { "fp_quant", "FP-Quant" }, { "quark", "Quark" },
    { "fbgemm_fp8", "FBGEMM float8" }, { "paroquant", "ParoQuant" }, { "qqq", "QQQ" },
    { "humming", "Humming" },
};

void nib_formats_known(char *out, size_t room)
{
    size_t used = 0;

    *out = 0;
    for (size_t i = 0; i < NIB_COUNT(formats) && used < room; i++)
        used += (size_t)snprintf(out + used, room - used, "%s%s", i ? ", " : "", formats[i]->known);
}

static bool has_key(const nib_format *f, const nib_setting *s)
{
    for (size_t i = 0; f->keys[i]; i++)
        if (nib_setting_is(s, f->keys[i])) return true;
    return false;
}

/* What recipes spell out beside load_in_4bit, though it is the default of another format. */
static bool asks_nothing(const nib_setting *s)
{
    return strcmp(s->value, "false") == 0 ||
           (nib_setting_is(s, "llm_int8_threshold") &&
            strtof(s->value, NULL) == NIB_INT8_THRESHOLD);
}

static nib_status unknown_key(const nib_setting *s, nib_error *err)
{
    char known[600] = "";
    size_t used = 0;

    for (size_t i = 0; i < NIB_COUNT(formats); i++)
        for (size_t k = 0; formats[i]->keys[k] && used < sizeof known; k++)
            used += (size_t)snprintf(known + used, sizeof known - used, "%s%s", used ? ", " : "",
                                     formats[i]->keys[k]);
    return nib_fail(err, NIB_E_INVALID, "unknown setting '%.60s' of weights; known are %s", s->key,
                    known);
}

/* Do settings ask for this format? */
static nib_status asks(const nib_setting *settings, const nib_format *f, bool *yes, nib_error *err)
{
    const char *name = nib_setting_value(settings, "format");

    *yes = f->name && name && strcmp(name, f->name) == 0;
    return f->flag ? nib_setting_bool(settings, "", f->flag, yes, err) : NIB_OK;
}

/* "format" has a value that is none. */
static nib_status check_name(const nib_setting *settings, nib_error *err)
{
    const char *names[NIB_COUNT(formats) + 1];
    size_t count = 0;

    for (size_t i = 0; i < NIB_COUNT(formats); i++)
        if (formats[i]->name) names[count++] = formats[i]->name;
    names[count] = NULL;
    return nib_setting_word(settings, "", "format", names, &(unsigned){ 0 }, err);
}

nib_status nib_held_asked(const nib_setting *settings, nib_held *out, const nib_setting **idle,
                          nib_error *err)
{
    const nib_format *asked = NULL;
    nib_status status = check_name(settings, err);

    *out = (nib_held){ 0 };
    *idle = NULL;
    for (size_t i = 0; i < NIB_COUNT(formats) && !status; i++) {
        bool set = false;
        status = asks(settings, formats[i], &set, err);
        if (status || !set) continue;
        if (asked)
            status = nib_fail(err, NIB_E_INVALID, "%s and %s are both set: weights have one form",
                              asked->flag ? asked->flag : asked->name,
                              formats[i]->flag ? formats[i]->flag : formats[i]->name);
        asked = formats[i];
    }
    for (const nib_setting *s = settings; s && s->key && !status; s++) {
        bool known = false;
        for (size_t i = 0; i < NIB_COUNT(formats); i++) known |= has_key(formats[i], s);
        if (!known) status = unknown_key(s, err);
        else if (s->value && !(asked && has_key(asked, s)) && !asks_nothing(s)) *idle = s;
    }
    /* values are checked where they are without effect too, but for those whose bounds are another
     * format's */
    for (size_t i = 0; i < NIB_COUNT(formats) && !status; i++) {
        nib_form form;
        if (!formats[i]->flag && formats[i] != asked) continue;
        status = formats[i]->read(settings, "", &form, err);
        if (!status && formats[i] == asked) *out = (nib_held){ .format = asked, .form = form };
    }
    return status;
}

/* --- what config.json says --- */

/* What it is not known to be, or known not to be read. */
static nib_status not_known(const nib_setting *config, const char *where, const char *method,
                            bool eight, nib_error *err)
{
    char known[NIB_FORMATS_ROOM], keys[120] = "", packing[100] = "";
    const char *name = NULL, *packed = nib_setting_value(config, "packing_format");
    size_t used = 0;

    nib_formats_known(known, sizeof known);
    for (size_t i = 0; method && i < NIB_COUNT(unread); i++)
        if (strcmp(method, unread[i].method) == 0) name = unread[i].name;
    if (name)
        return nib_fail(err, NIB_E_UNSUPPORTED, "%s: quantized with %s (quant_method %s), which is "
                        "not read; known are: %s; take the model as it was before", where, name,
                        method, known);
    if (packed) snprintf(packing, sizeof packing, " (packing_format %.60s)", packed);
    if (method)
        return nib_fail(err, NIB_E_UNSUPPORTED, "%s: quantized with %.60s%s%s; known are: %s",
                        where, method, eight ? " (8 bit)" : "", packing, known);
    for (const nib_setting *s = config; s && s->key && used < sizeof keys; s++)
        if (!strchr(s->key, '/'))
            used += (size_t)snprintf(keys + used, sizeof keys - used, "%s%.30s%s%.20s",
                                     used ? ", " : "", s->key, s->value ? " " : "",
                                     s->value ? s->value : "");
    return nib_fail(err, NIB_E_UNSUPPORTED,
                    "%s: quantization_config has no quant_method (it has %s); known are: %s", where,
                    *keys ? keys : "nothing", known);
}

/* Is config what this format writes? */
static nib_status is_meant(const nib_setting *config, const char *place, const nib_format *f,
                           bool *yes, nib_error *err)
{
    const char *method = nib_setting_value(config, "quant_method");

    *yes = false;
    if (f->means) *yes = f->means(config);
    else if (!method || strcmp(method, f->method) == 0)
        return nib_setting_bool(config, place, f->flag, yes, err);
    return NIB_OK;
}

nib_status nib_held_stored(nib_ctx *ctx, const nib_setting *config, const char *where,
                           nib_held *out, nib_error *err)
{
    const char *method = nib_setting_value(config, "quant_method");
    char place[600];
    bool four = false, eight = false;
    nib_status status;

    snprintf(place, sizeof place, "%.500s: quantization_config: ", where);
    *out = (nib_held){ 0 };
    status = nib_setting_bool(config, place, "load_in_4bit", &four, err);
    if (!status) status = nib_setting_bool(config, place, "load_in_8bit", &eight, err);
    for (size_t i = 0; i < NIB_COUNT(formats) && !status; i++) {
        bool meant = false;
        status = is_meant(config, place, formats[i], &meant, err);
        if (status || !meant) continue;
        *out = (nib_held){ .format = formats[i] };
        status = formats[i]->read_config(ctx, config, place, out, err);
        if (!status && formats[i]->config_keys)
            nib_warn_unused_settings(ctx, config, where, formats[i]->config_keys);
        if (!status) nib_note_unrounded(ctx, config, where);
        return status;
    }
    if (status) return status;
    /* as transformers has it: both flags false is a model that is not quantized */
    if (method && strcmp(method, "bitsandbytes") == 0 && !four && !eight) return NIB_OK;
    return not_known(config, where, method ? method : eight || four ? "bitsandbytes" : NULL, eight,
                     err);
}

void nib_held_free(nib_ctx *ctx, nib_held *held)
{
    if (held->rules) held->format->free_rules(ctx, held->rules);
    *held = (nib_held){ 0 };
}

/* --- pieces --- */

bool nib_format_has_piece(const nib_format *format, const char *piece)
{
    for (size_t i = 0; format && format->pieces[i]; i++)
        if (strcmp(piece, format->pieces[i]) == 0) return true;
    return false;
}

size_t nib_format_stack_bytes(const nib_format *format, const char *name)
{
    const char *end = format ? format->stack_ends[0] : NULL;

    return end && nib_ends_with(name, end) ? strlen(name) - strlen(end) : 0;
}

bool nib_format_is_piece_of(const nib_format *format, const char *source, const char *name)
{
    const char *last = strrchr(source, '.');
    size_t n = strlen(source), stem = last ? (size_t)(last - source) : n;
    size_t stack = nib_format_stack_bytes(format, source);

    if (strcmp(source, name) == 0) return false;
    if (stack)
        return strncmp(name, source, stack) == 0 &&
               strcmp(name + stack, format->stack_ends[1]) == 0;
    return (strncmp(name, source, n) == 0 && nib_format_has_piece(format, name + n)) ||
           (strncmp(name, source, stem) == 0 && nib_format_has_piece(format, name + stem));
}

/* Do codes lie in `tensor`, M.weight, by the pieces of `f` beside it? */
static bool has_beside(const nib_format *f, const nib_part *tensor, nib_part_finder find)
{
    char name[700];
    nib_part piece;

    for (size_t i = 0; f->pieces[i]; i++) {
        int stem = (int)(strlen(tensor->name) - strlen(".weight"));
        snprintf(name, sizeof name, "%.*s%s", stem, tensor->name, f->pieces[i]);
        if (find.find(find.self, name, &piece)) return true;
    }
    return false;
}

bool nib_format_is_piece(const nib_part *tensor, nib_part_finder find)
{
    if (tensor->dtype == NIB_U8 || strstr(tensor->name, ".weight.")) return true;
    for (size_t i = 0; i < NIB_COUNT(formats); i++) {
        for (size_t k = 0; formats[i]->pieces[k]; k++)
            if (nib_ends_with(tensor->name, formats[i]->pieces[k])) return true;
        if ((tensor->dtype == NIB_I8 || tensor->dtype == NIB_F8_E4M3 ||
             tensor->dtype == NIB_U32) &&
            nib_ends_with(tensor->name, ".weight") && has_beside(formats[i], tensor, find))
            return true;
    }
    return false;
}

nib_status nib_format_describe(const nib_part *tensor, nib_part_finder find, const nib_held *held,
                               const nib_format **format, uint64_t shape[2], nib_form *form,
                               nib_error *err)
{
    bool its = false;
    nib_status status = NIB_OK;

    *format = NULL;
    if (held && held->format) { /* first: formats may share what their tensors look like */
        status = held->format->describe(tensor, find, held, &its, shape, form, err);
        if (status || its) return *format = its ? held->format : NULL, status;
    }
    for (size_t i = 0; i < NIB_COUNT(formats) && !status && !its; i++) {
        status = formats[i]->describe(tensor, find, NULL, &its, shape, form, err);
        if (!status && its) *format = formats[i];
    }
    return status;
}
