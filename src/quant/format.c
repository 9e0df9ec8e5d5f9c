/* format.c - the list of formats, and which of them is meant. */
#include "quant/format.h"

#include <stdio.h>
#include <stdlib.h>

#include "quant/bnb_config.h"
#include "quant/formats.h"

/* Every format once. */
static const nib_format *const formats[] = { &nib_format_bnb4, &nib_format_int8 };

const nib_strange_piece nib_strange_pieces[] = {
    { ".qweight", "GPTQ or AWQ" }, { ".qzeros", "GPTQ or AWQ" }, { ".scales", "GPTQ, AWQ or MLX" },
    { ".biases", "MLX" }, { ".g_idx", "GPTQ" }, { ".SCB", "LLM.int8" },
    { ".weight_format", "LLM.int8" }, { ".codes", "AQLM" }, { ".codebooks", "AQLM" },
    { ".weight_packed", "compressed-tensors" }, { ".weight_scale", "scaled float8 or int8" },
    { ".weight_scale_inv", "scaled float8" }, { NULL, NULL },
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
    char known[400] = "";
    size_t used = 0;

    for (size_t i = 0; i < NIB_COUNT(formats); i++)
        for (size_t k = 0; formats[i]->keys[k] && used < sizeof known; k++)
            used += (size_t)snprintf(known + used, sizeof known - used, "%s%s", used ? ", " : "",
                                     formats[i]->keys[k]);
    return nib_fail(err, NIB_E_INVALID, "unknown setting '%.60s' of weights; known are %s", s->key,
                    known);
}

nib_status nib_held_asked(const nib_setting *settings, nib_held *out, const nib_setting **idle,
                          nib_error *err)
{
    const nib_format *asked = NULL;
    nib_status status = NIB_OK;

    *out = (nib_held){ 0 };
    *idle = NULL;
    for (size_t i = 0; i < NIB_COUNT(formats) && !status; i++) {
        bool set = false;
        status = nib_setting_bool(settings, "", formats[i]->flag, &set, err);
        if (status || !set) continue;
        if (asked)
            status = nib_fail(err, NIB_E_INVALID, "%s and %s are both set: weights have one form",
                              asked->flag, formats[i]->flag);
        asked = formats[i];
    }
    for (const nib_setting *s = settings; s && s->key && !status; s++) {
        bool known = false;
        for (size_t i = 0; i < NIB_COUNT(formats); i++) known |= has_key(formats[i], s);
        if (!known) status = unknown_key(s, err);
        else if (s->value && !(asked && has_key(asked, s)) && !asks_nothing(s)) *idle = s;
    }
    /* values are checked where they are without effect too */
    for (size_t i = 0; i < NIB_COUNT(formats) && !status; i++) {
        nib_form form;
        status = formats[i]->read(settings, "", &form, err);
        if (!status && formats[i] == asked) *out = (nib_held){ asked, form };
    }
    return status;
}

static nib_status not_known(const nib_setting *config, const char *where, const char *method,
                            bool eight, nib_error *err)
{
    char known[200], keys[120] = "";
    size_t used = 0;

    nib_formats_known(known, sizeof known);
    if (method)
        return nib_fail(err, NIB_E_UNSUPPORTED, "%s: quantized with %.60s%s; known are: %s", where,
                        method, eight ? " (8 bit)" : "", known);
    for (const nib_setting *s = config; s && s->key && used < sizeof keys; s++)
        used += (size_t)snprintf(keys + used, sizeof keys - used, "%s%.30s%s%.20s",
                                 used ? ", " : "", s->key, s->value ? " " : "",
                                 s->value ? s->value : "");
    return nib_fail(err, NIB_E_UNSUPPORTED,
                    "%s: quantization_config has no quant_method (it has %s); known are: %s", where,
                    *keys ? keys : "nothing", known);
}

nib_status nib_held_stored(const nib_setting *config, const char *where, nib_held *out,
                           nib_error *err)
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
        const nib_format *f = formats[i];
        bool set = false;
        if (method && strcmp(method, f->method) != 0) continue;
        status = nib_setting_bool(config, place, f->flag, &set, err);
        if (status || !set) continue;
        *out = (nib_held){ .format = f };
        return f->read(config, place, &out->form, err);
    }
    if (status) return status;
    /* as transformers has it: both flags false is a model that is not quantized */
    if (method && strcmp(method, "bitsandbytes") == 0 && !four && !eight) return NIB_OK;
    return not_known(config, where, method ? method : eight || four ? "bitsandbytes" : NULL, eight,
                     err);
}

bool nib_format_has_piece(const nib_format *format, const char *piece)
{
    for (size_t i = 0; format && format->pieces[i]; i++)
        if (strcmp(piece, format->pieces[i]) == 0) return true;
    return false;
}

bool nib_format_is_piece_of(const nib_format *format, const char *weight, const char *name)
{
    size_t n = strlen(weight), stem = n - strlen(".weight");

    return (strncmp(name, weight, n) == 0 && nib_format_has_piece(format, name + n)) ||
           (strncmp(name, weight, stem) == 0 && nib_format_has_piece(format, name + stem));
}

static bool ends(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
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
            if (ends(tensor->name, formats[i]->pieces[k])) return true;
        if (tensor->dtype == NIB_I8 && ends(tensor->name, ".weight") &&
            has_beside(formats[i], tensor, find))
            return true;
    }
    return false;
}

nib_status nib_format_describe(const nib_part *tensor, nib_part_finder find,
                               const nib_format **format, uint64_t shape[2], nib_form *form,
                               nib_error *err)
{
    nib_status status = NIB_OK;

    *format = NULL;
    for (size_t i = 0; i < NIB_COUNT(formats) && !status && !*format; i++) {
        bool its = false;
        status = formats[i]->describe(tensor, find, &its, shape, form, err);
        if (!status && its) *format = formats[i];
    }
    return status;
}
