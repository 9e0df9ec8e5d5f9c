/* bench_start.c - from nothing to the first token: a model of Llama-2-7B's shape, its files in the
 * page cache, is opened, its tokenizer too where it has one, and one token is run.
 *
 *     bench_start [NF4 | Q4_K_M | Q8_0 | ... | PATH]...
 *
 * NF4 is a directory of 4 GB, a type of GGUF a file (4 GB, 7 GB), below TMPDIR; each is written
 * first, with random weights, and is gone afterwards.  PATH: a model that is there. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "generate/decoder.h"
#include "job/export_plan.h"
#include "quant/dense.h"
#include "shape_gguf.h"
#include "text/tokenizer.h"

enum { ROUNDS = 4 };

static const char quantization
    [] = "\"quantization_config\": {\"quant_method\": \"bitsandbytes\", \"load_in_4bit\": true, "
         "\"bnb_4bit_quant_type\": \"nf4\", \"bnb_4bit_use_double_quant\": true}, ";

/* The tensors of a file, in order; kept, with what is made for them, for as long as the program
 * runs. */
typedef struct saved {
    size_t count, room;
    nib_tensor_plan *plans;
    const void **data;
    size_t *bytes;
} saved;

static void *made(void *p)
{
    if (p) return p;
    perror("bench_start");
    exit(1);
}

static void add(saved *s, nib_tensor_plan plan, const void *data, size_t bytes)
{
    if (s->count == s->room) {
        s->room = s->room ? 2 * s->room : 256;
        s->plans = made(realloc(s->plans, s->room * sizeof *s->plans));
        s->data = made(realloc(s->data, s->room * sizeof *s->data));
        s->bytes = made(realloc(s->bytes, s->room * sizeof *s->bytes));
    }
    plan.name = made(strdup(plan.name));
    s->plans[s->count] = plan;
    s->data[s->count] = data;
    s->bytes[s->count++] = bytes;
}

static void add_weight(saved *s, const nib_format *format, const char *module, const nib_weight *w)
{
    const nib_dense *d = nib_weight_as_dense(w);
    nib_parts_out *to;
    char name[256];
    nib_error err;

    snprintf(name, sizeof name, "%s.weight", module);
    if (d) {
        add(s, (nib_tensor_plan){ name, w->dtype, 2, { w->out, w->in } }, d->data,
            w->out * w->in * nib_dtype_bytes(w->dtype));
        return;
    }
    to = made(calloc(1, sizeof *to));
    bench_demand(format->tensors(w, name, to, &err), &err);
    for (const nib_part_out *p = to->parts; p < to->parts + to->count; p++)
        add(s, (nib_tensor_plan){ p->name, p->dtype, p->rank, { p->shape[0], p->shape[1] } },
            p->data, p->bytes);
}

static void save(const nib_model *m, const char *dir)
{
    saved s = { 0 };
    nib_tensor_writer *writer;
    nib_error err;

    for (size_t i = 0; i < m->linear_count; i++)
        add_weight(&s, m->asked.format, m->linears[i]->name, m->linears[i]->weight);
    /* of its shape; the model's own has no values in memory */
    add_weight(&s, m->asked.format, m->embedding->name, m->head->weight);
    for (size_t i = 0; i < m->norm_count; i++) {
        char name[256];
        snprintf(name, sizeof name, "%s.weight", m->norms[i]->name);
        add(&s, (nib_tensor_plan){ name, NIB_F32, 1, { m->norms[i]->width } }, m->norms[i]->weight,
            m->norms[i]->width * sizeof(float));
    }
    bench_demand(nib_tensor_writer_create(m->ctx, dir, "model", s.plans, s.count, 0, &writer, &err),
                 &err);
    for (size_t i = 0; i < s.count; i++)
        bench_demand(nib_tensor_writer_put(writer, s.data[i], s.bytes[i], &err), &err);
    bench_demand(nib_tensor_writer_commit(writer, &err), &err);
}

static char *quantized_dir(nib_ctx *ctx, const bench_shape *s)
{
    char *dir = bench_shape_dir(s), config[2048];
    nib_model *model = bench_model(ctx, dir, NIB_F32);

    save(model, dir);
    nib_model_close(model);
    snprintf(config, sizeof config, "{%s%s", quantization, s->config + 1);
    bench_write(dir, "config.json", config);
    return dir;
}

/* Seconds since the start until each was done. */
typedef struct start { double model, tokenizer, decoder, first; } start;

static start run_once(nib_ctx *ctx, const char *path)
{
    double from = nib_clock_seconds();
    nib_model_options o = { .model = path };
    nib_conversation c = { .slot = NIB_NO_SLOT };
    nib_tokenizer *tokenizer = NULL;
    nib_model *model;
    nib_decoder *d;
    uint32_t id = 3;
    nib_error err;
    start s;

    bench_demand(nib_model_open(ctx, &o, NIB_F32, (nib_model_progress){ 0 }, &model, &err), &err);
    model->graph->precision = NIB_PRECISION_HIGH; /* as nibble generate has it */
    s.model = nib_clock_seconds() - from;
    bench_demand(nib_tokenizer_open_any(ctx, path, &tokenizer, &err), &err);
    s.tokenizer = nib_clock_seconds() - from;
    bench_demand(nib_decoder_create(ctx, model->graph, 256, 1, &d, &err), &err);
    bench_demand(nib_state_create(ctx, model->graph, 256, &c.state, &err), &err);
    s.decoder = nib_clock_seconds() - from;
    bench_demand(nib_decoder_next(d, &c, &id, 1, 1, &err), &err);
    s.first = nib_clock_seconds() - from;
    nib_decoder_destroy(d);
    nib_state_destroy(c.state);
    nib_tokenizer_close(tokenizer);
    nib_model_close(model);
    return s;
}

static void measure(nib_ctx *ctx, const char *path, const char *what)
{
    start best = { .first = INFINITY };

    for (int i = 0; i < ROUNDS; i++) {
        start s = run_once(ctx, path);
        if (s.first < best.first) best = s;
    }
    printf("  %-8s model %4.0f ms, tokenizer %4.0f, decoder %4.0f, token %4.0f: first token after "
           "%4.0f ms\n", what, best.model * 1e3, (best.tokenizer - best.model) * 1e3,
           (best.decoder - best.tokenizer) * 1e3, (best.first - best.decoder) * 1e3,
           best.first * 1e3);
}

static void measure_new(nib_ctx *ctx, const bench_shape *s, const char *what)
{
    char *dir, path[512];

    if (strcmp(what, "NF4") == 0) {
        dir = quantized_dir(ctx, s);
        measure(ctx, dir, what);
    } else {
        dir = bench_shape_dir(s);
        snprintf(path, sizeof path, "%s/model.gguf", dir);
        bench_write_gguf(ctx, s, what, path);
        measure(ctx, path, what);
    }
    bench_remove_dir(dir);
}

int main(int argc, char **argv)
{
    static const char *const all[] = { "NF4", "Q4_K_M", "Q8_0" };
    const bench_shape *s = &bench_llama2_7b;
    nib_ctx *ctx = bench_ctx(2);
    int count = argc > 1 ? argc - 1 : (int)(sizeof all / sizeof *all);

    bench_title(ctx, "start, %s, files in the page cache", s->name);
    for (int i = 0; i < count; i++) {
        const char *what = argc > 1 ? argv[i + 1] : all[i];
        if (strcmp(what, "NF4") == 0 || nib_export_type_named(what)) measure_new(ctx, s, what);
        else measure(ctx, what, what);
    }
    nib_ctx_destroy(ctx);
    return 0;
}
