/* gguf.c - see gguf.h.
 *
 * Sizes of the file are compared with what is left of it before they are used, so a count of a
 * billion costs nothing.  Offsets must be the running sum of the padded sizes, as ggml has it:
 * tensors cannot overlap then. */
#include "format/gguf.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

enum {
    HEADER = 24,
    KEY_LEAST = 8 + 4 + 1,    /* bytes of a key without a name */
    TENSOR_LEAST = 8 + 4 + 4 + 8,
    MOST_DIMS = 4,
    LONGEST_KEY = 65535,
    LONGEST_NAME = 63,        /* of a tensor */
    ALIGNMENT = 32,
    MOST_TEXTS = 1 << 24      /* in an array: they are walked through */
};
#define MOST_ENTRIES ((uint64_t)1 << 30)
#define LONGEST_TEXT ((uint64_t)1 << 30)

/* Ids in the order of ggml.h; those it removed are not here. */
static const nib_gguf_type types[] = {
    { 0, "F32", 1, 4, NIB_F32 },
    { 1, "F16", 1, 2, NIB_F16 },
    { 2, "Q4_0", 32, 18, NIB_DTYPE_OTHER },
    { 3, "Q4_1", 32, 20, NIB_DTYPE_OTHER },
    { 6, "Q5_0", 32, 22, NIB_DTYPE_OTHER },
    { 7, "Q5_1", 32, 24, NIB_DTYPE_OTHER },
    { 8, "Q8_0", 32, 34, NIB_DTYPE_OTHER },
    { 10, "Q2_K", 256, 84, NIB_DTYPE_OTHER },
    { 11, "Q3_K", 256, 110, NIB_DTYPE_OTHER },
    { 12, "Q4_K", 256, 144, NIB_DTYPE_OTHER },
    { 13, "Q5_K", 256, 176, NIB_DTYPE_OTHER },
    { 14, "Q6_K", 256, 210, NIB_DTYPE_OTHER },
    { 16, "IQ2_XXS", 256, 66, NIB_DTYPE_OTHER },
    { 17, "IQ2_XS", 256, 74, NIB_DTYPE_OTHER },
    { 18, "IQ3_XXS", 256, 98, NIB_DTYPE_OTHER },
    { 19, "IQ1_S", 256, 50, NIB_DTYPE_OTHER },
    { 20, "IQ4_NL", 32, 18, NIB_DTYPE_OTHER },
    { 21, "IQ3_S", 256, 110, NIB_DTYPE_OTHER },
    { 22, "IQ2_S", 256, 82, NIB_DTYPE_OTHER },
    { 23, "IQ4_XS", 256, 136, NIB_DTYPE_OTHER },
    { 24, "I8", 1, 1, NIB_I8 },
    { 25, "I16", 1, 2, NIB_I16 },
    { 26, "I32", 1, 4, NIB_I32 },
    { 27, "I64", 1, 8, NIB_I64 },
    { 28, "F64", 1, 8, NIB_F64 },
    { 29, "IQ1_M", 256, 56, NIB_DTYPE_OTHER },
    { 30, "BF16", 1, 2, NIB_BF16 },
    { 34, "TQ1_0", 256, 54, NIB_DTYPE_OTHER },
    { 35, "TQ2_0", 256, 66, NIB_DTYPE_OTHER },
    { 39, "MXFP4", 32, 17, NIB_DTYPE_OTHER },
    { 40, "NVFP4", 64, 36, NIB_DTYPE_OTHER },
    { 41, "Q1_0", 128, 18, NIB_DTYPE_OTHER },
    { 42, "Q2_0", 64, 18, NIB_DTYPE_OTHER },
};

/* NULL: removed or not known. */
static const nib_gguf_type *type_of(uint32_t id)
{
    for (size_t i = 0; i < NIB_COUNT(types); i++)
        if (types[i].id == id) return &types[i];
    return NULL;
}

const nib_gguf_type *nib_gguf_type_named(const char *name)
{
    for (size_t i = 0; i < NIB_COUNT(types); i++)
        if (strcmp(types[i].name, name) == 0) return &types[i];
    return NULL;
}

/* Bytes of one entry; 0: they differ. */
static unsigned kind_bytes(nib_gguf_kind kind)
{
    static const uint8_t bytes[NIB_GGUF_KINDS] = { 1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8 };
    return bytes[kind];
}

/* --- reading, with what is left kept in mind --- */

typedef struct cursor {
    const uint8_t *base;
    size_t at, bytes;
    const char *where;
} cursor;

static size_t left(const cursor *c) { return c->bytes - c->at; }

static nib_status too_short(const cursor *c, const char *what, nib_error *err)
{
    return nib_fail(err, NIB_E_FORMAT, "%s: ends within %s, at byte %zu of %zu: is the download "
                    "complete?", c->where, what, c->at, c->bytes);
}

static nib_status take(cursor *c, size_t bytes, const char *what, const uint8_t **out,
                       nib_error *err)
{
    if (bytes > left(c)) return too_short(c, what, err);
    *out = c->base + c->at;
    c->at += bytes;
    return NIB_OK;
}

static nib_status take_u32(cursor *c, const char *what, uint32_t *out, nib_error *err)
{
    const uint8_t *p = NULL;
    nib_status status = take(c, 4, what, &p, err);

    if (!status) *out = nib_load_le32(p);
    return status;
}

static nib_status take_u64(cursor *c, const char *what, uint64_t *out, nib_error *err)
{
    const uint8_t *p = NULL;
    nib_status status = take(c, 8, what, &p, err);

    if (!status) *out = nib_load_le64(p);
    return status;
}

static nib_status take_text(cursor *c, const char *what, uint64_t most, nib_gguf_text *out,
                            nib_error *err)
{
    uint64_t bytes = 0;
    const uint8_t *p = NULL;
    nib_status status = take_u64(c, what, &bytes, err);

    if (status) return status;
    if (bytes > left(c))
        return nib_fail(err, NIB_E_FORMAT, "%s: %s of %" PRIu64 " bytes at byte %zu, where %zu are "
                        "left", c->where, what, bytes, c->at, left(c));
    if (bytes > most)
        return nib_fail(err, NIB_E_FORMAT, "%s: %s of %" PRIu64 " bytes at byte %zu, at most %"
                        PRIu64 " are read", c->where, what, bytes, c->at, most);
    status = take(c, (size_t)bytes, what, &p, err);
    if (!status) *out = (nib_gguf_text){ (const char *)p, (size_t)bytes };
    return status;
}

/* --- keys --- */

static nib_status check_bools(const cursor *c, const nib_gguf_value *v, nib_error *err)
{
    for (size_t i = 0; i < v->bytes; i++)
        if (v->at[i] > 1)
            return nib_fail(err, NIB_E_FORMAT, "%s: %s: a bool of %u, expected 0 or 1", c->where,
                            v->key, v->at[i]);
    return NIB_OK;
}

/* The entries of a value, whose kind and count are known. */
static nib_status read_entries(cursor *c, nib_gguf_value *v, nib_error *err)
{
    unsigned each = kind_bytes(v->entry), least = each ? each : 8;
    nib_status status = NIB_OK;

    if (v->count > MOST_ENTRIES || v->count > left(c) / least ||
        (!each && v->count > MOST_TEXTS))
        return nib_fail(err, NIB_E_FORMAT, "%s: %s: %" PRIu64 " entries, where %zu bytes are left",
                        c->where, v->key, v->count, left(c));
    v->at = c->base + c->at;
    if (each) {
        c->at += (size_t)v->count * each;
    } else {
        nib_gguf_text text;
        for (uint64_t i = 0; i < v->count && !status; i++)
            status = take_text(c, v->key, LONGEST_TEXT, &text, err);
    }
    v->bytes = (size_t)(c->base + c->at - v->at);
    if (!status && v->entry == NIB_GGUF_BOOL) status = check_bools(c, v, err);
    return status;
}

static nib_status read_value(cursor *c, nib_gguf_value *v, nib_error *err)
{
    uint32_t kind = 0, entry;
    nib_status status = take_u32(c, v->key, &kind, err);

    if (status) return status;
    v->count = 1;
    entry = kind;
    if (kind == NIB_GGUF_ARRAY) {
        status = take_u32(c, v->key, &entry, err);
        if (!status) status = take_u64(c, v->key, &v->count, err);
        if (status) return status;
        if (entry == NIB_GGUF_ARRAY)
            return nib_fail(err, NIB_E_FORMAT, "%s: %s: an array of arrays", c->where, v->key);
    }
    if (kind >= NIB_GGUF_KINDS || entry >= NIB_GGUF_KINDS)
        return nib_fail(err, NIB_E_FORMAT, "%s: %s: a value of type %" PRIu32 ", known are 0 to 12",
                        c->where, v->key, kind >= NIB_GGUF_KINDS ? kind : entry);
    v->kind = (nib_gguf_kind)kind;
    v->entry = (nib_gguf_kind)entry;
    return read_entries(c, v, err);
}

/* Names are kept with a NUL behind them, which they may not hold. */
static nib_status keep_name(const cursor *c, nib_gguf_text text, const char *what, char **room,
                            const char **out, nib_error *err)
{
    if (!text.bytes || memchr(text.at, 0, text.bytes))
        return nib_fail(err, NIB_E_FORMAT, "%s: %s at byte %zu %s", c->where, what, c->at,
                        text.bytes ? "holds a NUL" : "is empty");
    memcpy(*room, text.at, text.bytes);
    (*room)[text.bytes] = 0;
    *out = *room;
    *room += text.bytes + 1;
    return NIB_OK;
}

static int by_key(const void *a, const void *b)
{
    return strcmp(((const nib_gguf_value *)a)->key, ((const nib_gguf_value *)b)->key);
}

static nib_status read_keys(cursor *c, nib_gguf *g, char **room, nib_error *err)
{
    nib_status status = NIB_OK;

    for (size_t i = 0; i < g->value_count && !status; i++) {
        nib_gguf_text key = { NULL, 0 };
        status = take_text(c, "a key", LONGEST_KEY, &key, err);
        if (!status) status = keep_name(c, key, "a key", room, &g->values[i].key, err);
        if (!status) status = read_value(c, &g->values[i], err);
    }
    if (status) return status;
    if (g->value_count) qsort(g->values, g->value_count, sizeof *g->values, by_key);
    for (size_t i = 1; i < g->value_count; i++)
        if (strcmp(g->values[i].key, g->values[i - 1].key) == 0)
            return nib_fail(err, NIB_E_FORMAT, "%s: the key %.200s is there twice", c->where,
                            g->values[i].key);
    return NIB_OK;
}

static nib_status read_alignment(const cursor *c, const nib_gguf *g, uint64_t *alignment,
                                 nib_error *err)
{
    const nib_gguf_value *v = nib_gguf_find(g, "general.alignment");

    *alignment = ALIGNMENT;
    if (!v) return NIB_OK;
    if (v->kind != NIB_GGUF_U32 || !nib_gguf_count(v, 0, alignment) || !*alignment ||
        (*alignment & (*alignment - 1)))
        return nib_fail(err, NIB_E_FORMAT,
                        "%s: general.alignment is not a power of two of type u32", c->where);
    return NIB_OK;
}

/* --- tensors --- */

/* Dimensions, the fastest first, as a shape in C order; elements and bytes. */
static nib_status read_dims(cursor *c, nib_tensor *t, uint64_t *fastest, nib_error *err)
{
    uint32_t rank = 0;
    nib_status status = take_u32(c, t->name, &rank, err);

    if (status) return status;
    if (!rank || rank > MOST_DIMS)
        return nib_fail(err, NIB_E_FORMAT, "%s: %s has %" PRIu32 " dimensions, expected 1 to %d",
                        c->where, t->name, rank, MOST_DIMS);
    t->rank = rank;
    t->elements = 1;
    for (uint32_t i = 0; i < rank; i++) {
        uint64_t dim = 0;
        status = take_u64(c, t->name, &dim, err);
        if (status) return status;
        if (!dim || dim > INT64_MAX || !nib_mul_u64(t->elements, dim, &t->elements))
            return nib_fail(err, NIB_E_FORMAT, "%s: %s: dimension %" PRIu32 " is %" PRId64
                            ", or the product of them is too large",
                            c->where, t->name, i, (int64_t)dim);
        t->shape[rank - 1 - i] = dim;
        if (!i) *fastest = dim;
    }
    return NIB_OK;
}

static nib_status read_type(cursor *c, nib_tensor *t, uint64_t fastest, nib_error *err)
{
    const nib_gguf_type *type;
    uint32_t id = 0;
    nib_status status = take_u32(c, t->name, &id, err);

    if (status) return status;
    type = type_of(id);
    if (!type)
        return nib_fail(err, NIB_E_UNSUPPORTED, "%s: %s is of tensor type %" PRIu32
                        ", which is not known (removed from ggml, or newer than this program)",
                        c->where, t->name, id);
    if (fastest % type->elements)
        return nib_fail(err, NIB_E_FORMAT, "%s: %s: rows of %" PRIu64 " values are no whole blocks "
                        "of %s, which have %u", c->where, t->name, fastest, type->name,
                        type->elements);
    t->dtype = type->dtype;
    t->dtype_name = type->name;
    if (!nib_mul_u64(t->elements / type->elements, type->bytes, &t->bytes))
        return nib_fail(err, NIB_E_FORMAT, "%s: %s is too large", c->where, t->name);
    return NIB_OK;
}

static nib_status read_tensor(cursor *c, nib_tensor *t, char **room, uint64_t *offset,
                              nib_error *err)
{
    nib_gguf_text name = { NULL, 0 };
    uint64_t fastest = 1;
    nib_status status = take_text(c, "the name of a tensor", LONGEST_NAME, &name, err);

    if (!status) status = keep_name(c, name, "the name of a tensor", room, &t->name, err);
    if (!status) status = read_dims(c, t, &fastest, err);
    if (!status) status = read_type(c, t, fastest, err);
    if (!status) status = take_u64(c, t->name, offset, err);
    return status;
}

/* The data of all tensors, one behind the other. */
static nib_status place(const cursor *c, nib_gguf *g, const uint64_t *offsets, uint64_t alignment,
                        nib_error *err)
{
    uint64_t data_at = (c->at + alignment - 1) & ~(alignment - 1), at = 0;

    if (data_at < c->at || (g->count && data_at > c->bytes))
        return too_short(c, "the padding before the data", err);
    g->data_at = (size_t)nib_min((size_t)data_at, c->bytes);
    for (size_t i = 0; i < g->count; i++) {
        nib_tensor *t = &g->tensors[i];
        uint64_t room = c->bytes - data_at;
        if (offsets[i] != at)
            return nib_fail(err, NIB_E_FORMAT, "%s: %s lies at offset %" PRIu64 ", expected %"
                            PRIu64 ", behind the tensor before it", c->where, t->name, offsets[i],
                            at);
        if (at > room || t->bytes > room - at)
            return nib_fail(err, NIB_E_FORMAT, "%s: %s takes %" PRIu64 " bytes from offset %" PRIu64
                            " on, but there are %" PRIu64 " bytes of data: is the download "
                            "complete?", c->where, t->name, t->bytes, at, room);
        t->data = c->base + data_at + at;
        at = (at + t->bytes + alignment - 1) & ~(alignment - 1);
        if (at < offsets[i])
            return nib_fail(err, NIB_E_FORMAT, "%s: %s is too large", c->where, t->name);
    }
    return NIB_OK;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static nib_status check_names(nib_ctx *ctx, const cursor *c, const nib_gguf *g, nib_error *err)
{
    const char **names = nib_new_array(ctx, g->count + 1, sizeof *names);
    nib_status status = NIB_OK;

    if (!names) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", c->where);
    for (size_t i = 0; i < g->count; i++) names[i] = g->tensors[i].name;
    qsort(names, g->count, sizeof *names, by_name);
    for (size_t i = 1; i < g->count && !status; i++)
        if (strcmp(names[i], names[i - 1]) == 0)
            status = nib_fail(err, NIB_E_FORMAT, "%s: two tensors are called %s", c->where,
                              names[i]);
    nib_free(ctx, names);
    return status;
}

static nib_status read_tensors(nib_ctx *ctx, cursor *c, nib_gguf *g, char **room, nib_error *err)
{
    uint64_t *offsets = nib_new_array(ctx, g->count + 1, sizeof *offsets), alignment = ALIGNMENT;
    nib_status status = read_alignment(c, g, &alignment, err);

    if (!offsets) status = nib_fail(err, NIB_E_NOMEM, "%s: out of memory", c->where);
    for (size_t i = 0; i < g->count && !status; i++)
        status = read_tensor(c, &g->tensors[i], room, &offsets[i], err);
    if (!status) status = check_names(ctx, c, g, err);
    if (!status) status = place(c, g, offsets, alignment, err);
    nib_free(ctx, offsets);
    return status;
}

/* --- the whole --- */

static nib_status read_header(cursor *c, nib_gguf *g, nib_error *err)
{
    uint32_t version;
    uint64_t tensors, keys;

    if (c->bytes < HEADER || !nib_gguf_is(c->base, c->bytes))
        return nib_fail(err, NIB_E_FORMAT, "%s: %zu bytes that do not begin as a GGUF file does",
                        c->where, c->bytes);
    version = nib_load_le32(c->base + 4);
    if (version && (version & 0xffff) == 0)
        return nib_fail(err, NIB_E_UNSUPPORTED, "%s: a big-endian GGUF file", c->where);
    if (version != 2 && version != 3)
        return nib_fail(err, version == 1 ? NIB_E_UNSUPPORTED : NIB_E_FORMAT,
                        "%s: GGUF version %" PRIu32 ", known are 2 and 3", c->where, version);
    tensors = nib_load_le64(c->base + 8);
    keys = nib_load_le64(c->base + 16);
    c->at = HEADER;
    if (tensors > left(c) / TENSOR_LEAST || keys > left(c) / KEY_LEAST)
        return nib_fail(err, NIB_E_FORMAT, "%s: %" PRId64 " tensors and %" PRId64
                        " keys in a file of %zu bytes", c->where, (int64_t)tensors, (int64_t)keys,
                        c->bytes);
    g->count = (size_t)tensors;
    g->value_count = (size_t)keys;
    return NIB_OK;
}

/* How much the names take, a bound: they lie before the data, each once. */
static nib_status count_names(const cursor *from, const nib_gguf *g, size_t *room, nib_error *err)
{
    cursor c = *from;
    nib_status status = NIB_OK;

    *room = 1 + g->count * (LONGEST_NAME + 1);
    for (size_t i = 0; i < g->value_count && !status; i++) {
        char name[200] = ""; /* for messages */
        nib_gguf_value v = { .key = name };
        nib_gguf_text key = { NULL, 0 };
        status = take_text(&c, "a key", LONGEST_KEY, &key, err);
        if (status) break;
        *room += key.bytes + 1;
        snprintf(name, sizeof name, "%.*s", (int)key.bytes, key.at);
        status = read_value(&c, &v, err);
    }
    return status;
}

nib_status nib_gguf_parse(nib_ctx *ctx, const uint8_t *base, size_t bytes, const char *where,
                          nib_gguf *out, nib_error *err)
{
    cursor c = { .base = base, .bytes = bytes, .where = where };
    nib_gguf g = { 0 };
    size_t room = 0;
    char *names;
    nib_status status = read_header(&c, &g, err);

    if (!status) status = count_names(&c, &g, &room, err);
    if (status) return status;
    g.names = names = nib_alloc(ctx, room);
    g.values = nib_new_array(ctx, g.value_count + 1, sizeof *g.values);
    g.tensors = nib_new_array(ctx, g.count + 1, sizeof *g.tensors);
    if (!g.names || !g.values || !g.tensors)
        status = nib_fail(err, NIB_E_NOMEM, "%s: out of memory", where);
    if (!status) status = read_keys(&c, &g, &names, err);
    if (!status) status = read_tensors(ctx, &c, &g, &names, err);
    if (status) goto done;
    *out = g;
    g = (nib_gguf){ 0 }; /* handed over */
done:
    nib_gguf_free(ctx, &g);
    return status;
}

void nib_gguf_free(nib_ctx *ctx, nib_gguf *g)
{
    nib_free(ctx, g->names);
    nib_free(ctx, g->values);
    nib_free(ctx, g->tensors);
    *g = (nib_gguf){ 0 };
}

bool nib_gguf_is(const uint8_t *base, size_t bytes)
{
    return bytes >= 4 && memcmp(base, "GGUF", 4) == 0;
}

bool nib_gguf_is_file(const char *path)
{
    struct stat info;
    uint8_t begin[4];
    FILE *f;
    bool is;

    if (!path || stat(path, &info) || !S_ISREG(info.st_mode)) return false; /* a FIFO would wait */
    f = fopen(path, "rb");
    if (!f) return false;
    is = fread(begin, 1, sizeof begin, f) == sizeof begin && nib_gguf_is(begin, sizeof begin);
    fclose(f);
    return is;
}

/* --- values --- */

const nib_gguf_value *nib_gguf_find(const nib_gguf *g, const char *key)
{
    const nib_gguf_value wanted = { .key = key };

    return g->value_count ? bsearch(&wanted, g->values, g->value_count, sizeof wanted, by_key)
                          : NULL;
}

bool nib_gguf_number(const nib_gguf_value *v, uint64_t i, double *out)
{
    unsigned each = v ? kind_bytes(v->entry) : 0;
    const uint8_t *p = NULL;
    uint32_t bits;
    uint64_t wide;
    float f;

    if (!each || i >= v->count) return false;
    p = v->at + i * each;
    switch (v->entry) {
    case NIB_GGUF_U8: case NIB_GGUF_BOOL: *out = *p; return true;
    case NIB_GGUF_I8: *out = (int8_t)*p; return true;
    case NIB_GGUF_U16: *out = nib_load_le16(p); return true;
    case NIB_GGUF_I16: *out = (int16_t)nib_load_le16(p); return true;
    case NIB_GGUF_U32: *out = nib_load_le32(p); return true;
    case NIB_GGUF_I32: *out = (int32_t)nib_load_le32(p); return true;
    case NIB_GGUF_U64: *out = (double)nib_load_le64(p); return true;
    case NIB_GGUF_I64: *out = (double)(int64_t)nib_load_le64(p); return true;
    case NIB_GGUF_F32:
        bits = nib_load_le32(p);
        memcpy(&f, &bits, sizeof f);
        *out = (double)f;
        return true;
    case NIB_GGUF_F64:
        wide = nib_load_le64(p);
        memcpy(out, &wide, sizeof *out);
        return true;
    case NIB_GGUF_TEXT: case NIB_GGUF_ARRAY: case NIB_GGUF_KINDS: break;
    }
    return false;
}

bool nib_gguf_count(const nib_gguf_value *v, uint64_t i, uint64_t *out)
{
    double value = 0;

    if (!nib_gguf_number(v, i, &value) || v->entry == NIB_GGUF_F32 || v->entry == NIB_GGUF_F64 ||
        v->entry == NIB_GGUF_BOOL || !(value >= 0 && value < 0x1p53))
        return false;
    *out = (uint64_t)value;
    return true;
}

bool nib_gguf_next_text(const nib_gguf_value *v, size_t *at, nib_gguf_text *out)
{
    if (!v || v->entry != NIB_GGUF_TEXT || *at >= v->bytes) return false;
    out->bytes = (size_t)nib_load_le64(v->at + *at); /* checked when the file was parsed */
    out->at = (const char *)v->at + *at + 8;
    *at += 8 + out->bytes;
    return true;
}

bool nib_gguf_one_text(const nib_gguf_value *v, nib_gguf_text *out)
{
    size_t at = 0;

    return v && v->kind == NIB_GGUF_TEXT && nib_gguf_next_text(v, &at, out);
}

bool nib_gguf_text_is(nib_gguf_text t, const char *s)
{
    return strlen(s) == t.bytes && memcmp(t.at, s, t.bytes) == 0;
}
