/* shape_gguf.c - see shape_gguf.h.  A row of each type and width is made once and written again and
 * again: how fast a file is read does not depend on what it says. */
#include "shape_gguf.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "job/export_plan.h"
#include "quant/block_encode.h"

typedef struct gguf_file {
    nib_model *model; /* blank: names and shapes */
    nib_gguf_naming naming;
    nib_gguf_keys_out keys;
    nib_export_plan plan;
    nib_gguf_writer *writer;
} gguf_file;

/* Letters as digits, so that what a piece begins with is a piece too; every other one begins a
 * word. */
static size_t piece_of(size_t n, char out[16])
{
    char letters[8];
    size_t count = 0, used = 0;

    if (n % 2) {
        memcpy(out, "\xe2\x96\x81", 3);
        used = 3;
    }
    for (n = n / 2 + 1; n; n = (n - 1) / 26) letters[count++] = (char)('a' + (n - 1) % 26);
    while (count) out[used++] = letters[--count];
    return used;
}

/* Three special tokens, a token a byte, and pieces. */
static void put_tokenizer(nib_gguf_writer *w, size_t count)
{
    static const char *const special[] = { "<unk>", "<s>", "</s>" };
    static const char *const ids[] = { "tokenizer.ggml.unknown_token_id",
                                       "tokenizer.ggml.bos_token_id",
                                       "tokenizer.ggml.eos_token_id" };
    enum { SPECIAL = NIB_COUNT(special), BYTES = SPECIAL + 256 };

    nib_gguf_put_text(w, "tokenizer.ggml.model", "llama", 5);
    nib_gguf_put_text(w, "tokenizer.ggml.pre", "default", 7);
    nib_gguf_put_array(w, "tokenizer.ggml.tokens", NIB_GGUF_TEXT, count);
    for (size_t i = 0; i < count; i++) {
        char piece[16];
        size_t bytes;
        if (i < SPECIAL) bytes = (size_t)snprintf(piece, sizeof piece, "%s", special[i]);
        else if (i < BYTES) bytes = (size_t)snprintf(piece, sizeof piece, "<0x%02zX>", i - SPECIAL);
        else bytes = piece_of(i - BYTES, piece);
        nib_gguf_entry_text(w, piece, bytes);
    }
    nib_gguf_put_array(w, "tokenizer.ggml.scores", NIB_GGUF_F32, count);
    for (size_t i = 0; i < count; i++)
        nib_gguf_entry_number(w, NIB_GGUF_F32, i < BYTES ? 0 : -(double)(i - BYTES));
    nib_gguf_put_array(w, "tokenizer.ggml.token_type", NIB_GGUF_I32, count);
    for (size_t i = 0; i < count; i++) /* unknown, control, byte, normal */
        nib_gguf_entry_number(w, NIB_GGUF_I32, !i ? 2 : i < SPECIAL ? 3 : i < BYTES ? 6 : 1);
    for (size_t i = 0; i < SPECIAL; i++)
        nib_gguf_put_number(w, ids[i], NIB_GGUF_U32, (double)i);
}

/* A row of the item's type, [bytes]; the caller's. */
static uint8_t *make_row(const nib_kernels *k, const nib_export_item *item, size_t *bytes)
{
    size_t width = (size_t)item->shape[item->rank - 1];
    float *x = malloc(width * sizeof *x);
    uint8_t *row;
    nib_block_kind kind;

    *bytes = width / item->type->elements * item->type->bytes;
    row = malloc(*bytes);
    if (!x || !row) abort();
    for (size_t i = 0; i < width; i++) /* norms are ones, matrices a hundredth */
        x[i] = item->weight ? 0.01f * sinf((float)i * 1.7f) : 1;
    if (nib_block_encodes(item->type->name, &kind))
        nib_block_encode(k, kind, width / item->type->elements, x, NULL, row);
    else nib_convert(row, item->type->dtype, x, NIB_F32, width);
    free(x);
    return row;
}

static nib_status put_item(const nib_kernels *k, const nib_export_item *item, nib_gguf_writer *w,
                           nib_error *err)
{
    uint64_t rows = item->rank > 1 ? item->shape[0] : 1;
    nib_status status = NIB_OK;
    size_t bytes;
    uint8_t *row = make_row(k, item, &bytes);

    for (uint64_t i = 0; i < rows && !status; i++) status = nib_gguf_writer_put(w, row, bytes, err);
    free(row);
    return status;
}

void bench_write_gguf(nib_ctx *ctx, const bench_shape *s, const char *type, const char *path)
{
    const nib_export_type *to = nib_export_type_named(type);
    const nib_kernels k = nib_kernels_for(nib_ctx_cpu(ctx));
    char *dir = bench_shape_dir(s);
    nib_model_options o = { .model = dir };
    gguf_file f = { 0 };
    nib_error err;

    bench_demand(nib_model_open_blank(ctx, &o, NIB_F32, &f.model, &err), &err);
    bench_demand(nib_gguf_naming_of(f.model, &f.naming, &err), &err);
    bench_demand(nib_gguf_writer_create(ctx, &f.writer, &err), &err);
    bench_demand(nib_gguf_put_model(f.model, &f.naming, to->file_type, f.writer, &f.keys, &err),
                 &err);
    put_tokenizer(f.writer, f.model->embedding->weight->out);
    bench_demand(nib_export_plan_make(f.model, &f.naming, to, &f.keys, NULL, &f.plan, &err), &err);
    for (size_t i = 0; i < f.plan.count; i++) {
        const nib_export_item *item = &f.plan.items[i];
        nib_gguf_add_tensor(f.writer, item->name, item->type, item->rank, item->shape);
    }
    bench_demand(nib_gguf_writer_open(f.writer, path, &err), &err);
    for (size_t i = 0; i < f.plan.count; i++)
        bench_demand(put_item(&k, &f.plan.items[i], f.writer, &err), &err);
    bench_demand(nib_gguf_writer_commit(f.writer, &err), &err);
    nib_export_plan_free(ctx, &f.plan);
    nib_gguf_keys_out_free(ctx, &f.keys);
    nib_model_close(f.model);
    bench_remove_dir(dir);
}
