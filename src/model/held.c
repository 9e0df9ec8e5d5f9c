/* held.c - see held.h. */
#include "model/held.h"

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
