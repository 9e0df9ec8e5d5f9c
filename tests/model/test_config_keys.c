/* test_config_keys.c - config.json of every architecture with one key changed, against transformers
 * (tests/golden/make/config_keys_golden.py): null, texts, numbers, lists, true, a key taken away,
 * and one of another name.  The result is the reference's, an error or a warning; never another
 * model without a word. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/filemap.h"
#include "format/safetensors.h"
#include "graph/readout.h"
#include "model/model.h"
#include "test.h"

enum { TOKENS = 64, VOCABULARY = 128 };

typedef struct variant {
    char name[64], config[700]; /* the file that is written anew each time */
    json_t *json;
    uint32_t ids[TOKENS], rows[TOKENS];
    size_t count;
    float base[VOCABULARY]; /* logits of the last token, unchanged */
} variant;

typedef struct line { const char *variant, *key, *change, *outcome; } line;

/* --- what is computed here --- */

static bool last_logits(nib_model *m, const variant *v, float *out)
{
    uint32_t offsets[2] = { 0, (uint32_t)v->count }, last = (uint32_t)v->count - 1;
    nib_batch batch = { .sequences = 1,
                        .axes = { [NIB_TOKENS] = { .count = v->count, .offsets = offsets },
                                  [NIB_LOGIT_ROWS] = { .count = 1, .picks = &last } },
                        .inputs = { [NIB_IDS] = v->ids, [NIB_POSITIONS] = v->rows } };
    nib_plan *plan = NULL;
    nib_run *run = NULL;
    nib_error err;
    bool good = m->head->weight->out == VOCABULARY &&
                !nib_plan_create(m->graph, NIB_PLAN_INFERENCE, v->count, 1, &plan, &err) &&
                !nib_run_create(m->ctx, m->graph, plan, v->count, &run, &err);

    if (good) {
        nib_run_forward(run, &batch);
        nib_run_logits(run, 0, 1, out);
    }
    nib_run_destroy(run);
    nib_plan_destroy(m->ctx, plan);
    return good;
}

static nib_status open_model(nib_ctx *ctx, const variant *v, nib_model **out, nib_error *err)
{
    char dir[700];
    nib_model_options o = { .model = dir };

    snprintf(dir, sizeof dir, "%.*s", (int)(strrchr(v->config, '/') - v->config), v->config);
    return nib_model_open(ctx, &o, NIB_F32, (nib_model_progress){ 0 }, out, err);
}

/* --- a variant --- */

static void read_ids(nib_ctx *ctx, variant *v)
{
    char path[700];
    nib_tensors *expected = NULL;
    const nib_tensor *ids;
    nib_error err;

    snprintf(path, sizeof path, "tests/golden/models/%s/expected.safetensors", v->name);
    REQUIRE_OK(nib_tensors_open(ctx, test_data(path), &expected, &err), err);
    ids = nib_tensors_find(expected, "ids.0");
    REQUIRE(ids && ids->elements <= TOKENS, "%s", path);
    v->count = ids->elements;
    memcpy(v->ids, ids->data, v->count * sizeof *v->ids);
    for (size_t i = 0; i < v->count; i++) v->rows[i] = (uint32_t)i;
    nib_tensors_close(expected);
}

static void write_config(const variant *v, const json_t *json)
{
    CHECK(json_dump_file(json, v->config, 0) == 0, "%s", v->config);
}

static void enter(nib_ctx *ctx, variant *v, const char *name)
{
    char path[700], real[4096];
    nib_model *m = NULL;
    nib_error err;

    json_decref(v->json);
    *v = (variant){ 0 };
    snprintf(v->name, sizeof v->name, "%s", name);
    snprintf(v->config, sizeof v->config, "%s/config.json", test_tmpdir());
    snprintf(path, sizeof path, "tests/golden/models/%s/config.json", name);
    REQUIRE_OK(nib_json_read(ctx, test_data(path), 0, &v->json, &err), err);
    snprintf(path, sizeof path, "tests/golden/models/%s/model.safetensors", name);
    REQUIRE(realpath(test_data(path), real));
    snprintf(path, sizeof path, "%s/model.safetensors", test_tmpdir());
    unlink(path);
    REQUIRE(symlink(real, path) == 0, "%s", path);
    read_ids(ctx, v);
    write_config(v, v->json);
    nib_ctx_warnings_clear(ctx);
    REQUIRE_OK(open_model(ctx, v, &m, &err), err);
    CHECK(nib_ctx_warning_count(ctx) == 0, "%s: warnings as it is", name);
    CHECK(last_logits(m, v, v->base), "%s", name);
    nib_model_close(m);
}

/* --- a change --- */

static json_t *value_of(const char *change)
{
    if (strchr("{[\"0123456789", *change)) return json_loads(change, JSON_DECODE_ANY, NULL);
    if (strcmp(change, "null") == 0) return json_null();
    if (strcmp(change, "text") == 0) return json_string("seven");
    if (strcmp(change, "fraction") == 0) return json_real(2.5);
    if (strcmp(change, "true") == 0) return json_true();
    return strcmp(change, "list") == 0 ? json_pack("[i]", 5) : NULL;
}

/* The config with this key changed; "a.b" lies in the object a. */
static json_t *change_config(const variant *v, const char *key, const char *change)
{
    json_t *all = json_deep_copy(v->json), *object = all, *value = value_of(change), *old;
    const char *dot = strchr(key, '.');
    char outer[64], renamed[80];

    if (dot) {
        snprintf(outer, sizeof outer, "%.*s", (int)(dot - key), key);
        object = json_object_get(all, outer);
        key = dot + 1;
    }
    if (value) {
        json_object_set_new(object, key, value);
        return all;
    }
    old = json_incref(json_object_get(object, key));
    json_object_del(object, key);
    snprintf(renamed, sizeof renamed, "x_%s", key);
    if (strcmp(change, "renamed") == 0) json_object_set(object, renamed, old);
    json_decref(old);
    return all;
}

/* What has nothing to do with the numbers that are computed here need not be refused: names, how
 * weights were initialised, dropout of the base. */
static bool is_elsewhere(const char *key)
{
    static const char *const keys[] = {
        "architectures", "pad_token_id", "initializer_range", "pretraining_tp", "n_ctx",
        "attention_dropout", "hidden_dropout", "resid_pdrop", "embd_pdrop", "attn_pdrop",
        "resid_dropout", "embed_dropout", "dropout", "embedding_dropout", "residual_dropout",
        "image_token_index", "mm_tokens_per_image",
    };

    if (strrchr(key, '.')) key = strrchr(key, '.') + 1;
    for (size_t i = 0; i < NIB_COUNT(keys); i++)
        if (strcmp(key, keys[i]) == 0) return true;
    return false;
}

static bool agrees(const float *got, const line *l, const variant *v)
{
    float want[4];
    double worst = 0;

    if (strcmp(l->outcome, "refused") == 0) return is_elsewhere(l->key);
    if (strcmp(l->outcome, "same") == 0) {
        for (size_t i = 0; i < VOCABULARY; i++)
            worst = fmax(worst, fabs((double)got[i] - (double)v->base[i]));
        return worst < 1e-4;
    }
    if (sscanf(l->outcome, "%f %f %f %f", &want[0], &want[1], &want[2], &want[3]) != 4)
        return false;
    for (size_t i = 0; i < 4; i++)
        worst = fmax(worst, fabs((double)got[i] - (double)want[i]));
    return worst < 1e-3;
}

static void check_line(nib_ctx *ctx, const variant *v, const line *l)
{
    json_t *config = change_config(v, l->key, l->change);
    float got[VOCABULARY];
    nib_model *m = NULL;
    nib_error err;

    nib_ctx_warnings_clear(ctx);
    write_config(v, config);
    json_decref(config);
    if (!open_model(ctx, v, &m, &err) && !nib_ctx_warning_count(ctx)) {
        bool computed = last_logits(m, v, got);
        CHECK(computed && agrees(got, l, v),
              "%s: %s %s: transformers %s; here %.5f %.5f %.5f %.5f without a word", v->name,
              l->key, l->change, l->outcome, (double)got[0], (double)got[1], (double)got[2],
              (double)got[3]);
    }
    nib_model_close(m);
}

/* A key of another name is always named: as one that is not used, or by what is missing. */
static void check_renamed(nib_ctx *ctx, const variant *v, const char *key)
{
    json_t *json = change_config(v, key, "renamed");
    nib_config *config = NULL;
    nib_error err;
    nib_status status;

    nib_ctx_warnings_clear(ctx);
    status = nib_config_parse(ctx, json, "config.json", true, &config, &err);
    CHECK(status || nib_ctx_warning_count(ctx), "%s: %s renamed: without a word", v->name, key);
    nib_config_free(ctx, config);
    json_decref(json);
}

/* Each of the changes, which are separated by commas, or the one that is a value. */
static void check_changes(nib_ctx *ctx, const variant *v, line l, size_t *count)
{
    char *text = (char *)(uintptr_t)l.change, *rest = NULL;
    bool value = strchr("{[\"0123456789", *text) != NULL;

    for (l.change = value ? text : strtok_r(text, ",", &rest); l.change;
         l.change = value ? NULL : strtok_r(NULL, ",", &rest)) {
        check_line(ctx, v, &l);
        if (strcmp(l.change, "removed") == 0) check_renamed(ctx, v, l.key);
        ++*count;
    }
}

static bool split(char *text, line *l)
{
    char *rest;

    l->variant = strtok_r(text, "\t", &rest);
    l->key = strtok_r(NULL, "\t", &rest);
    l->change = strtok_r(NULL, "\t", &rest);
    l->outcome = strtok_r(NULL, "\t", &rest);
    return l->outcome != NULL;
}

static void check_file(const char *name, size_t least)
{
    nib_ctx_options options = { .threads = 1 };
    nib_ctx *ctx = NULL;
    variant v = { 0 };
    char *text = NULL, *at, *next;
    size_t bytes, lines = 0;
    nib_error err;

    REQUIRE_OK(nib_ctx_create(&options, &ctx, &err), err);
    REQUIRE_OK(nib_file_read(ctx, test_data(name), 4 << 20, &text, &bytes, &err), err);
    for (at = text; at && *at; at = next) {
        line l;

        next = strchr(at, '\n');
        if (next) *next++ = 0;
        REQUIRE(split(at, &l), "change %zu", lines + 1);
        if (strcmp(v.name, l.variant) != 0) enter(ctx, &v, l.variant);
        check_changes(ctx, &v, l, &lines);
    }
    CHECK(lines > least, "%zu changes", lines);
    json_decref(v.json);
    nib_free(ctx, text);
    nib_ctx_destroy(ctx);
}

static void test_keys(void) { check_file("tests/golden/config-keys.tsv", 4000); }

/* Single values: ropes, kinds of layers, what there is of quantization. */
static void test_values(void) { check_file("tests/golden/config-values.tsv", 20); }

/* --- the same model in other words --- */

static void check_same(nib_ctx *ctx, const variant *v, json_t *config, const char *what,
                       const float *want)
{
    float got[VOCABULARY];
    nib_model *m = NULL;
    nib_error err;
    double worst = 0;

    write_config(v, config);
    nib_ctx_warnings_clear(ctx);
    REQUIRE_OK(open_model(ctx, v, &m, &err), err);
    CHECK(nib_ctx_warning_count(ctx) == 0, "%s: %s", what,
          nib_ctx_warning_count(ctx) ? nib_ctx_warning(ctx, 0).text : "");
    CHECK(last_logits(m, v, got), "%s", what);
    for (size_t i = 0; i < VOCABULARY; i++)
        worst = fmax(worst, fabs((double)got[i] - (double)want[i]));
    CHECK(worst < 1e-5, "%s: logits differ by %g", what, worst);
    nib_model_close(m);
    json_decref(config);
}

/* Falcon 40B as it was published, RefinedWeb with names of its own and a new architecture that no
 * key says; rope_parameters, as transformers 5 writes them, flat and for each kind of layer. */
static void test_other_words(void)
{
    nib_ctx *ctx = test_ctx();
    variant v = { 0 };
    json_t *config;
    float turned[VOCABULARY];
    nib_model *m = NULL;
    nib_error err;

    enter(ctx, &v, "falcon-new-2norms");
    config = json_deep_copy(v.json);
    json_object_set_new(config, "model_type", json_string("RefinedWeb"));
    json_object_set(config, "n_head", json_object_get(config, "num_attention_heads"));
    json_object_set(config, "n_layer", json_object_get(config, "num_hidden_layers"));
    json_object_set(config, "n_head_kv", json_object_get(config, "num_kv_heads"));
    json_object_del(config, "num_attention_heads");
    json_object_del(config, "num_hidden_layers");
    json_object_del(config, "num_kv_heads");
    json_object_del(config, "new_decoder_architecture");
    check_same(ctx, &v, config, "RefinedWeb", v.base);

    enter(ctx, &v, "llama");
    config = json_deep_copy(v.json);
    json_object_set_new(config, "rope_theta", json_real(500));
    write_config(&v, config);
    REQUIRE_OK(open_model(ctx, &v, &m, &err), err);
    CHECK(last_logits(m, &v, turned) && fabsf(turned[0] - v.base[0]) > 1e-3f, "theta 500");
    nib_model_close(m);
    json_object_del(config, "rope_theta");
    json_object_del(config, "rope_scaling");
    json_object_set_new(config, "rope_parameters",
                        json_pack("{s:s, s:f}", "rope_type", "default", "rope_theta", 500.0));
    check_same(ctx, &v, json_incref(config), "rope_parameters", turned);
    json_object_set_new(config, "rope_parameters",
                        json_pack("{s:{s:s, s:f}}", "full_attention", "rope_type", "default",
                                  "rope_theta", 500.0));
    check_same(ctx, &v, config, "rope_parameters of a kind of layer", turned);
    json_decref(v.json);
}

int main(void)
{
    static const test_case cases[] = { { "keys", test_keys },
                                       { "values", test_values },
                                       { "other-words", test_other_words } };
    return test_main("config_keys", cases, NIB_COUNT(cases));
}
