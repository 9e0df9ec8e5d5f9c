/* gguf_writer.c - see gguf_writer.h. */
#include "format/gguf_writer.h"

#include <errno.h>
#include <stdlib.h>

#include "base/outfile.h"
#include "base/outname.h"

enum { ALIGNMENT = 32, NAME_BYTES = 64, HEAD_BYTES = 24 };

/* Bytes that grow. */
typedef struct buffer { uint8_t *at; size_t bytes, capacity; } buffer;

struct nib_gguf_writer {
    nib_ctx *ctx;
    buffer keys, infos;
    uint64_t key_count;
    uint64_t *sizes;   /* bytes of each tensor without padding */
    size_t tensor_count, capacity;
    uint64_t data;     /* bytes of all, each padded */
    char bad_name[NAME_BYTES + 1];
    bool failed;       /* no memory, or a size that overflows */
    nib_outfile *file;
    size_t current;    /* the tensor whose data come, */
    uint64_t written;  /* and how many came */
};

nib_status nib_gguf_writer_create(nib_ctx *ctx, nib_gguf_writer **out, nib_error *err)
{
    nib_gguf_writer *w = nib_new(ctx, sizeof *w);

    if (!w) return nib_fail(err, NIB_E_NOMEM, "a GGUF file: out of memory");
    w->ctx = ctx;
    *out = w;
    return NIB_OK;
}

/* --- values --- */

static void append(nib_gguf_writer *w, buffer *b, const void *data, size_t bytes)
{
    if (w->failed) return;
    if (bytes > SIZE_MAX / 2 - b->bytes ||
        !nib_grow(w->ctx, &b->at, &b->capacity, b->bytes + bytes, 1)) {
        w->failed = true;
        return;
    }
    memcpy(b->at + b->bytes, data, bytes);
    b->bytes += bytes;
}

/* The low `bytes` bytes, the lowest first. */
static void append_integer(nib_gguf_writer *w, buffer *b, uint64_t value, unsigned bytes)
{
    uint8_t le[8];

    for (unsigned i = 0; i < bytes; i++) le[i] = (uint8_t)(value >> 8 * i);
    append(w, b, le, bytes);
}

static void append_text(nib_gguf_writer *w, buffer *b, const char *text, size_t bytes)
{
    append_integer(w, b, bytes, 8);
    append(w, b, text, bytes);
}

void nib_gguf_entry_number(nib_gguf_writer *w, nib_gguf_kind kind, double value)
{
    static const uint8_t widths[NIB_GGUF_KINDS] = {
        [NIB_GGUF_U8] = 1, [NIB_GGUF_I8] = 1, [NIB_GGUF_U16] = 2, [NIB_GGUF_I16] = 2,
        [NIB_GGUF_U32] = 4, [NIB_GGUF_I32] = 4, [NIB_GGUF_BOOL] = 1, [NIB_GGUF_U64] = 8,
        [NIB_GGUF_I64] = 8,
    };
    uint64_t bits = 0;

    if (kind == NIB_GGUF_F32) {
        float f = (float)value;
        uint32_t half;
        memcpy(&half, &f, sizeof half);
        append_integer(w, &w->keys, half, 4);
        return;
    }
    if (kind == NIB_GGUF_F64) {
        memcpy(&bits, &value, sizeof bits);
        append_integer(w, &w->keys, bits, 8);
        return;
    }
    assert(kind < NIB_GGUF_KINDS && widths[kind]);
    append_integer(w, &w->keys, value < 0 ? (uint64_t)(int64_t)value : (uint64_t)value,
                   widths[kind]);
}

void nib_gguf_entry_text(nib_gguf_writer *w, const char *text, size_t bytes)
{
    append_text(w, &w->keys, text, bytes);
}

static void begin_key(nib_gguf_writer *w, const char *key, nib_gguf_kind kind)
{
    append_text(w, &w->keys, key, strlen(key));
    append_integer(w, &w->keys, kind, 4);
    w->key_count++;
}

void nib_gguf_put_number(nib_gguf_writer *w, const char *key, nib_gguf_kind kind, double value)
{
    begin_key(w, key, kind);
    nib_gguf_entry_number(w, kind, value);
}

void nib_gguf_put_text(nib_gguf_writer *w, const char *key, const char *text, size_t bytes)
{
    begin_key(w, key, NIB_GGUF_TEXT);
    append_text(w, &w->keys, text, bytes);
}

void nib_gguf_put_array(nib_gguf_writer *w, const char *key, nib_gguf_kind entry, size_t count)
{
    begin_key(w, key, NIB_GGUF_ARRAY);
    append_integer(w, &w->keys, entry, 4);
    append_integer(w, &w->keys, count, 8);
}

void nib_gguf_add_tensor(nib_gguf_writer *w, const char *name, const nib_gguf_type *type,
                         unsigned rank, const uint64_t *shape)
{
    uint64_t blocks = shape[rank - 1] / type->elements, bytes, padded;
    size_t length = strlen(name);

    assert(rank >= 1 && rank <= 4 && shape[rank - 1] % type->elements == 0);
    if (length >= NAME_BYTES && !*w->bad_name) memcpy(w->bad_name, name, NAME_BYTES);
    for (unsigned d = 0; d + 1 < rank; d++)
        if (!nib_mul_u64(blocks, shape[d], &blocks)) w->failed = true;
    if (!nib_mul_u64(blocks, type->bytes, &bytes) || bytes > UINT64_MAX / 4 ||
        w->data > UINT64_MAX / 4 ||
        !nib_grow(w->ctx, &w->sizes, &w->capacity, w->tensor_count + 1, sizeof *w->sizes))
        w->failed = true;
    if (w->failed) return;
    append_text(w, &w->infos, name, length);
    append_integer(w, &w->infos, rank, 4);
    for (unsigned d = rank; d-- > 0;) append_integer(w, &w->infos, shape[d], 8);
    append_integer(w, &w->infos, type->id, 4);
    append_integer(w, &w->infos, w->data, 8);
    padded = (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    w->sizes[w->tensor_count++] = bytes;
    w->data += padded;
}

uint64_t nib_gguf_writer_bytes(const nib_gguf_writer *w) { return w->data; }

uint64_t nib_gguf_writer_header_bytes(const nib_gguf_writer *w)
{
    return HEAD_BYTES + w->keys.bytes + w->infos.bytes;
}

/* --- the file --- */

/* Zeros up to the next multiple of the alignment. */
static nib_status pad(nib_gguf_writer *w, uint64_t bytes, nib_error *err)
{
    static const uint8_t zeros[ALIGNMENT];

    return nib_outfile_write(w->file, zeros, (size_t)((ALIGNMENT - bytes % ALIGNMENT) % ALIGNMENT),
                             err);
}

static nib_status write_header(nib_gguf_writer *w, nib_error *err)
{
    uint8_t head[HEAD_BYTES] = { 'G', 'G', 'U', 'F', 3 };
    nib_status status;

    for (unsigned i = 0; i < 8; i++) {
        head[8 + i] = (uint8_t)((uint64_t)w->tensor_count >> 8 * i);
        head[16 + i] = (uint8_t)(w->key_count >> 8 * i);
    }
    status = nib_outfile_write(w->file, head, sizeof head, err);
    if (!status) status = nib_outfile_write(w->file, w->keys.at, w->keys.bytes, err);
    if (!status) status = nib_outfile_write(w->file, w->infos.at, w->infos.bytes, err);
    return status ? status : pad(w, sizeof head + w->keys.bytes + w->infos.bytes, err);
}

nib_status nib_gguf_writer_open(nib_gguf_writer *w, const char *path, nib_error *err)
{
    nib_status status;

    if (*w->bad_name)
        return nib_fail(err, NIB_E_INVALID, "%s: tensor name '%s...' is longer than %d bytes", path,
                        w->bad_name, NAME_BYTES - 1);
    if (w->failed) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory for its header", path);
    status = nib_disk_check(w->ctx, path, w->data + w->keys.bytes + w->infos.bytes, err);
    if (!status) status = nib_outfile_create(w->ctx, path, &w->file, err);
    return status ? status : write_header(w, err);
}

nib_status nib_gguf_writer_put(nib_gguf_writer *w, const void *data, size_t bytes, nib_error *err)
{
    const uint8_t *from = data;
    nib_status status = NIB_OK;

    while (bytes && !status) {
        uint64_t left;
        size_t n;
        assert(w->current < w->tensor_count);
        left = w->sizes[w->current] - w->written;
        n = left < bytes ? (size_t)left : bytes;
        status = nib_outfile_write(w->file, from, n, err);
        from += n;
        bytes -= n;
        w->written += n;
        if (status || w->written < w->sizes[w->current]) continue;
        status = pad(w, w->written, err);
        w->current++;
        w->written = 0;
    }
    return status;
}

nib_status nib_gguf_writer_commit(nib_gguf_writer *w, nib_error *err)
{
    nib_outfile *file = w->file;
    nib_status status;

    if (w->current == w->tensor_count) {
        w->file = NULL; /* handed over */
        status = nib_outfile_commit(file, err);
    } else {
        status = nib_fail(err, NIB_E_INVALID, "a GGUF file: the data of %zu of %zu tensors came",
                          w->current, w->tensor_count);
    }
    nib_gguf_writer_discard(w);
    return status;
}

void nib_gguf_writer_discard(nib_gguf_writer *w)
{
    if (!w) return;
    nib_outfile_discard(w->file);
    nib_free(w->ctx, w->keys.at);
    nib_free(w->ctx, w->infos.at);
    nib_free(w->ctx, w->sizes);
    nib_free(w->ctx, w);
}
