/* test_bind.c - tensors beside a weight that would change its meaning are refused by name. */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/filemap.h"
#include "base/outfile.h"
#include "model/model.h"
#include "nibble/quantize.h"
#include "test.h"

enum { MOST = 400 };

typedef struct path { char s[600]; } path;

static path joined(const char *dir, const char *name)
{
    path p;
    if ((size_t)snprintf(p.s, sizeof p.s, "%s/%s", dir, name) >= sizeof p.s) abort();
    return p;
}

/* Copies a model directory, with one more tensor, or with the codes of 4-bit weights declared
 * bfloat16. */
static nib_status copy_model(nib_ctx *ctx, const char *from, const char *to, const char *extra,
                             bool storage, nib_error *err)
{
    static const uint8_t zeros[64];
    nib_tensor_plan plans[MOST];
    nib_tensors *t = NULL;
    nib_tensor_writer *w = NULL;
    nib_filemap config = { 0 };
    size_t n;
    nib_status status;

    mkdir(to, 0777);
    status = nib_tensors_open(ctx, from, &t, err);
    if (!status) status = nib_filemap_open(joined(from, "config.json").s, &config, err);
    if (!status)
        status = nib_outfile_replace(ctx, joined(to, "config.json").s, config.base, config.bytes,
                                     err);
    nib_filemap_close(&config);
    if (status) goto done;
    n = nib_tensors_count(t);
    if (n + 1 > MOST) abort();
    for (size_t i = 0; i < n; i++) {
        const nib_tensor *from_t = nib_tensors_at(t, i);
        plans[i] = (nib_tensor_plan){ .name = from_t->name, .dtype = from_t->dtype,
                                      .rank = from_t->rank };
        memcpy(plans[i].shape, from_t->shape, sizeof plans[i].shape);
        if (storage && from_t->dtype == NIB_U8 && from_t->rank == 2) {
            plans[i].dtype = NIB_BF16;
            plans[i].shape[0] /= 2;
        }
    }
    if (extra)
        plans[n] = (nib_tensor_plan){ .name = extra, .dtype = NIB_F32, .rank = 1, .shape = { 16 } };
    status = nib_tensor_writer_create(ctx, to, "model", plans, n + (extra != NULL), 0, &w, err);
    for (size_t i = 0; i < n && !status; i++)
        status = nib_tensor_writer_put(w, nib_tensors_at(t, i)->data, nib_tensors_at(t, i)->bytes,
                                       err);
    if (!status && extra) status = nib_tensor_writer_put(w, zeros, sizeof zeros, err);
    if (!status) status = nib_tensor_writer_commit(w, err);
done:
    nib_tensors_close(t);
    return status;
}

static nib_status open_model(nib_ctx *ctx, const char *dir, nib_model **out, nib_error *err)
{
    nib_model_options o = { .model = dir };
    return nib_model_open(ctx, &o, NIB_F32, (nib_model_progress){ 0 }, out, err);
}

static nib_status pack(nib_ctx *ctx, const char *to, nib_error *err)
{
    nib_quantize_options q = { .model = test_data("tests/golden/models/llama"), .out = to,
                               .settings = test_four_bit_double };
    return nib_quantize(ctx, &q, NULL, err);
}

#define UP "model.layers.0.mlp.up_proj"

static void test_strange_pieces(void)
{
    static const struct { bool packed; const char *extra, *says; } cases[] = {
        { true, UP ".weight.absmax_2", UP ".weight.absmax_2" },
        { true, UP ".weight.quant_state.bitsandbytes__nf3", "bitsandbytes__nf3" },
        { true, "model.norm.weight.absmax_2", "model.norm.weight.absmax_2" },
        { false, UP ".weight.absmax", "no quantization_config" },
        { false, UP ".weight.scale", UP ".weight.scale" },
        { false, UP ".qweight", UP ".qweight" },
        { false, UP ".g_idx", "GPTQ" },
        { false, UP ".SCB", "LLM.int8" },
        { true, UP ".weight_scale", UP ".weight_scale" },
        { true, UP ".weight.quant_state.bitsandbytes__fp4", "is there too" },
        { false, "model.layers.0.self_attn.rotary_emb.inv_freq", NULL }, /* of old checkpoints */
        { true, "something.else", NULL },
    };
    nib_ctx *ctx = test_ctx();
    path packed = joined(test_tmpdir(), "packed");
    nib_error err;

    REQUIRE_OK(pack(ctx, packed.s, &err), err);
    for (size_t i = 0; i < NIB_COUNT(cases); i++) {
        const char *from = cases[i].packed ? packed.s : test_data("tests/golden/models/llama");
        char name[16];
        path to;
        nib_model *m = NULL;
        nib_status status;

        snprintf(name, sizeof name, "m%zu", i);
        to = joined(test_tmpdir(), name);
        REQUIRE_OK(copy_model(ctx, from, to.s, cases[i].extra, false, &err), err);
        status = open_model(ctx, to.s, &m, &err);
        if (cases[i].says)
            CHECK(status && strstr(err.message, cases[i].says), "%s: %s", cases[i].extra,
                  status ? err.message : "taken");
        else
            CHECK(!status, "%s: %s", cases[i].extra, err.message);
        nib_model_close(m);
    }
}

/* A config.json that says 4 bit over weights that are dense. */
static void test_dense_under_4bit(void)
{
    nib_ctx *ctx = test_ctx();
    path packed = joined(test_tmpdir(), "packed"), mixed = joined(test_tmpdir(), "mixed");
    nib_filemap config = { 0 };
    nib_model *m = NULL;
    nib_status status;
    nib_error err;

    REQUIRE_OK(pack(ctx, packed.s, &err), err);
    REQUIRE_OK(copy_model(ctx, test_data("tests/golden/models/llama"), mixed.s, NULL, false, &err),
               err);
    REQUIRE_OK(nib_filemap_open(joined(packed.s, "config.json").s, &config, &err), err);
    REQUIRE_OK(
        nib_outfile_replace(ctx, joined(mixed.s, "config.json").s, config.base, config.bytes, &err),
        err);
    nib_filemap_close(&config);
    status = open_model(ctx, mixed.s, &m, &err);
    CHECK(status == NIB_E_MISMATCH && strstr(err.message, "no tensor is"), "%s",
          status ? err.message : "taken");
    nib_model_close(m);
}

/* bitsandbytes' quant_storage: the same codes in a tensor that says bfloat16. */
static void test_storage(void)
{
    nib_ctx *ctx = test_ctx();
    path packed = joined(test_tmpdir(), "packed"), stored = joined(test_tmpdir(), "stored");
    nib_model *a = NULL, *b = NULL;
    nib_error err;

    REQUIRE_OK(pack(ctx, packed.s, &err), err);
    REQUIRE_OK(copy_model(ctx, packed.s, stored.s, NULL, true, &err), err);
    REQUIRE_OK(open_model(ctx, packed.s, &a, &err), err);
    REQUIRE_OK(open_model(ctx, stored.s, &b, &err), err);
    REQUIRE(a->linear_count == b->linear_count);
    for (size_t i = 0; i + 1 < a->linear_count; i++) {
        bool same;
        REQUIRE(!nib_weight_is_dense(b->linears[i]->weight), "%s is dense", b->linears[i]->name);
        REQUIRE_OK(nib_weight_same(ctx, a->linears[i]->weight, b->linears[i]->weight, &same, &err),
                   err);
        CHECK(same, "%s", a->linears[i]->name);
    }
    nib_model_close(b);
    nib_model_close(a);
}

static const test_case cases[] = {
    { "strange pieces of a weight are refused by name", test_strange_pieces },
    { "dense weights under a 4-bit config are refused", test_dense_under_4bit },
    { "4-bit codes stored as bfloat16", test_storage },
};

int main(void) { return test_main("test_bind", cases, NIB_COUNT(cases)); }
