/* safetensors_header.c - the header of one .safetensors file, checked against its bytes. */
#include "format/safetensors_header.h"

#include <stdlib.h>

#include "format/json.h"

enum { DEEPEST = 16 };

const nib_safetensors_type nib_safetensors_types[NIB_SAFETENSORS_TYPES] = {
    { "BOOL", 8, NIB_BOOL },
    { "F4", 4, NIB_DTYPE_OTHER },
    { "F6_E2M3", 6, NIB_DTYPE_OTHER },
    { "F6_E3M2", 6, NIB_DTYPE_OTHER },
    { "U8", 8, NIB_U8 },
    { "I8", 8, NIB_I8 },
    { "F8_E5M2", 8, NIB_DTYPE_OTHER },
    { "F8_E4M3", 8, NIB_F8_E4M3 },
    { "F8_E8M0", 8, NIB_F8_E8M0 },
    { "F8_E4M3FNUZ", 8, NIB_DTYPE_OTHER },
    { "F8_E5M2FNUZ", 8, NIB_DTYPE_OTHER },
    { "I16", 16, NIB_I16 },
    { "U16", 16, NIB_U16 },
    { "F16", 16, NIB_F16 },
    { "BF16", 16, NIB_BF16 },
    { "I32", 32, NIB_I32 },
    { "U32", 32, NIB_U32 },
    { "F32", 32, NIB_F32 },
    { "C64", 64, NIB_DTYPE_OTHER },
    { "F64", 64, NIB_F64 },
    { "I64", 64, NIB_I64 },
    { "U64", 64, NIB_U64 },
};

static const nib_safetensors_type *type_called(const char *name)
{
    for (size_t i = 0; i < NIB_SAFETENSORS_TYPES; i++)
        if (strcmp(nib_safetensors_types[i].name, name) == 0) return &nib_safetensors_types[i];
    return NULL;
}

/* Brackets outside strings nest no deeper than DEEPEST: the parser after this recurses. */
static bool shallow(const uint8_t *text, size_t bytes)
{
    bool in_string = false;
    int depth = 0;

    for (size_t i = 0; i < bytes; i++) {
        uint8_t c = text[i];
        if (in_string) {
            if (c == '\\') i++;
            else if (c == '"') in_string = false;
        } else if (c == '"') {
            in_string = true;
        } else if (c == '{' || c == '[') {
            if (++depth > DEEPEST) return false;
        } else if (c == '}' || c == ']') {
            depth--;
        }
    }
    return true;
}

/* A list of non-negative integers; jansson has refused those past 2^63 already. */
static nib_status read_sizes(const json_t *list, const char *where, const char *name,
                             const char *key, size_t most, uint64_t *out, size_t *count,
                             nib_error *err)
{
    const json_t *item;
    size_t i;

    if (!json_is_array(list))
        return nib_fail(err, NIB_E_FORMAT, "%s: tensor %s: %s is missing or not a list", where,
                        name, key);
    *count = json_array_size(list);
    if (*count > most)
        return nib_fail(err, NIB_E_FORMAT,
                        "%s: tensor %s: %s has %zu numbers, at most %zu are allowed", where, name,
                        key, *count, most);
    json_array_foreach(list, i, item) {
        if (!json_is_integer(item) || json_integer_value(item) < 0)
            return nib_fail(err, NIB_E_FORMAT, "%s: tensor %s: %s holds something that is not a "
                            "non-negative integer", where, name, key);
        out[i] = (uint64_t)json_integer_value(item);
    }
    return NIB_OK;
}

/* One entry of the header; `data` and `data_bytes` are the data buffer. */
static nib_status read_tensor(const char *where, const char *name, const json_t *entry,
                              const uint8_t *data, uint64_t data_bytes, nib_tensor *out,
                              nib_error *err)
{
    const json_t *dtype = json_object_get(entry, "dtype");
    const nib_safetensors_type *type;
    uint64_t offsets[2], bits;
    size_t count;
    nib_status status;

    if (!json_is_object(entry))
        return nib_fail(err, NIB_E_FORMAT, "%s: tensor %s: its entry is not an object", where,
                        name);
    if (!json_is_string(dtype))
        return nib_fail(err, NIB_E_FORMAT, "%s: tensor %s: dtype is missing or not a string", where,
                        name);
    type = type_called(json_string_value(dtype));
    if (!type)
        return nib_fail(err, NIB_E_FORMAT, "%s: tensor %s: unknown dtype %.64s", where, name,
                        json_string_value(dtype));
    out->dtype = type->dtype;
    out->dtype_name = type->name;
    status = read_sizes(json_object_get(entry, "shape"), where, name, "shape", NIB_MAX_RANK,
                        out->shape, &count, err);
    if (status) return status;
    out->rank = (unsigned)count;
    status = read_sizes(json_object_get(entry, "data_offsets"), where, name, "data_offsets", 2,
                        offsets, &count, err);
    if (status) return status;
    if (count != 2)
        return nib_fail(err, NIB_E_FORMAT, "%s: tensor %s: data_offsets has %zu numbers, not 2",
                        where, name, count);

    out->elements = 1;
    for (unsigned i = 0; i < out->rank; i++)
        if (!nib_mul_u64(out->elements, out->shape[i], &out->elements))
            return nib_fail(err, NIB_E_FORMAT,
                            "%s: tensor %s: its shape has more than 2^64 elements", where, name);
    if (!nib_mul_u64(out->elements, type->bits, &bits))
        return nib_fail(err, NIB_E_FORMAT,
                        "%s: tensor %s: %" PRIu64 " elements of %u bits pass 2^64", where, name,
                        out->elements, type->bits);
    if (bits % 8)
        return nib_fail(err, NIB_E_FORMAT, "%s: tensor %s: %" PRIu64 " bits are no whole number of "
                        "bytes", where, name, bits);
    if (offsets[0] > offsets[1] || offsets[1] > data_bytes)
        return nib_fail(err, NIB_E_FORMAT, "%s: tensor %s: data_offsets %" PRIu64 " to %" PRIu64
                        " in %" PRIu64 " bytes of data", where, name, offsets[0], offsets[1],
                        data_bytes);
    if (offsets[1] - offsets[0] != bits / 8)
        return nib_fail(err, NIB_E_FORMAT, "%s: tensor %s: data_offsets span %" PRIu64
                        " bytes, its shape and dtype need %" PRIu64, where, name,
                        offsets[1] - offsets[0], bits / 8);
    out->bytes = bits / 8;
    out->data = data + offsets[0];
    return NIB_OK;
}

static nib_status read_metadata(const char *where, json_t *metadata, nib_safetensors_header *h,
                                nib_error *err)
{
    const char *key;
    json_t *value;

    if (!json_is_object(metadata))
        return nib_fail(err, NIB_E_FORMAT, "%s: __metadata__ is not an object", where);
    json_object_foreach(metadata, key, value) {
        if (!json_is_string(value))
            return nib_fail(err, NIB_E_FORMAT, "%s: __metadata__ %.200s is not a string", where,
                            key);
    }
    h->metadata = json_incref(metadata);
    return NIB_OK;
}

static int by_data(const void *a, const void *b)
{
    const nib_tensor *x = a, *y = b;
    const char *p = x->data, *q = y->data;

    if (p != q) return p < q ? -1 : 1;
    if (x->bytes != y->bytes) return x->bytes < y->bytes ? -1 : 1;
    return strcmp(x->name, y->name);
}

/* Every tensor begins where the one before it ends, and the last ends with the file. */
static nib_status check_layout(const char *where, const nib_safetensors_header *h,
                               const uint8_t *data, uint64_t data_bytes, nib_error *err)
{
    uint64_t end = 0;

    for (size_t i = 0; i < h->count; i++) {
        uint64_t begin = (uint64_t)((const uint8_t *)h->tensors[i].data - data);
        if (begin != end)
            return nib_fail(err, NIB_E_FORMAT,
                            "%s: tensor %s begins at byte %" PRIu64
                            " of the data, the one before it ends at %" PRIu64 ": %s",
                            where, h->tensors[i].name, begin, end,
                            begin < end ? "they overlap" : "a hole");
        end = begin + h->tensors[i].bytes;
    }
    if (end != data_bytes)
        return nib_fail(err, NIB_E_FORMAT, "%s: the tensors end at byte %" PRIu64
                        " of the data, the file has %" PRIu64, where, end, data_bytes);
    return NIB_OK;
}

/* A download that broke off: tensors that pass the end of the file, and none that say otherwise.
 * header: the bytes before the data. */
static nib_status check_whole(json_t *root, const char *where, uint64_t header,
                              uint64_t data_bytes, nib_error *err)
{
    uint64_t end = 0;
    const char *key;
    json_t *value;

    json_object_foreach(root, key, value) {
        json_t *offset = json_array_get(json_object_get(value, "data_offsets"), 1);
        if (json_integer_value(offset) > 0 && (uint64_t)json_integer_value(offset) > end)
            end = (uint64_t)json_integer_value(offset);
    }
    if (end <= data_bytes) return NIB_OK;
    return nib_fail(err, NIB_E_FORMAT,
                    "%s: truncated: its tensors end at byte %" PRIu64 " (data_offsets), the file "
                    "has %" PRIu64 " bytes; download or copy it again",
                    where, end + header, header + data_bytes);
}

static nib_status list_tensors(nib_ctx *ctx, json_t *root, const char *where, const uint8_t *data,
                               uint64_t data_bytes, nib_safetensors_header *h, nib_error *err)
{
    size_t names_bytes = 0, used = 0;
    const char *key;
    json_t *value;
    nib_status status;

    json_object_foreach(root, key, value) names_bytes += strlen(key) + 1;
    h->names = nib_alloc(ctx, names_bytes);
    h->tensors = nib_new_array(ctx, json_object_size(root), sizeof *h->tensors);
    if (!h->names || !h->tensors) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", where);

    json_object_foreach(root, key, value) {
        size_t length = strlen(key);
        nib_tensor *t = &h->tensors[h->count];

        if (strcmp(key, "__metadata__") == 0) {
            status = read_metadata(where, value, h, err);
            if (status) return status;
            continue;
        }
        if (length > NIB_SAFETENSORS_LONGEST_NAME)
            return nib_fail(err, NIB_E_FORMAT,
                            "%s: a tensor name of %zu bytes, at most %d are allowed", where, length,
                            NIB_SAFETENSORS_LONGEST_NAME);
        t->name = memcpy(h->names + used, key, length + 1);
        used += length + 1;
        status = read_tensor(where, t->name, value, data, data_bytes, t, err);
        if (status) return status;
        h->count++;
    }
    qsort(h->tensors, h->count, sizeof *h->tensors, by_data);
    return check_layout(where, h, data, data_bytes, err);
}

nib_status nib_safetensors_parse(nib_ctx *ctx, const uint8_t *base, size_t bytes, const char *where,
                                 nib_safetensors_header *out, nib_error *err)
{
    nib_safetensors_header h = { 0 };
    json_t *root = NULL;
    uint64_t header_bytes, text_bytes;
    const uint8_t *text;
    nib_status status;

    if (bytes < 8)
        return nib_fail(err, NIB_E_FORMAT,
                        "%s: %zu bytes, too short for a header: download or copy it again", where,
                        bytes);
    header_bytes = nib_load_le64(base);
    if (header_bytes > NIB_SAFETENSORS_LARGEST_HEADER)
        return nib_fail(err, NIB_E_FORMAT,
                        "%s: a header of %" PRIu64 " bytes, at most %d are allowed: no "
                        "safetensors file", where, header_bytes, NIB_SAFETENSORS_LARGEST_HEADER);
    if (header_bytes > bytes - 8) /* not "8 + header_bytes": it can wrap */
        return nib_fail(err, NIB_E_FORMAT,
                        "%s: truncated, or no safetensors file: a header of %" PRIu64
                        " bytes in a file of %zu; download or copy it again",
                        where, header_bytes, bytes);
    if (header_bytes < 2)
        return nib_fail(err, NIB_E_FORMAT,
                        "%s: a header of %" PRIu64 " bytes, at least 2 are needed", where,
                        header_bytes);
    text = base + 8;
    text_bytes = header_bytes;
    while (text_bytes && text[text_bytes - 1] == ' ') text_bytes--;
    if (!text_bytes || text[0] != '{' || text[text_bytes - 1] != '}')
        return nib_fail(err, NIB_E_FORMAT, "%s: the header is not one JSON object", where);
    if (!shallow(text, text_bytes))
        return nib_fail(err, NIB_E_FORMAT, "%s: the header nests deeper than %d", where, DEEPEST);

    status = nib_json_parse((const char *)text, text_bytes, where, 0, &root, err);
    if (status) goto done;
    if (!json_is_object(root)) {
        status = nib_fail(err, NIB_E_FORMAT, "%s: the header is not one JSON object", where);
        goto done;
    }
    status = check_whole(root, where, 8 + header_bytes, bytes - 8 - header_bytes, err);
    if (status) goto done;
    status = list_tensors(ctx, root, where, text + header_bytes, bytes - 8 - header_bytes, &h, err);
    if (status) goto done;

    *out = h;
    h = (nib_safetensors_header){ 0 }; /* handed over */
done:
    json_decref(root);
    nib_safetensors_header_free(ctx, &h);
    return status;
}

void nib_safetensors_header_free(nib_ctx *ctx, nib_safetensors_header *h)
{
    nib_free(ctx, h->tensors);
    nib_free(ctx, h->names);
    json_decref(h->metadata);
    *h = (nib_safetensors_header){ 0 };
}
