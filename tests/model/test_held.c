/* test_held.c - how config.json says weights are held, seen from a model: what is refused by name,
 * what is dense after all, modules that stay dense, an embedding in 4 bits beside a head it is tied
 * to. */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/outfile.h"
#include "model/model.h"
#include "nibble/merge.h"
#include "test.h"

enum { MOST = 100 };
static const char golden[] = "tests/golden/models/llama-gqa-tied";
static const char embedding_name[] = "model.embed_tokens.weight";

typedef struct path { char s[600]; } path;

static path joined(const char *dir, const char *name)
{
    path p;
    if ((size_t)snprintf(p.s, sizeof p.s, "%s/%s", dir, name) >= sizeof p.s) abort();
    return p;
}

/* The golden model's config.json with this quantization_config, in a new directory. */
static nib_status write_config(nib_ctx *ctx, const char *dir, const char *quantization,
                               nib_error *err)
{
    json_t *config = NULL, *q = json_loads(quantization, JSON_DECODE_ANY, NULL);
    char *text = NULL;
    nib_status status;

    mkdir(dir, 0777);
    status = nib_json_read(ctx, joined(test_data(golden), "config.json").s, 0, &config, err);
    if (status) goto done;
    json_object_set(config, "quantization_config", q);
    text = json_dumps(config, 0);
    status = nib_outfile_replace(ctx, joined(dir, "config.json").s, text, strlen(text), err);
done:
    free(text);
    json_decref(config);
    json_decref(q);
    return status;
}

typedef struct tensor { nib_tensor_plan plan; const void *data; size_t bytes; } tensor;
typedef struct tensor_list { tensor items[MOST]; size_t count; } tensor_list;

static void add(tensor_list *l, const char *name, nib_dtype dtype, uint64_t rows, uint64_t columns,
                const void *data, size_t bytes)
{
    tensor *t = &l->items[l->count++];

    if (l->count > MOST) abort();
    *t = (tensor){ { .name = name, .dtype = dtype, .rank = columns ? 2 : 1,
                     .shape = { rows, columns } }, data, bytes };
}

static void add_parts(tensor_list *l, const nib_parts_out *parts)
{
    for (size_t i = 0; i < parts->count; i++) {
        const nib_part_out *p = &parts->parts[i];
        add(l, p->name, p->dtype, p->shape[0], p->rank == 2 ? p->shape[1] : 0, p->data, p->bytes);
    }
}

static nib_status write_tensors(nib_ctx *ctx, const char *dir, const tensor_list *l, nib_error *err)
{
    nib_tensor_plan plans[MOST];
    nib_tensor_writer *w = NULL;
    nib_status status;

    for (size_t i = 0; i < l->count; i++) plans[i] = l->items[i].plan;
    status = nib_tensor_writer_create(ctx, dir, "model", plans, l->count, 0, &w, err);
    for (size_t i = 0; i < l->count && !status; i++)
        status = nib_tensor_writer_put(w, l->items[i].data, l->items[i].bytes, err);
    return status ? status : nib_tensor_writer_commit(w, err);
}

static nib_status open_model(nib_ctx *ctx, const char *dir, bool blank, nib_model **m,
                             nib_error *err)
{
    nib_model_options o = { .model = dir };

    return blank ? nib_model_open_blank(ctx, &o, NIB_F32, m, err)
                 : nib_model_open(ctx, &o, NIB_F32, (nib_model_progress){ 0 }, m, err);
}

static void test_refused(void)
{
    static const struct { const char *quantization, *says; } cases[] = {
        { "null", NULL },
        { "{\"load_in_4bit\": false, \"load_in_8bit\": false, \"quant_method\": \"bitsandbytes\"}",
          NULL },
        { "{\"group_size\": 64, \"bits\": 4}",
          "config.json says MLX, but no tensor is quantized" },
        { "{\"group_size\": 64}", "no quant_method (it has group_size 64)" },
        { "{\"bits\": 4, \"quant_method\": \"hqq\"}",
          "quantized with HQQ (quant_method hqq), which is not read; known are: bitsandbytes" },
        { "{\"bits\": 4, \"quant_method\": \"gptq\"}", "no tensor is quantized" },
        { "{\"quant_method\": \"bitsandbytes\", \"load_in_4bit\": true}",
          "no tensor is quantized" },
    };
    nib_ctx *ctx = test_ctx();

    for (size_t i = 0; i < NIB_COUNT(cases); i++) {
        char name[16];
        char from[4096];
        path dir;
        nib_model *m = NULL;
        nib_status status;
        nib_error err = { 0 };

        snprintf(name, sizeof name, "m%zu", i);
        dir = joined(test_tmpdir(), name);
        REQUIRE_OK(write_config(ctx, dir.s, cases[i].quantization, &err), err);
        REQUIRE(realpath(joined(test_data(golden), "model.safetensors").s, from) &&
                    symlink(from, joined(dir.s, "model.safetensors").s) == 0, "%s", dir.s);
        status = open_model(ctx, dir.s, false, &m, &err);
        if (cases[i].says)
            CHECK(status && strstr(err.message, cases[i].says), "%s: %s", cases[i].quantization,
                  status ? err.message : "taken");
        else
            CHECK(!status && !m->stored.format, "%s: %s", cases[i].quantization, err.message);
        nib_model_close(m);
    }
}

/* Planning needs no weights: what the list names is dense in it. */
static void test_skipped(void)
{
    nib_ctx *ctx = test_ctx();
    path dir = joined(test_tmpdir(), "skips");
    size_t dense = 0, packed = 0;
    nib_model *m = NULL;
    nib_error err;

    REQUIRE_OK(write_config(ctx, dir.s,
                            "{\"load_in_4bit\": true, \"llm_int8_skip_modules\": [\"lm_head\", "
                            "\"down_proj\", \"layers.0\"]}", &err), err);
    REQUIRE_OK(open_model(ctx, dir.s, true, &m, &err), err);
    for (size_t i = 0; i < m->linear_count; i++) {
        const nib_linear *l = m->linears[i];
        nib_form form = nib_weight_form(l->weight);
        bool skipped = l == m->head || strstr(l->name, "down_proj") || strstr(l->name, "layers.0.");
        CHECK(nib_form_is_dense(&form) == skipped, "%s", l->name);
        dense += skipped;
        packed += !skipped;
    }
    CHECK(dense > 7 && packed >= 6, "%zu dense, %zu packed", dense, packed);
    nib_model_close(m);
}

static void count_warning(void *user, nib_message_kind kind, const char *text)
{
    *(size_t *)user += kind == NIB_MESSAGE_WARNING && strstr(text, "differs from the embedding");
}

/* Merged, all is dense: the embedding has the values it had packed, and no piece is left. */
static void check_merged(nib_ctx *ctx, const char *dir, const nib_weight *embedding)
{
    char out[700], adapter[700];
    nib_merge_options o = { .model = dir, .adapter = adapter, .out = out };
    nib_model *m = NULL;
    bool same = false;
    nib_error err;

    snprintf(out, sizeof out, "%s-merged", dir);
    snprintf(adapter, sizeof adapter, "%s/adapter", test_data(golden));
    REQUIRE_OK(nib_merge(ctx, &o, &err), err);
    REQUIRE_OK(open_model(ctx, out, false, &m, &err), err);
    CHECK(!m->stored.format && nib_weight_is_dense(m->embedding->weight), "%s", out);
    REQUIRE_OK(nib_weight_same(ctx, embedding, m->embedding->weight, &same, &err), err);
    CHECK(same && m->tied, "%s: the embedding's values", out);
    nib_model_close(m);
}

/* The embedding packed; the head, which is tied to it: not there, its values, others, others of
 * another shape, packed alike. */
static void test_tied_packed(void)
{
    enum { ABSENT, EQUAL, OTHER, SHORT, PACKED, KINDS };
    const nib_setting *idle;
    size_t warnings = 0;
    uint64_t bytes = 0, parameters = 0;
    nib_ctx *ctx = NULL;
    nib_tensors *from = NULL;
    const nib_tensor *e;
    nib_weight *dense = NULL, *packed = NULL;
    nib_parts_out parts, head;
    nib_held held;
    float *values, *others;
    nib_error err;

    REQUIRE_OK(nib_ctx_create(&(nib_ctx_options){ .threads = 1, .message = count_warning,
                                                  .message_user = &warnings }, &ctx, &err), err);
    REQUIRE_OK(nib_held_asked(test_four_bit, &held, &idle, &err), err);
    REQUIRE_OK(nib_tensors_open(ctx, test_data(golden), &from, &err), err);
    REQUIRE(e = nib_tensors_find(from, embedding_name), "no embedding");
    REQUIRE_OK(nib_weight_dense(ctx, (size_t)e->shape[0], (size_t)e->shape[1], e->dtype, e->data,
                                NULL, &dense, &err), err);
    REQUIRE_OK(nib_form_encode(ctx, &held.form, dense, &packed, &err), err);
    REQUIRE_OK(held.format->tensors(packed, embedding_name, &parts, &err), err);
    REQUIRE_OK(held.format->tensors(packed, "lm_head.weight", &head, &err), err);
    values = test_guarded((size_t)e->elements * sizeof *values);
    others = test_guarded((size_t)e->elements * sizeof *others);
    nib_weight_decode(packed, 0, packed->out, values);
    for (size_t i = 0; i < e->elements; i++) others[i] = test_rand_float();

    for (int kind = 0; kind < KINDS; kind++) {
        tensor_list l = { .count = 0 };
        nib_model *m = NULL;
        size_t before = warnings;
        char name[16];
        bool same = false;
        path dir;

        snprintf(name, sizeof name, "t%d", kind);
        dir = joined(test_tmpdir(), name);
        for (size_t i = 0; i < nib_tensors_count(from); i++) {
            const nib_tensor *t = nib_tensors_at(from, i);
            if (t != e)
                add(&l, t->name, t->dtype, t->shape[0], t->rank == 2 ? t->shape[1] : 0, t->data,
                    (size_t)t->bytes);
        }
        add_parts(&l, &parts);
        if (kind == EQUAL || kind == OTHER)
            add(&l, "lm_head.weight", NIB_F32, e->shape[0], e->shape[1],
                kind == EQUAL ? values : others, (size_t)e->elements * sizeof *values);
        if (kind == SHORT)
            add(&l, "lm_head.weight", NIB_F32, 1, e->shape[1], values,
                (size_t)e->shape[1] * sizeof *values);
        if (kind == PACKED) add_parts(&l, &head);
        REQUIRE_OK(write_config(ctx, dir.s, "{\"load_in_4bit\": true}", &err), err);
        REQUIRE_OK(write_tensors(ctx, dir.s, &l, &err), err);
        REQUIRE_OK(open_model(ctx, dir.s, false, &m, &err), err);
        CHECK(m->head->weight == m->embedding->weight && !nib_weight_is_dense(m->head->weight),
              "kind %d: the head", kind);
        if (kind == ABSENT) bytes = m->weight_bytes, parameters = m->parameters;
        CHECK(m->weight_bytes == bytes && m->parameters == parameters,
              "kind %d: the copy counts: %" PRIu64 " bytes", kind, m->weight_bytes);
        REQUIRE_OK(nib_weight_same(ctx, packed, m->embedding->weight, &same, &err), err);
        CHECK(same, "kind %d: the embedding's values", kind);
        CHECK(warnings - before == (kind == OTHER || kind == SHORT), "kind %d: %zu warnings", kind,
              warnings - before);
        nib_model_close(m);
        check_merged(ctx, dir.s, packed);
    }
    nib_weight_destroy(ctx, packed);
    nib_weight_destroy(ctx, dense);
    nib_tensors_close(from);
    nib_ctx_destroy(ctx);
}

int main(void)
{
    static const test_case cases[] = {
        { "what config.json says is known, dense or refused by name", test_refused },
        { "modules that stay dense", test_skipped },
        { "a 4-bit embedding beside a tied head", test_tied_packed },
    };
    return test_main("held", cases, NIB_COUNT(cases));
}
