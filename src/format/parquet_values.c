/* parquet_values.c - a begin and a next for each encoding. */
#include "format/parquet_values.h"

static const char ends_early[] = "the page has fewer values than it says";
static const char no_memory[] = "out of memory";

/* Bytes of a value in PLAIN; 0: BYTE_ARRAY and BOOLEAN. */
static size_t width_of(const nib_parquet_node *leaf)
{
    switch (leaf->type) {
    case NIB_PARQUET_INT32:
    case NIB_PARQUET_FLOAT: return 4;
    case NIB_PARQUET_INT64:
    case NIB_PARQUET_DOUBLE: return 8;
    case NIB_PARQUET_INT96: return 12;
    case NIB_PARQUET_FIXED: return (size_t)leaf->width;
    default: return 0;
    }
}

/* A length and that many bytes, or a number. */
static bool take_plain(const nib_parquet_node *leaf, const uint8_t **at, const uint8_t *end,
                       nib_parquet_value *out)
{
    size_t bytes = width_of(leaf);

    if (leaf->type == NIB_PARQUET_BYTE_ARRAY) {
        if (end - *at < 4) return false;
        bytes = nib_load_le32(*at);
        *at += 4;
    }
    if (bytes > (size_t)(end - *at)) return false;
    *out = (nib_parquet_value){ *at, bytes };
    *at += bytes;
    return true;
}

/* --- the dictionary --- */

const char *nib_parquet_dictionary_open(nib_ctx *ctx, const nib_parquet_node *leaf,
                                        const uint8_t *data, size_t bytes, int64_t count,
                                        nib_parquet_dictionary *d)
{
    const uint8_t *at = data;
    size_t least = leaf->type == NIB_PARQUET_BYTE_ARRAY ? 4 : width_of(leaf);
    nib_parquet_value value;

    if (!least) return "a dictionary of booleans";
    if (count < 0 || (uint64_t)count > bytes / least)
        return "the dictionary has fewer values than it says";
    d->data = data;
    d->count = (uint32_t)count;
    if (leaf->type != NIB_PARQUET_BYTE_ARRAY) return NULL;
    d->begins = nib_new_array(ctx, (size_t)count, sizeof *d->begins);
    if (!d->begins) return no_memory;
    for (uint32_t i = 0; i < d->count; i++) {
        d->begins[i] = (uint32_t)(at - data);
        if (!take_plain(leaf, &at, data + bytes, &value))
            return "the dictionary has fewer values than it says";
    }
    return NULL;
}

static const char *next_of_dictionary(nib_parquet_values *v, nib_parquet_value *out)
{
    const nib_parquet_dictionary *d = v->dictionary;
    size_t width = width_of(v->leaf);
    uint32_t index;

    if (!nib_rle_next(&v->rle, &index)) return ends_early;
    if (index >= d->count) return "an index beyond the dictionary";
    if (v->leaf->type == NIB_PARQUET_BYTE_ARRAY)
        *out = (nib_parquet_value){ d->data + d->begins[index] + 4,
                                    nib_load_le32(d->data + d->begins[index]) };
    else
        *out = (nib_parquet_value){ d->data + index * width, width };
    return NULL;
}

/* --- the others --- */

static const char *next_boolean(nib_parquet_values *v, nib_parquet_value *out)
{
    if (v->index / 8 >= (size_t)(v->end - v->at)) return ends_early;
    v->scratch[0] = v->at[v->index / 8] >> (v->index % 8) & 1;
    v->index++;
    *out = (nib_parquet_value){ v->scratch, 1 };
    return NULL;
}

static const char *next_run_of_booleans(nib_parquet_values *v, nib_parquet_value *out)
{
    uint32_t value;

    if (!nib_rle_next(&v->rle, &value)) return ends_early;
    v->scratch[0] = (uint8_t)(value & 1);
    *out = (nib_parquet_value){ v->scratch, 1 };
    return NULL;
}

static const char *next_delta(nib_parquet_values *v, nib_parquet_value *out)
{
    int64_t value;

    if (!nib_delta_next(&v->lengths, &value)) return ends_early;
    for (unsigned i = 0; i < 8; i++) v->scratch[i] = (uint8_t)((uint64_t)value >> 8 * i);
    /* INT32 wraps at 32 bits */
    *out = (nib_parquet_value){ v->scratch, width_of(v->leaf) };
    return NULL;
}

static const char *next_delta_length(nib_parquet_values *v, nib_parquet_value *out)
{
    int64_t bytes;

    if (!nib_delta_next(&v->lengths, &bytes)) return ends_early;
    if (bytes < 0 || bytes > v->end - v->at) return "a length beyond the page";
    *out = (nib_parquet_value){ v->at, (size_t)bytes };
    v->at += bytes;
    return NULL;
}

static const char *next_delta_bytes(nib_parquet_values *v, nib_parquet_value *out)
{
    nib_parquet_value tail;
    int64_t kept;
    const char *problem = next_delta_length(v, &tail);

    if (problem) return problem;
    if (!nib_delta_next(&v->kept, &kept)) return ends_early;
    if (kept < 0 || (uint64_t)kept > v->text_bytes)
        return "a value that keeps more of the one before than it has";
    if (!nib_grow(v->ctx, &v->text, &v->text_room, (size_t)kept + tail.bytes, 1)) return no_memory;
    if (tail.bytes) memcpy(v->text + kept, tail.data, tail.bytes);
    v->text_bytes = (size_t)kept + tail.bytes;
    *out = (nib_parquet_value){ v->text, v->text_bytes };
    return v->leaf->type == NIB_PARQUET_FIXED && v->text_bytes != width_of(v->leaf)
               ? "a value of another length than its column's" : NULL;
}

static const char *next_of_streams(nib_parquet_values *v, nib_parquet_value *out)
{
    size_t width = width_of(v->leaf);

    if (v->index == v->count) return ends_early;
    for (size_t i = 0; i < width; i++) v->scratch[i] = v->at[i * v->count + v->index];
    v->index++;
    *out = (nib_parquet_value){ v->scratch, width };
    return NULL;
}

const char *nib_parquet_values_next(nib_parquet_values *v, nib_parquet_value *out)
{
    switch (v->encoding) {
    case NIB_PARQUET_RLE_DICTIONARY: return next_of_dictionary(v, out);
    case NIB_PARQUET_RLE: return next_run_of_booleans(v, out);
    case NIB_PARQUET_DELTA_BINARY_PACKED: return next_delta(v, out);
    case NIB_PARQUET_DELTA_LENGTH_BYTE_ARRAY: return next_delta_length(v, out);
    case NIB_PARQUET_DELTA_BYTE_ARRAY: return next_delta_bytes(v, out);
    case NIB_PARQUET_BYTE_STREAM_SPLIT: return next_of_streams(v, out);
    default: break;
    }
    if (v->leaf->type == NIB_PARQUET_BOOLEAN) return next_boolean(v, out);
    return take_plain(v->leaf, &v->at, v->end, out) ? NULL : ends_early;
}

/* --- beginning --- */

static const char *begin_dictionary(nib_parquet_values *v)
{
    if (!v->dictionary) return "indexes into a dictionary that is not there";
    if (v->at == v->end) { /* a page of nulls only */
        v->rle = nib_rle_open(v->at, 0, 0);
        return NULL;
    }
    if (*v->at > 32) return "indexes of more than 32 bits";
    v->rle = nib_rle_open(v->at + 1, (size_t)(v->end - v->at) - 1, *v->at);
    return NULL;
}

static const char *begin_run_of_booleans(nib_parquet_values *v)
{
    size_t bytes = (size_t)(v->end - v->at);

    if (bytes < 4 || nib_load_le32(v->at) > bytes - 4) return "booleans that pass the page's end";
    v->rle = nib_rle_open(v->at + 4, nib_load_le32(v->at), 1);
    return NULL;
}

/* Opens a list of numbers at v->at and puts v->at behind it. */
static bool begin_lengths(nib_parquet_values *v, nib_delta *out)
{
    const uint8_t *end;

    if (!nib_delta_open(v->at, (size_t)(v->end - v->at), out)) return false;
    end = nib_delta_end(*out);
    if (end) v->at = end;
    return end != NULL;
}

static const char *begin_streams(nib_parquet_values *v)
{
    size_t bytes = (size_t)(v->end - v->at), width = width_of(v->leaf);

    if (width > sizeof v->scratch) return "BYTE_STREAM_SPLIT of values wider than 64 bytes";
    if (bytes % width) return "BYTE_STREAM_SPLIT of streams that differ in length";
    v->count = bytes / width;
    return NULL;
}

/* Whether this encoding is for this type. */
static bool fits(int64_t encoding, nib_parquet_type type)
{
    switch (encoding) {
    case NIB_PARQUET_PLAIN: return true;
    case NIB_PARQUET_RLE_DICTIONARY: return type != NIB_PARQUET_BOOLEAN;
    case NIB_PARQUET_RLE: return type == NIB_PARQUET_BOOLEAN;
    case NIB_PARQUET_DELTA_BINARY_PACKED:
        return type == NIB_PARQUET_INT32 || type == NIB_PARQUET_INT64;
    case NIB_PARQUET_DELTA_LENGTH_BYTE_ARRAY: return type == NIB_PARQUET_BYTE_ARRAY;
    case NIB_PARQUET_DELTA_BYTE_ARRAY:
        return type == NIB_PARQUET_BYTE_ARRAY || type == NIB_PARQUET_FIXED;
    case NIB_PARQUET_BYTE_STREAM_SPLIT:
        return type == NIB_PARQUET_INT32 || type == NIB_PARQUET_INT64 ||
               type == NIB_PARQUET_FLOAT || type == NIB_PARQUET_DOUBLE || type == NIB_PARQUET_FIXED;
    default: return false;
    }
}

/* A name as a message, for an encoding that does not fit. */
static const char *refusal(int64_t encoding)
{
    static const char *const names[] = {
        "encoding PLAIN", "encoding 1 (GROUP_VAR_INT)", "encoding PLAIN_DICTIONARY", "encoding RLE",
        "encoding BIT_PACKED", "encoding DELTA_BINARY_PACKED", "encoding DELTA_LENGTH_BYTE_ARRAY",
        "encoding DELTA_BYTE_ARRAY", "encoding RLE_DICTIONARY", "encoding BYTE_STREAM_SPLIT",
    };

    if (encoding < 0 || encoding >= (int64_t)NIB_COUNT(names)) return "an encoding we do not know";
    return names[encoding];
}

const char *nib_parquet_values_begin(nib_parquet_values *v, int64_t encoding, const uint8_t *data,
                                     size_t bytes, const nib_parquet_dictionary *dictionary,
                                     bool *unsupported)
{
    static const char broken[] = "the page is not of the delta encoding it says";

    /* its older name */
    if (encoding == NIB_PARQUET_PLAIN_DICTIONARY) encoding = NIB_PARQUET_RLE_DICTIONARY;
    *unsupported = !fits(encoding, v->leaf->type);
    if (*unsupported) return refusal(encoding);
    v->encoding = encoding;
    v->at = data;
    v->end = data + bytes;
    v->index = v->count = v->text_bytes = 0;
    v->dictionary = dictionary;
    switch (encoding) {
    case NIB_PARQUET_RLE_DICTIONARY: return begin_dictionary(v);
    case NIB_PARQUET_RLE: return begin_run_of_booleans(v);
    case NIB_PARQUET_DELTA_BINARY_PACKED:
        return nib_delta_open(data, bytes, &v->lengths) ? NULL : broken;
    case NIB_PARQUET_DELTA_BYTE_ARRAY:
        if (!begin_lengths(v, &v->kept)) return broken;
        return begin_lengths(v, &v->lengths) ? NULL : broken;
    case NIB_PARQUET_DELTA_LENGTH_BYTE_ARRAY: return begin_lengths(v, &v->lengths) ? NULL : broken;
    case NIB_PARQUET_BYTE_STREAM_SPLIT: return begin_streams(v);
    default: return NULL;
    }
}
