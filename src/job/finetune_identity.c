/* finetune_identity.c - what a run must have in common with a checkpoint to go on from it: the
 * model, the data as tokens, and every option that changes numbers.  Logging, saving, reporting,
 * threads and memory leave the numbers alone and are not in it.
 *
 * The options are those of the resolved recipe, so that a new one (a RESULT row of recipe_keys.c)
 * is here by itself; but for those that say by another name or number what is compared anyway. */
#include <stdio.h>

#include "base/filemap.h"
#include "base/hash.h"
#include "format/gguf.h"
#include "job/finetune_job.h"
#include "recipe/recipe_keys.h"

typedef struct identity {
    nib_ctx *ctx;
    json_t *json;
    bool failed; /* no memory: said once, at the end */
} identity;

static void put(identity *i, const char *key, json_t *value)
{
    if (json_object_set_new(i->json, key, value)) i->failed = true; /* a NULL value too */
}

static void put_text(identity *i, const char *key, const char *s)
{
    put(i, key, s ? json_string(s) : json_null());
}
static void put_int(identity *i, const char *key, int64_t n) { put(i, key, json_integer(n)); }
static void put_float(identity *i, const char *key, double x) { put(i, key, json_real(x)); }
static void put_bool(identity *i, const char *key, bool b) { put(i, key, json_boolean(b)); }

static void put_hash(identity *i, const char *key, nib_sha256 *h)
{
    char text[80] = "sha256:";
    nib_sha256_end(h, text + 7);
    put_text(i, key, text);
}

static void add_string(nib_sha256 *h, const char *s) { nib_sha256_add(h, s, strlen(s) + 1); }
static void add_u64(nib_sha256 *h, uint64_t n)
{
    uint8_t bytes[8];
    for (int k = 0; k < 8; k++) bytes[k] = (uint8_t)(n >> 8 * k);
    nib_sha256_add(h, bytes, sizeof bytes);
}

/* A piece at a time, whose pages are given back: a tokenizer of 10 MB would else be 10 MB of the
 * run's peak that no plan counts. */
static void add_map(nib_sha256 *h, const nib_filemap *map)
{
    const size_t piece = 1 << 20;

    for (size_t at = 0; at < map->bytes; at += piece) {
        size_t bytes = nib_min(piece, map->bytes - at);
        nib_sha256_add(h, map->base + at, bytes);
        nib_filemap_release(map, map->base + at, bytes);
    }
}

static nib_status put_file(identity *i, const char *key, const char *dir, const char *name,
                           nib_error *err)
{
    char *path = nib_sprintf(i->ctx, "%s/%s", dir, name);
    nib_filemap map = { 0 };
    nib_sha256 h;
    nib_status status = NIB_OK;

    if (!path) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", dir);
    if (nib_file_exists(path)) {
        status = nib_filemap_open(path, &map, err);
        nib_sha256_begin(&h);
        if (!status) add_map(&h, &map);
        if (!status) put_hash(i, key, &h);
        nib_filemap_close(&map);
    }
    nib_free(i->ctx, path);
    return status;
}

/* Headers and lengths of the weights' files, and the first bytes of each tensor. */
static void put_weights(identity *i, const nib_tensors *tensors)
{
    nib_sha256 h;

    nib_sha256_begin(&h);
    for (size_t k = 0; k < nib_tensors_count(tensors); k++) {
        const nib_tensor *t = nib_tensors_at(tensors, k);
        add_string(&h, t->name);
        add_string(&h, t->dtype_name);
        add_u64(&h, t->rank);
        for (unsigned r = 0; r < t->rank; r++) add_u64(&h, t->shape[r]);
        add_u64(&h, (uint64_t)((const uint8_t *)t->data - t->map->base));
        add_u64(&h, t->map->bytes);
        nib_sha256_add(&h, t->data, nib_min(t->bytes, 64));
        nib_filemap_release(t->map, t->data, nib_min(t->bytes, 65536)); /* what came around it */
    }
    put_hash(i, "model weights", &h);
}

/* What a GGUF says before its data, where there are no other files. */
static void put_keys(identity *i, const nib_tensors *tensors)
{
    const nib_gguf *g = nib_tensors_gguf(tensors);
    nib_sha256 h;

    nib_sha256_begin(&h);
    for (size_t k = 0; k < g->value_count; k++) {
        add_string(&h, g->values[k].key);
        nib_sha256_add(&h, g->values[k].at, g->values[k].bytes);
    }
    put_hash(i, "model keys", &h);
}

/* Tokens and marks of every record: the same for two files that give the same ones. */
static void put_data(identity *i, const char *key, const nib_dataset *d)
{
    nib_sha256 h;

    nib_sha256_begin(&h);
    add_u64(&h, nib_dataset_count(d));
    for (size_t k = 0; k < nib_dataset_count(d); k++) {
        nib_record r = nib_dataset_record(d, k);
        add_u64(&h, r.length);
        if (r.types) nib_sha256_add(&h, r.answers, r.answer_count * sizeof *r.answers);
        nib_sha256_add(&h, r.ids, r.length * sizeof *r.ids);
        nib_sha256_add(&h, r.trained, r.length);
        if (r.boxes) nib_sha256_add(&h, r.boxes, 4 * r.length * sizeof *r.boxes);
    }
    put_hash(i, key, &h);
}

static void put_adapter(identity *i, const nib_finetune_job *j)
{
    const nib_peft_config *c = &j->adapter->config;
    const nib_params *p = &j->adapter->params;
    nib_sha256 names, values;

    nib_sha256_begin(&names);
    nib_sha256_begin(&values);
    for (size_t k = 0; k < p->count; k++) {
        add_string(&names, p->items[k]->name);
        add_u64(&names, p->items[k]->rows);
        add_u64(&names, p->items[k]->cols);
        nib_sha256_add(&values, p->items[k]->value, nib_param_count(p->items[k]) * sizeof(float));
    }
    put_hash(i, "target_modules", &names); /* with what excludes, adds and patterns made of them */
    if (j->o->adapter) put_hash(i, "adapter", &values); /* as opened: no step is done */
    nib_sha256_begin(&names);
    for (size_t k = 0; k < c->alpha_count; k++) {
        char value[40];
        snprintf(value, sizeof value, "%.17g", c->alpha_pattern[k].value);
        add_string(&names, c->alpha_pattern[k].key);
        add_string(&names, value);
    }
    put_hash(i, "alpha_pattern", &names);
}

/* Settled otherwise: paths and names by what they lead to, numbers of steps by their sum, lists of
 * modules by the parameters they give; evaluation by put_choice(). */
static bool is_settled(const char *key, size_t bytes)
{
    static const char *const settled[] = {
        "model_name_or_path",
        "data",
        "output_dir",
        "chat_template",
        "eval_split",
        "adapter",
        "base_model_name",
        "compute_dtype",
        "target_modules",
        "exclude_modules",
        "modules_to_save",
        "rank_pattern",
        "alpha_pattern",
        "layers_to_transform",
        "layers_pattern",
        "per_device_train_batch_size",
        "gradient_accumulation_steps",
        "num_train_epochs",
        "max_steps",
        "warmup_steps",
        "warmup_ratio",
        "data_seed",
        "eval_data",
        "eval_dataset_config",
        "eval_strategy",
        "eval_steps",
        "per_device_eval_batch_size",
        "load_best_model_at_end",
        "metric_for_best_model",
        "greater_is_better",
        "early_stopping_patience",
        "early_stopping_threshold",
        "save_strategy",
    };

    for (size_t i = 0; i < nib_recipe_row_count; i++) /* settings of weights: by their form */
        if (nib_recipe_rows[i].kind == NIB_KEY_SETTING &&
            strlen(nib_recipe_rows[i].key.name) == bytes &&
            memcmp(nib_recipe_rows[i].key.name, key, bytes) == 0)
            return true;
    for (size_t i = 0; i < NIB_COUNT(settled); i++)
        if (strlen(settled[i]) == bytes && memcmp(settled[i], key, bytes) == 0) return true;
    return false;
}

/* "key: value" lines. */
static void put_recipe(identity *i, const char *recipe)
{
    for (const char *p = recipe, *end; *p; p = *end ? end + 1 : end) {
        size_t n, colon = strcspn(p, ":\n");
        char key[80];

        end = strchrnul(p, '\n');
        n = (size_t)(end - p);
        if (*p == '#' || p[colon] != ':' || colon >= sizeof key || is_settled(p, colon)) continue;
        memcpy(key, p, colon);
        key[colon] = 0;
        put(i, key, json_stringn(p + colon + 2, n - colon - 2));
    }
}

static void put_training(identity *i, const nib_finetune_job *j)
{
    const nib_train_options *t = &j->trainer->o; /* with the micro-batch that was chosen */

    put_int(i, "per_device_train_batch_size", t->per_device_train_batch_size);
    put_int(i, "gradient_accumulation_steps", t->gradient_accumulation_steps);
    put_int(i, "max_steps", (int64_t)j->trainer->steps);
    put_int(i, "warmup_steps", (int64_t)j->trainer->schedule.warmup);
    put_int(i, "data_seed", t->data_seed >= 0 ? t->data_seed : (int64_t)t->seed);
}

/* Evaluation changes the result only where the result depends on it. */
static void put_choice(identity *i, const nib_finetune_job *j)
{
    const nib_train_options *t = &j->o->train;

    put_bool(i, "load_best_model_at_end", t->load_best_model_at_end);
    put_int(i, "early_stopping_patience", t->early_stopping_patience);
    if (!j->eval.data || !(t->load_best_model_at_end || t->early_stopping_patience ||
                           j->trainer->schedule.kind == NIB_SCHEDULE_PLATEAU))
        return;
    put_data(i, "eval_data", j->eval.data);
    put_text(i, "eval_strategy", t->eval_strategy);
    put_int(i, "eval_steps", t->eval_steps > 0 ? t->eval_steps : t->logging_steps);
    put_int(i, "per_device_eval_batch_size", t->per_device_eval_batch_size);
    put_text(i, "metric_for_best_model",
             nib_finetune_metric_is_perplexity(t) ? "perplexity" : nib_finetune_metric(t) + 5);
    put_int(i, "greater_is_better", nib_finetune_greater_is_better(t));
    put_float(i, "early_stopping_threshold", t->early_stopping_threshold);
}

/* What the weights are, whatever asked for it. */
static void put_weights_form(identity *i, const nib_model *m)
{
    char form[NIB_BASE_FORM_ROOM];

    nib_base_form(m, form);
    put_text(i, "weights", form);
}

json_t *nib_finetune_identity(nib_finetune_job *j, nib_error *err)
{
    identity i = { j->ctx, json_object(), false };
    nib_status status = NIB_OK;

    if (!i.json) i.failed = true;
    if (nib_tensors_gguf(j->model->tensors)) {
        put_keys(&i, j->model->tensors);
    } else {
        const char *model = j->o->model.model;
        status = put_file(&i, "model config.json", model, "config.json", err);
        if (!status) status = put_file(&i, "tokenizer.json", model, "tokenizer.json", err);
    }
    if (status) goto done;
    put_weights(&i, j->model->tensors);
    put_data(&i, "data", j->data);
    put_int(&i, "data rules", NIB_DATA_RULES);
    if (nib_dataset_template(j->data)) {
        char hash[80];
        snprintf(hash, sizeof hash, "sha256:%s", nib_dataset_template_hash(j->data));
        put_text(&i, "chat template", hash); /* the tokens say it too, but not why they differ */
    }
    put_recipe(&i, j->recipe);
    put_text(&i, "compute_dtype", nib_dtype_name(j->model->graph->type));
    put_weights_form(&i, j->model);
    put_adapter(&i, j);
    put_training(&i, j);
    put_choice(&i, j);
    if (i.failed) status = nib_fail(err, NIB_E_NOMEM, "out of memory for the identity of the run");
done:
    if (!status) return i.json;
    json_decref(i.json);
    return NULL;
}

/* --- comparing --- */

static void value_text(const json_t *v, char *out, size_t room)
{
    if (!v) snprintf(out, room, "absent");
    else if (json_is_string(v)) snprintf(out, room, "%.60s", json_string_value(v));
    else if (json_is_integer(v))
        snprintf(out, room, "%" JSON_INTEGER_FORMAT, json_integer_value(v));
    else if (json_is_real(v)) snprintf(out, room, "%.17g", json_real_value(v));
    else snprintf(out, room, "%s", json_is_true(v) ? "true" : json_is_false(v) ? "false" : "none");
}

static void describe(nib_text *t, const char *key, const json_t *there, const json_t *here)
{
    const char *hash = json_string_value(there ? there : here);
    char a[80], b[80];

    nib_text_puts(t, t->bytes ? ", " : "");
    nib_text_put(t, key, nib_min(strlen(key), 64));
    if (hash && strncmp(hash, "sha256:", 7) == 0) return; /* two hashes tell a person nothing */
    value_text(there, a, sizeof a);
    value_text(here, b, sizeof b);
    nib_text_printf(t, " (%s there, %s here)", a, b);
}

/* A run begun under other rules may have the same records and settings: it differs all the same. */
static nib_status check_rules(const char *where, const json_t *there, nib_error *err)
{
    const json_t *rules = json_object_get(there, "data rules");
    int64_t begun = json_is_integer(rules) ? json_integer_value(rules) : 1;

    if (!there || begun == NIB_DATA_RULES) return NIB_OK;
    return nib_fail(err, NIB_E_MISMATCH,
                    "%s: not of this run: it began under other rules of which tokens are trained "
                    "(version %" PRId64 " there, %d here); end it with the nibble that began it, "
                    "or begin again in another output_dir", where, begun, (int)NIB_DATA_RULES);
}

nib_status nib_finetune_same(nib_ctx *ctx, const char *where, const json_t *there,
                             const json_t *here, nib_error *err)
{
    nib_text t = { .ctx = ctx };
    const char *key;
    json_t *value;
    nib_status status = check_rules(where, there, err);

    if (status) return status;
    json_object_foreach((json_t *)(uintptr_t)here, key,
                        value) if (!json_equal(value, json_object_get(there, key)))
        describe(&t, key, json_object_get(there, key), value);
    json_object_foreach((json_t *)(uintptr_t)there, key, value)
        if (!json_object_get(here, key)) describe(&t, key, value, NULL);
    if (t.failed) status = nib_fail(err, NIB_E_NOMEM, "%s: out of memory", where);
    else if (t.bytes)
        status = nib_fail(err, NIB_E_MISMATCH,
                          "%s: not of this run, these differ: %s; go on with the same settings, or "
                          "name another output_dir",
                          where, t.data);
    nib_text_free(&t);
    return status;
}
