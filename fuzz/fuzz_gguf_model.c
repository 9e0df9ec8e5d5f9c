/* fuzz_gguf_model.c - any bytes as a GGUF file given as a model: its keys as config.json and
 * tokenizer, its tensors bound.
 *
 * The file has zeros behind the input (a sparse file in memory), so a seed needs no data.
 * What is opened is bound whole, the last row of each linear is decoded, and a text is encoded. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "model/model.h"
#include "text/chat.h"
#include "text/tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

enum { ZEROS = 256 << 10 };

static char path[64];

static void tidy(void) { unlink(path); }

static void write_file(const uint8_t *data, size_t bytes)
{
    FILE *f = fopen(path, "wb");

    if (!f || (bytes && fwrite(data, 1, bytes, f) != bytes) || fflush(f) ||
        ftruncate(fileno(f), (off_t)(bytes + ZEROS)) || fclose(f))
        abort();
}

static void open_model(nib_ctx *ctx)
{
    nib_model_options options = { .model = path };
    nib_model *m = NULL;
    nib_error err;

    if (nib_model_open(ctx, &options, NIB_F32, (nib_model_progress){ 0 }, &m, &err)) return;
    for (size_t i = 0; i < m->linear_count; i++) {
        const nib_weight *w = m->linears[i]->weight;
        float *row = nib_new_array(ctx, w->in, sizeof *row);
        if (row) nib_weight_decode(w, w->out - 1, w->out, row);
        nib_free(ctx, row);
    }
    nib_model_close(m);
}

static void open_text(nib_ctx *ctx)
{
    static const char text[] = "ab <|im_end|> 12\n";
    nib_tokenizer *t = NULL;
    nib_chat *chat = NULL;
    nib_tokens tokens = { 0 };
    nib_error err;

    if (nib_tokenizer_open(ctx, path, &t, &err)) return;
    nib_tokenizer_encode(t, text, sizeof text - 1, true, &tokens, NULL, &err);
    nib_tokens_free(ctx, &tokens);
    if (nib_chat_open(ctx, &(nib_chat_source){ .model_dir = path }, &chat, &err) == NIB_OK)
        nib_chat_close(chat);
    nib_tokenizer_close(t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static nib_ctx *ctx; /* one for the whole run: it starts threads */
    nib_error err;

    if (!ctx) {
        if (nib_ctx_create(&(nib_ctx_options){ .threads = 1 }, &ctx, &err)) abort();
        snprintf(path, sizeof path, "%s/nibble-fuzz-%ld.gguf",
                 access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm", (long)getpid());
        atexit(tidy);
    }
    write_file(data, bytes);
    open_model(ctx);
    open_text(ctx);
    return 0;
}
