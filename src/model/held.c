/* held.c - see held.h. */
#include "model/held.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "quant/weight_settings.h"

/* A value as the text that settings have: a list or object as JSON, null as NULL. */
static char *text_of(nib_ctx *ctx, const json_t *value)
{
    size_t bytes;
    char *text;

    if (json_is_string(value)) return nib_strdup(ctx, json_string_value(value));
    bytes = json_dumpb(value, NULL, 0, JSON_ENCODE_ANY);
    text = nib_alloc(ctx, bytes + 1);
    if (!text) return NULL;
    json_dumpb(value, text, bytes, JSON_ENCODE_ANY);
    text[bytes] = 0;
    return text;
}

/* The type that values had before they were encoded, where config.json says it. */
static void read_dtype(const json_t *config, nib_dtype *dtype)
{
    static const nib_dtype known[] = { NIB_F32, NIB_F16, NIB_BF16 };
    const char *type = json_string_value(json_object_get(config, "dtype"));

    if (!type) type = json_string_value(json_object_get(config, "torch_dtype"));
    for (size_t i = 0; type && i < NIB_COUNT(known); i++)
        if (strcmp(type, nib_dtype_name(known[i])) == 0) *dtype = known[i];
}

static bool find_part(void *self, const char *name, nib_part *out)
{
    const nib_tensor *t = nib_tensors_find(self, name);

    if (!t) return false;
    *out = nib_tensor_part(t);
    return true;
}

nib_part_finder nib_tensors_finder(const nib_tensors *tensors)
{
    return (nib_part_finder){ find_part, (void *)(uintptr_t)tensors };
}

nib_status nib_held_read(nib_ctx *ctx, const json_t *config, const char *where, nib_held *out,
                         nib_error *err)
{
    const json_t *q = json_object_get(config, "quantization_config");
    size_t count = 0;
    nib_setting *list;
    const char *key;
    json_t *value;
    nib_status status = NIB_OK;

    *out = (nib_held){ 0 };
    if (!q || json_is_null(q)) return NIB_OK;
    if (!json_is_object(q))
        return nib_fail(err, NIB_E_FORMAT, "%s: quantization_config is not an object", where);
    list = nib_new_array(ctx, json_object_size(q) + 1, sizeof *list);
    if (!list) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", where);
    json_object_foreach((json_t *)(uintptr_t)q, key, value) {
        char *text = json_is_null(value) ? NULL : text_of(ctx, value);
        if (!json_is_null(value) && !text)
            status = nib_fail(err, NIB_E_NOMEM, "%s: out of memory", where);
        list[count++] = (nib_setting){ key, text };
    }
    if (!status) status = nib_held_stored(list, where, out, err);
    if (!status) read_dtype(config, &out->form.dtype);
    if (status == NIB_E_INVALID) status = NIB_E_FORMAT; /* a file says it, not the caller */
    for (size_t i = 0; i < count; i++) nib_free(ctx, (char *)(uintptr_t)list[i].value);
    nib_free(ctx, list);
    return status;
}

bool nib_held_skips(const json_t *config, const nib_held *stored, const char *module)
{
    const json_t *q = json_object_get(config, "quantization_config"), *list, *entry;
    size_t i;

    if (!stored->format) return false;
    list = json_object_get(q, stored->format->skip_key);
    json_array_foreach(list, i, entry)
        if (json_is_string(entry) && stored->format->skips(json_string_value(entry), module))
            return true;
    return false;
}

/* The same setting in two spellings: words of truth and numbers by what they mean. */
static bool same_setting(const char *a, const char *b)
{
    const nib_setting x[] = { { "value", a }, { NULL, NULL } };
    const nib_setting y[] = { { "value", b }, { NULL, NULL } };
    bool truth = false, other = false;
    char *end, *other_end;
    double number = strtod(a, &end), other_number = strtod(b, &other_end);
    nib_error ignored;

    if (strcasecmp(a, b) == 0) return true;
    if (*a && *b && !*end && !*other_end) return number == other_number;
    return !nib_setting_bool(x, "", "value", &truth, &ignored) &&
           !nib_setting_bool(y, "", "value", &other, &ignored) && truth == other;
}

nib_status nib_held_agrees(const nib_held *stored, const nib_setting *settings, const char *model,
                           const nib_setting **idle, nib_error *err)
{
    char found[512] = "", form[NIB_FORM_ROOM];
    nib_settings has = { 0 };
    size_t used = 0;

    *idle = NULL;
    stored->format->settings(&stored->form, &has);
    nib_form_text(&stored->form, form);
    for (const nib_setting *s = settings; s && s->key && used < sizeof found; s++) {
        const char *value = NULL;
        bool flag = strncmp(s->key, "load_in_", 8) == 0;

        for (size_t i = 0; i < has.count; i++)
            if (nib_setting_is(s, has.items[i].key)) value = has.items[i].value;
        if (!value && flag) value = nib_setting_is(s, stored->format->flag) ? "true" : "false";
        if (s->value && !value) *idle = s;
        if (!s->value || !value || same_setting(s->value, value)) continue;
        used += (size_t)snprintf(found + used, sizeof found - used, "%s%s %s (stored: %s)",
                                 used ? ", " : "", s->key, s->value, value);
    }
    if (!used) return NIB_OK;
    return nib_fail(err, NIB_E_INVALID,
                    "%s is quantized already (%s, %s), and these options contradict it: %s; leave "
                    "them out, or take the model before it was quantized",
                    model, stored->format->known, form, found);
}
