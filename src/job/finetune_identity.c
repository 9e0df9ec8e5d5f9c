/* finetune_identity.c - what a run must have in common with a checkpoint to resume from it: the
 * model, the data as tokens, and every option that changes numbers.  Logging, saving, reporting,
 * threads and memory leave the numbers alone and are not in it.
 *
 * The options are those of the resolved recipe, so that a new one (a RESULT row of recipe_keys.c)
 * is here by itself; but for those that say by another name or number what is compared anyway. */
#include <stdio.h>

#include "format/gguf.h"
#include "job/finetune_job.h"
#include "job/identity.h"
#include "recipe/recipe_keys.h"

/* What a GGUF says before its data, where there are no other files. */
static void put_keys(nib_identity *i, const nib_tensors *tensors)
{
    const nib_gguf *g = nib_tensors_gguf(tensors);
    nib_sha256 h;

    nib_sha256_begin(&h);
    for (size_t k = 0; k < g->value_count; k++) {
        nib_identity_add_string(&h, g->values[k].key);
        nib_sha256_add(&h, g->values[k].at, g->values[k].bytes);
    }
    nib_identity_hash(i, "model keys", &h);
}

/* Whose records are whose, and how many of them an epoch has: "120:1 500:0.2". */
static void put_sources(nib_identity *i, const nib_dataset *d)
{
    size_t count, used = 0, room;
    const nib_source_report *s = nib_dataset_sources(d, &count);
    char *text;

    if (!count) return;
    room = 64 * count;
    text = nib_new_array(i->ctx, count, 64);
    for (size_t k = 0; text && k < count; k++)
        used += (size_t)snprintf(text + used, room - used, "%s%" PRIu64 ":%.17g", k ? " " : "",
                                 s[k].records, s[k].weight);
    if (text) nib_identity_text(i, "data weights", text);
    else i->failed = true;
    nib_free(i->ctx, text);
}

static void put_adapter(nib_identity *i, const nib_finetune_job *j)
{
    const nib_peft_config *c = &j->adapter->config;
    const nib_params *p = &j->adapter->params;
    nib_sha256 names, values;

    nib_sha256_begin(&names);
    nib_sha256_begin(&values);
    for (size_t k = 0; k < p->count; k++) {
        nib_identity_add_string(&names, p->items[k]->name);
        nib_identity_add_u64(&names, p->items[k]->rows);
        nib_identity_add_u64(&names, p->items[k]->cols);
        nib_sha256_add(&values, p->items[k]->value, nib_param_count(p->items[k]) * sizeof(float));
    }
    /* with what excludes, adds and patterns made of them */
    nib_identity_hash(i, "target_modules", &names);
    if (j->o->adapter) nib_identity_hash(i, "adapter", &values); /* as opened: no step is done */
    nib_sha256_begin(&names);
    for (size_t k = 0; k < c->alpha_count; k++) {
        char value[40];
        snprintf(value, sizeof value, "%.17g", c->alpha_pattern[k].value);
        nib_identity_add_string(&names, c->alpha_pattern[k].key);
        nib_identity_add_string(&names, value);
    }
    nib_identity_hash(i, "alpha_pattern", &names);
}

/* Settled otherwise: paths and names by what they lead to, numbers of steps by their sum, lists of
 * modules by the parameters they give; evaluation by put_choice(). */
static bool is_settled(const char *key, size_t bytes)
{
    static const char *const settled[] = {
        "model_name_or_path",
        "data",
        "output_dir",
        "defaults", /* by the values it gives */
        "chat_template",
        "eval_split",
        "adapter",
        "base_model_name",
        "base_original",
        "compute_dtype",
        "target_modules",
        "exclude_modules",
        "modules_to_save",
        "rank_pattern",
        "alpha_pattern",
        "layers_to_transform",
        "layers_pattern",
        "per_device_train_batch_size",
        "mini_batch_size",
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
static void put_recipe(nib_identity *i, const char *recipe)
{
    for (const char *p = recipe, *end; *p; p = *end ? end + 1 : end) {
        size_t n, colon = strcspn(p, ":\n");
        char key[80];

        end = strchrnul(p, '\n');
        n = (size_t)(end - p);
        if (*p == '#' || p[colon] != ':' || colon >= sizeof key || is_settled(p, colon)) continue;
        memcpy(key, p, colon);
        key[colon] = 0;
        nib_identity_put(i, key, json_stringn(p + colon + 2, n - colon - 2));
    }
}

static void put_training(nib_identity *i, const nib_finetune_job *j)
{
    const nib_train_options *t = &j->trainer->o; /* with the micro-batch that was chosen */

    nib_identity_int(i, "per_device_train_batch_size", t->per_device_train_batch_size);
    nib_identity_int(i, "gradient_accumulation_steps", t->gradient_accumulation_steps);
    if (nib_finetune_compares(j)) nib_identity_int(i, "mini_batch_size", j->mini_batch);
    nib_identity_int(i, "max_steps", (int64_t)j->trainer->steps);
    nib_identity_int(i, "warmup_steps", (int64_t)j->trainer->schedule.warmup);
    nib_identity_int(i, "data_seed", t->data_seed >= 0 ? t->data_seed : (int64_t)t->seed);
}

/* Evaluation changes the result only where the result depends on it. */
static nib_status put_choice(nib_identity *i, const nib_finetune_job *j, nib_error *err)
{
    const nib_train_options *t = &j->o->train;

    nib_identity_bool(i, "load_best_model_at_end", t->load_best_model_at_end);
    nib_identity_int(i, "early_stopping_patience", t->early_stopping_patience);
    if (!j->eval.ctx || !(t->load_best_model_at_end || t->early_stopping_patience ||
                           j->trainer->schedule.kind == NIB_SCHEDULE_PLATEAU))
        return NIB_OK;
    nib_identity_data(i, "eval_data", j->eval.data ? j->eval.data : j->eval.compared.data);
    nib_identity_text(i, "eval_strategy", t->eval_strategy);
    nib_identity_int(i, "eval_steps", t->eval_steps > 0 ? t->eval_steps : t->logging_steps);
    nib_identity_int(i, "per_device_eval_batch_size", t->per_device_eval_batch_size);
    nib_identity_text(i, "metric_for_best_model",
             nib_finetune_metric_is_perplexity(t) ? "perplexity" : nib_finetune_metric(t) + 5);
    nib_identity_int(i, "greater_is_better", nib_finetune_greater_is_better(t));
    nib_identity_float(i, "early_stopping_threshold", t->early_stopping_threshold);
    /* answers are generated by it */
    return j->answers.ctx ? nib_identity_file(i, "model generation_config.json", j->o->model.model,
                                              "generation_config.json", err)
                          : NIB_OK;
}

/* What the weights are, whatever asked for it. */
static void put_weights_form(nib_identity *i, const nib_model *m)
{
    char form[NIB_BASE_FORM_ROOM];

    nib_base_form(m, form);
    nib_identity_text(i, "weights", form);
}

json_t *nib_finetune_identity(nib_finetune_job *j, nib_error *err)
{
    nib_identity i = { j->ctx, json_object(), false };
    nib_status status = NIB_OK;

    if (!i.json) i.failed = true;
    if (nib_tensors_gguf(j->model->tensors)) {
        put_keys(&i, j->model->tensors);
    } else {
        const char *model = j->o->model.model;
        status = nib_identity_file(&i, "model config.json", model, "config.json", err);
        if (!status) status = nib_identity_file(&i, "tokenizer.json", model, "tokenizer.json", err);
    }
    if (status) goto done;
    nib_identity_weights(&i, j->model->tensors);
    nib_identity_data(&i, "data", j->data);
    put_sources(&i, j->data);
    nib_identity_int(&i, "data rules", NIB_DATA_RULES);
    if (nib_dataset_template(j->data)) {
        char hash[80];
        snprintf(hash, sizeof hash, "sha256:%s", nib_dataset_template_hash(j->data));
        /* the tokens say it too, but not why they differ */
        nib_identity_text(&i, "chat template", hash);
    }
    put_recipe(&i, j->recipe);
    nib_identity_text(&i, "compute_dtype", nib_dtype_name(j->model->graph->type));
    put_weights_form(&i, j->model);
    put_adapter(&i, j);
    put_training(&i, j);
    status = put_choice(&i, j, err);
    if (!status && i.failed)
        status = nib_fail(err, NIB_E_NOMEM, "out of memory for the identity of the run");
done:
    if (!status) return i.json;
    json_decref(i.json);
    return NULL;
}

/* --- comparing --- */

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
    nib_status status = check_rules(where, there, err);
    char *differ;

    if (status) return status;
    differ = nib_identity_differences(ctx, there, here);
    if (!differ) status = nib_fail(err, NIB_E_NOMEM, "%s: out of memory", where);
    else if (*differ)
        status = nib_fail(err, NIB_E_MISMATCH,
                          "%s: not of this run, these differ: %s; resume with equal settings, or "
                          "name another output_dir",
                          where, differ);
    nib_free(ctx, differ);
    return status;
}
