/* test_compare.c - embeddings trained as sentence-transformers trains them: losses and norms of the
 * gradient for every loss, of an adapter and of the whole model; what its evaluators measure; that
 * texts run a few at a time give what all at once give, and a resumed run the bits of one that was
 * not interrupted; batches without a text twice; merging; what records and options are refused for.
 *
 * tests/golden/compare/ holds records, adapters to begin from and the library's numbers
 * (tests/golden/make/compare_golden.py), for the models of tests/golden/embeddings/. */
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/filemap.h"
#include "format/safetensors.h"
#include "job/sentence_dense.h"
#include "nibble/embed.h"
#include "nibble/evaluate.h"
#include "nibble/finetune.h"
#include "nibble/merge.h"
#include "test.h"
#include "train/epochs.h"

typedef struct steps { double loss[8], norm[8]; size_t count; } steps;

static void on_step(void *user, const nib_step_report *r)
{
    steps *l = user;

    if (l->count == NIB_COUNT(l->loss)) return;
    l->loss[l->count] = r->loss;
    l->norm[l->count++] = r->grad_norm;
}

static const char *golden(const char *a, const char *b)
{
    static char path[8][700];
    static int next;
    char *p = path[next++ % 8];

    snprintf(p, 700, "%s/%s/%s", test_data("tests/golden"), a, b);
    return p;
}

static const char *inside(const char *name)
{
    static char path[8][700];
    static int next;
    char *p = path[next++ % 8];

    snprintf(p, 700, "%s/%s", test_tmpdir(), name);
    return p;
}

static const struct kind { const char *name, *loss; bool scored; } kinds[] = {
    { "ranking", NULL, false },
    { "cosent", NULL, true },
    { "triplet", "TripletLoss", false },
    { "cosine", "CosineSimilarityLoss", true },
    { "matryoshka", NULL, false },
    { "dense", NULL, false },
    { "dense-whole", "CosineSimilarityLoss", true },
    { "decoder", NULL, false },
    { "decoder-whole", NULL, false },
};

static json_t *expected_of(const char *kind)
{
    char path[100];
    json_error_t why;
    json_t *j;

    snprintf(path, sizeof path, "compare/%s", kind);
    j = json_load_file(golden(path, "expected.json"), 0, &why);
    CHECK(j, "%s: %s", kind, why.text);
    return j;
}

static double number(const json_t *j, const char *key, size_t i)
{
    return json_number_value(json_array_get(json_object_get(j, key), i));
}

static const char *data_of(const char *kind, const char *file)
{
    char path[100];

    snprintf(path, sizeof path, "compare/%s", kind);
    return golden(path, file);
}

static nib_finetune_options options_for(const struct kind *k, const json_t *want, const char *out)
{
    static const int dims[] = { 8, 32 };
    nib_finetune_options o;

    nib_finetune_defaults(&o);
    nib_finetune_peft_defaults(&o);
    o.model.model = golden("embeddings", json_string_value(json_object_get(want, "model")));
    o.model.compute_dtype = NIB_COMPUTE_FLOAT32;
    o.model.base_dropout = false; /* as the reference's numbers were made */
    o.task_type = "FEATURE_EXTRACTION";
    o.data.data = data_of(k->name, "train.jsonl");
    o.output_dir = out;
    o.overwrite = true;
    o.full = json_is_true(json_object_get(want, "full"));
    if (!o.full) o.adapter = data_of(k->name, "begin");
    o.train.loss = k->loss;
    if (json_is_array(json_object_get(want, "dims"))) {
        o.train.matryoshka_dims = dims;
        o.train.matryoshka_dim_count = NIB_COUNT(dims);
    }
    o.train.learning_rate = json_number_value(json_object_get(want, "rate"));
    o.train.per_device_train_batch_size = 6;
    o.train.max_steps = 4;
    o.train.save_steps = 0;
    o.train.shuffle = false;
    return o;
}

static void on_scores(void *user, const nib_scores *scores) { *(nib_scores *)user = *scores; }

static void check_places(const char *name, const nib_scores *s, const json_t *want)
{
    static const char *const at[] = { "recall@1", "recall@3", "recall@5", "recall@10" };

    for (size_t i = 0; i < 4; i++)
        CHECK(fabs(s->recall[i] - json_number_value(json_object_get(want, at[i]))) < 1e-9,
              "%s: %s %g", name, at[i], s->recall[i]);
    CHECK(fabs(s->mrr - json_number_value(json_object_get(want, "mrr@10"))) < 1e-9, "%s: mrr %g",
          name, s->mrr);
}

/* The trained model beside its base, or by itself: by its own texts alone, and among a corpus. */
static void check_evaluation(const struct kind *k, const json_t *want, const char *model,
                             const char *adapter)
{
    nib_scores s;
    nib_evaluate_options o = { .model = { .model = model, .compute_dtype = NIB_COMPUTE_FLOAT32 },
                               .data = { .data = data_of(k->name, "train.jsonl"),
                                         .max_seq_length = 1024 },
                               .adapter = adapter, .batch_size = 6, .on_scores = on_scores,
                               .user = &s };
    nib_evaluate_result r;
    nib_error err;

    if (!adapter) o.model.task = NIB_TASK_FEATURE_EXTRACTION;
    REQUIRE_OK(nib_evaluate(test_ctx(), &o, &r, &err), err);
    if (!k->loss && !json_is_array(json_object_get(want, "dims")))
        CHECK(fabs(r.loss - json_number_value(json_object_get(want, "loss"))) < 1e-4, "%s: loss %g",
              k->name, r.loss);
    if (k->scored) {
        CHECK(fabs(s.pearson - json_number_value(json_object_get(want, "pearson"))) < 1e-4 &&
                  fabs(s.spearmanr - json_number_value(json_object_get(want, "spearmanr"))) < 1e-3,
              "%s: %g %g", k->name, s.pearson, s.spearmanr);
        return;
    }
    check_places(k->name, &s, json_object_get(want, "own"));
    o.corpus = data_of(k->name, "corpus.jsonl");
    REQUIRE_OK(nib_evaluate(test_ctx(), &o, &r, &err), err);
    check_places(k->name, &s, json_object_get(want, "corpus"));
}

static void check_kind(const struct kind *k)
{
    steps l = { 0 };
    nib_error err;
    json_t *want = expected_of(k->name);
    const char *out = inside(k->name);
    nib_finetune_options o = options_for(k, want, out);

    o.on_step = on_step;
    o.user = &l;
    REQUIRE_OK(nib_finetune(test_ctx(), &o, &err), err);
    CHECK(l.count == 4, "%s: %zu steps", k->name, l.count);
    for (size_t i = 0; i < l.count; i++) {
        double loss = number(want, "losses", i), norm = number(want, "grad_norms", i);
        CHECK(fabs(l.loss[i] - loss) <= 1e-5 * fmax(1, loss),
              "%s: loss of step %zu is %.8g, not %.8g", k->name, i + 1, l.loss[i], loss);
        CHECK(fabs(l.norm[i] - norm) <= 1e-4 * fmax(1, norm),
              "%s: norm of step %zu is %.8g, not %.8g", k->name, i + 1, l.norm[i], norm);
    }
    if (o.full) check_evaluation(k, want, out, NULL);
    else check_evaluation(k, want, o.model.model, out);
    json_decref(want);
}

static void test_ranking(void) { check_kind(&kinds[0]); }
static void test_cosent(void) { check_kind(&kinds[1]); }
static void test_triplet(void) { check_kind(&kinds[2]); }
static void test_cosine(void) { check_kind(&kinds[3]); }
static void test_matryoshka(void) { check_kind(&kinds[4]); }
static void test_dense(void) { check_kind(&kinds[5]); }
static void test_dense_whole(void) { check_kind(&kinds[6]); }
static void test_decoder(void) { check_kind(&kinds[7]); }
static void test_decoder_whole(void) { check_kind(&kinds[8]); }

/* --- texts at a time --- */

static void compare_files(const char *a, const char *b, double most)
{
    nib_tensors *x, *y;
    nib_error err;
    double worst = 0;

    REQUIRE_OK(nib_tensors_open(test_ctx(), a, &x, &err), err);
    REQUIRE_OK(nib_tensors_open(test_ctx(), b, &y, &err), err);
    CHECK(nib_tensors_count(x) == nib_tensors_count(y) && nib_tensors_count(x), "counts differ");
    for (size_t i = 0; i < nib_tensors_count(x); i++) {
        const nib_tensor *t = nib_tensors_at(x, i), *u = nib_tensors_find(y, t->name);
        REQUIRE(u && u->elements == t->elements, "%s differs", t->name);
        for (size_t k = 0; k < t->elements; k++)
            worst = fmax(worst, fabs((double)((const float *)t->data)[k] -
                                     (double)((const float *)u->data)[k]));
    }
    CHECK(worst <= most, "%s and %s differ by %g", a, b, worst);
    nib_tensors_close(x);
    nib_tensors_close(y);
}

/* An adapter of words, whose names are those of a model with a head, changes the embeddings as the
 * same one of features. */
static void test_words_adapter(void)
{
    static const char *const adapters[] = { "begin", "words" };
    char files[2][700];

    for (int i = 0; i < 2; i++) {
        nib_embed_options o = { .model = { .model = golden("embeddings", "qwen"),
                                           .compute_dtype = NIB_COMPUTE_FLOAT32 },
                                .data = { .data = golden("embeddings", "texts.jsonl") },
                                .adapter = data_of("decoder", adapters[i]), .overwrite = true };
        nib_embed_result r;
        nib_error err;

        snprintf(files[i], sizeof files[i], "%s/%s.safetensors", test_tmpdir(), adapters[i]);
        o.out = files[i];
        REQUIRE_OK(nib_embed_texts(test_ctx(), &o, &r, &err), err);
    }
    compare_files(files[0], files[1], 0);
}

/* One batch of all, with the base's dropout: 5 texts at a time repeat the masks of the texts. */
static void test_cached(void)
{
    json_t *want = expected_of("ranking");
    char files[2][700];
    nib_error err;

    for (int i = 0; i < 2; i++) {
        const char *out = inside(i ? "few" : "all");
        nib_finetune_options o = options_for(&kinds[0], want, out);
        o.model.base_dropout = true;
        o.train.per_device_train_batch_size = 24;
        o.train.mini_batch_size = i ? 5 : 0;
        o.train.max_steps = 3;
        REQUIRE_OK(nib_finetune(test_ctx(), &o, &err), err);
        snprintf(files[i], sizeof files[i], "%s/adapter_model.safetensors", out);
    }
    compare_files(files[0], files[1], 2e-6);
    json_decref(want);
}

static int stops;
static int stop_later(void *user) { return (void)user, ++stops > 40; }

/* Bit for bit, with dropout, shuffled, over the end of an epoch. */
static void check_resume(const struct kind *k, const char *const *files, size_t count)
{
    json_t *want = expected_of(k->name);
    nib_finetune_options o = options_for(k, want, inside("whole"));
    nib_ctx_options c = { .should_stop = stop_later };
    nib_ctx *ctx = NULL;
    char a[700], b[700];
    nib_error err;
    nib_status status;

    o.model.base_dropout = o.train.shuffle = true;
    o.overwrite = false;
    o.train.max_steps = 9;
    REQUIRE_OK(nib_finetune(test_ctx(), &o, &err), err);
    o.output_dir = inside("parts");
    REQUIRE_OK(nib_ctx_create(&c, &ctx, &err), err);
    stops = 0;
    status = nib_finetune(ctx, &o, &err);
    CHECK(status == NIB_E_INTERRUPTED, "not interrupted: %d", status);
    nib_ctx_destroy(ctx);
    REQUIRE_OK(nib_finetune(test_ctx(), &o, &err), err);
    for (size_t i = 0; i < count; i++) {
        snprintf(a, sizeof a, "%s/whole/%s", test_tmpdir(), files[i]);
        snprintf(b, sizeof b, "%s/parts/%s", test_tmpdir(), files[i]);
        compare_files(a, b, 0);
    }
    json_decref(want);
}

static void test_resume(void)
{
    static const char *const files[] = { "adapter_model.safetensors" };
    check_resume(&kinds[0], files, NIB_COUNT(files));
}

/* What lies beside the adapter is trained with it, and resumes too. */
static void test_dense_resume(void)
{
    static const char *const files[] = { "adapter_model.safetensors",
                                         "2_Dense/model.safetensors",
                                         "3_Dense/model.safetensors" };
    check_resume(&kinds[5], files, NIB_COUNT(files));
}

/* A module's folder may lie in another one. */
static void test_dense_folder(void)
{
    float weight[] = { 1, 2, 3, 4, 5, 6 }, *read;
    nib_dense d = { .path = (char[]){ "heads/of/2_Dense" }, .in = 3, .out = 2, .weight = weight },
              again = { 0 };
    nib_error err;

    REQUIRE_OK(nib_sentence_dense_write(test_ctx(), test_tmpdir(), &d, &err), err);
    REQUIRE_OK(nib_sentence_dense_read(test_ctx(), test_tmpdir(), d.path, &again, &err), err);
    read = again.weight;
    CHECK(again.in == 3 && again.out == 2 && memcmp(read, weight, sizeof weight) == 0);
    REQUIRE_OK(nib_sentence_dense_write(test_ctx(), test_tmpdir(), &d, &err), err);
    nib_free(test_ctx(), again.weight);
    nib_free(test_ctx(), again.bias);
    nib_free(test_ctx(), again.path);
}

/* --- batches --- */

static void test_batches(void)
{
    nib_tokenizer *tokenizer;
    nib_data_options data = { .data = golden("compare/batches", "train.jsonl"),
                              .max_seq_length = 64 };
    nib_dataset_source source = { .options = &data, .vocabulary = 1000,
                                  .task = NIB_TASK_FEATURE_EXTRACTION };
    json_t *want = expected_of("batches");
    nib_finetune_options o;
    nib_dataset *d;
    nib_texts texts;
    nib_embedder e = { .ctx = test_ctx(), .pooler = { .modes = { NIB_MODE_MEAN }, .count = 1 },
                       .texts = &texts };
    nib_epochs layout;
    nib_error err;

    nib_finetune_defaults(&o);
    nib_finetune_peft_defaults(&o);
    o.train.per_device_train_batch_size = 4;
    o.train.num_train_epochs = 2;
    REQUIRE_OK(nib_tokenizer_open(test_ctx(), golden("embeddings", "new"), &tokenizer, &err), err);
    source.tokenizer = tokenizer;
    REQUIRE_OK(nib_dataset_open(test_ctx(), &source, &d, &err), err);
    REQUIRE_OK(nib_texts_init(test_ctx(), d, &texts, &err), err);
    REQUIRE_OK(nib_epochs_init_compared(test_ctx(), &e, true, &o.train, &layout, &err), err);
    for (uint64_t epoch = 0, step = 0; epoch < 2; epoch++) {
        const json_t *batches = json_array_get(want, epoch);
        CHECK(nib_epochs_steps(&layout, epoch) == json_array_size(batches), "%d steps",
              (int)nib_epochs_steps(&layout, epoch));
        for (size_t b = 0; b < json_array_size(batches); b++, step++) {
            const json_t *batch = json_array_get(batches, b);
            const uint32_t *order;
            size_t n = nib_epochs_micro(&layout, step, 0, &order);
            CHECK(n == json_array_size(batch), "epoch %d, batch %zu: %zu records", (int)epoch, b,
                  n);
            for (size_t i = 0; i < n; i++)
                CHECK(order[i] == (uint32_t)json_integer_value(json_array_get(batch, i)),
                      "epoch %d, batch %zu: record %u", (int)epoch, b, order[i]);
        }
    }
    nib_epochs_free(&layout);
    nib_texts_free(&texts);
    nib_dataset_close(d);
    nib_tokenizer_close(tokenizer);
    json_decref(want);
}

/* --- files --- */

static void embed(const char *model, const char *adapter, const char *out)
{
    nib_embed_options o = { .model = { .model = model, .compute_dtype = NIB_COMPUTE_FLOAT32 },
                            .adapter = adapter, .data = { .data = golden("embeddings",
                                                                         "texts.jsonl") },
                            .out = out };
    nib_embed_result r;
    nib_error err;

    REQUIRE_OK(nib_embed_texts(test_ctx(), &o, &r, &err), err);
}

/* An adapter's directory knows how rows are pooled, also of a model in a folder of its own, and the
 * merged model is a directory of sentence-transformers. */
static void test_merged(void)
{
    json_t *want = expected_of("cosent");
    const char *out = inside("adapter"), *a = inside("a.safetensors"), *b = inside("b.safetensors");
    nib_finetune_options o = options_for(&kinds[1], want, out);
    nib_merge_options m = { .model = o.model.model, .adapter = out, .out = inside("merged"),
                            .dtype = "float32" };
    nib_error err;

    REQUIRE_OK(nib_finetune(test_ctx(), &o, &err), err);
    REQUIRE_OK(nib_merge(test_ctx(), &m, &err), err);
    embed(o.model.model, out, a);
    embed(m.out, NULL, b);
    compare_files(a, b, 1e-5);
    CHECK(nib_file_exists(inside("merged/1_Pooling/config.json")), "no pooling");
    json_decref(want);
}

/* --- what is refused --- */

static void refused(nib_finetune_options o, const char *data, const char *why)
{
    const char *path = inside("refused.jsonl");
    nib_error err = { .message = "" };
    FILE *f;

    if (data) {
        f = fopen(path, "w");
        REQUIRE(f, "cannot write");
        fputs(data, f);
        fclose(f);
        o.data.data = path;
    }
    o.output_dir = inside("never");
    CHECK(nib_finetune(test_ctx(), &o, &err) != NIB_OK, "taken: %s", why);
    CHECK(strstr(err.message, why), "'%s' does not say '%s'", err.message, why);
}

static void test_refusals(void)
{
    static const int wide[] = { 33 };
    json_t *want = expected_of("ranking");
    nib_finetune_options good = options_for(&kinds[0], want, "-"), o = good;

    refused(good, "{\"text\": \"a\"}\n", "expected anchor and positive");
    refused(good, "{\"anchor\": \"a\", \"positive\": 3}\n", "'positive' is a number");
    refused(good, "{\"anchor\": \"a\", \"positive\": \"b\", \"negative\": \"c\"}\n"
                  "{\"anchor\": \"a\", \"positive\": \"b\"}\n",
            "0 negatives, the first record has 1");
    refused(good, "{\"sentence1\": \"a\", \"sentence2\": \"b\", \"score\": \"x\"}\n",
            "expected a number");
    refused(good, "{\"anchor\": \"a\", \"positive\": \"b\"}\n", "nothing to be compared with");
    o.train.loss = "CoSENTLoss";
    refused(o, NULL, "is for records with a score");
    o.train.loss = "Nonsense";
    refused(o, NULL, "known are MultipleNegativesRankingLoss");
    o = good;
    o.train.loss = "TripletLoss";
    refused(o, "{\"anchor\": \"a\", \"positive\": \"b\"}\n"
               "{\"anchor\": \"c\", \"positive\": \"d\"}\n",
            "one negative");
    o = good;
    o.train.matryoshka_dims = wide;
    o.train.matryoshka_dim_count = 1;
    refused(o, NULL, "an embedding has 32 numbers");
    o = good;
    o.train.tokens_per_batch = 100;
    refused(o, NULL, "tokens_per_batch");
    o = good;
    o.train.metric_for_best_model = "accuracy";
    o.train.eval_strategy = "epoch";
    o.val_size = 4;
    refused(o, NULL, "take loss, mrr@10");
    json_decref(want);
}

/* What was asked for goes before what the directory has; it stands beside what was trained. */
static void test_pooling(void)
{
    json_t *want = expected_of("ranking"), *config;
    const char *out = test_tmpdir();
    nib_finetune_options o = options_for(&kinds[0], want, out);
    char path[600];
    nib_error err;

    o.adapter = NULL;
    o.train.max_steps = 1;
    o.train.pooling = "cls,weightedmean";
    REQUIRE_OK(nib_finetune(test_ctx(), &o, &err), err);
    snprintf(path, sizeof path, "%s/1_Pooling/config.json", out);
    config = json_load_file(path, 0, NULL);
    REQUIRE(config, "%s", path);
    CHECK(json_is_true(json_object_get(config, "pooling_mode_cls_token")) &&
              json_is_true(json_object_get(config, "pooling_mode_weightedmean_tokens")) &&
              json_is_false(json_object_get(config, "pooling_mode_mean_tokens")),
          "other modes than were asked for");
    o.train.pooling = "cls,first";
    CHECK(nib_finetune(test_ctx(), &o, &err) == NIB_E_INVALID &&
              strstr(err.message, "pooling: pooling 'first' is not known, known are cls, max"),
          "%s", err.message);
    o.train.pooling = "cls";
    o.train.loss = NULL;
    o.task_type = "MASKED_LM";
    o.model.model = golden("encoders", "bert-mlm");
    CHECK(nib_finetune(test_ctx(), &o, &err) == NIB_E_INVALID &&
              strstr(err.message, "loss, pooling, scale"), "%s", err.message);
    json_decref(config);
    json_decref(want);
}

int main(void)
{
    static const test_case cases[] = {
        { "ranking", test_ranking },     { "cosent", test_cosent },   { "triplet", test_triplet },
        { "cosine", test_cosine },       { "matryoshka", test_matryoshka }, { "dense", test_dense },
        { "decoder", test_decoder }, { "words_adapter", test_words_adapter },
        { "decoder_whole", test_decoder_whole },
        { "dense_whole", test_dense_whole }, { "dense_resume", test_dense_resume },
        { "dense_folder", test_dense_folder },
        { "cached", test_cached },       { "resume", test_resume },   { "batches", test_batches },
        { "merged", test_merged },       { "refusals", test_refusals },
        { "pooling", test_pooling },
    };

    return test_main("compare", cases, NIB_COUNT(cases));
}
