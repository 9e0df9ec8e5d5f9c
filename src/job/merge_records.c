/* merge_records.c - see merge_records.h. */
#include "job/merge_records.h"

#include <limits.h>

#include "base/filemap.h"
#include "base/hub.h"

enum { BATCH_TOKENS = 2048, DEFAULT_LENGTH = 1024 };

/* --- which --- */

/* A recipe that cannot be read is no reason not to merge. */
static nib_status read_recipe(nib_merge_records *r, const char *path,
                              const nib_finetune_options **out, nib_error *err)
{
    nib_error why;
    nib_status status = nib_recipe_create(r->ctx, &r->recipe, err);

    *out = NULL;
    if (status) return status;
    status = nib_recipe_load(r->recipe, path, &why);
    if (!status) status = nib_recipe_finetune_options(r->recipe, out, &why);
    if (!status) return NIB_OK;
    *out = NULL;
    if (status == NIB_E_NOMEM) return nib_fail(err, status, "%s", why.message);
    nib_warn_code(r->ctx, "no-recipe", "the adapter's recipe cannot be read, and so names no "
                  "records to evaluate on: %s", why.message);
    return NIB_OK;
}

static void take_recipe(nib_merge_records *r, const nib_finetune_options *o, bool given)
{
    const char *data = o->eval_data ? o->eval_data : o->data.data;
    char snapshot[PATH_MAX];

    r->data = o->data;
    if (given) {
        r->data.split = r->data.dataset_config = r->data.data_field = NULL;
        return;
    }
    if ((!o->eval_data && !o->eval_split && !(o->val_size > 0)) || !data ||
        (!nib_file_exists(data) && !nib_hub_find_dataset(data, snapshot, sizeof snapshot)))
        return;
    r->name = r->data.data = data;
    if (o->val_size > 0) {
        r->val_size = o->val_size;
        r->seed = o->train.data_seed >= 0 ? (uint64_t)o->train.data_seed : o->train.seed;
        return;
    }
    r->data.split = o->eval_split;
    if (o->eval_data || o->eval_dataset_config) r->data.dataset_config = o->eval_dataset_config;
}

nib_status nib_merge_records_find(nib_ctx *ctx, const char *verify, const char *adapter,
                                  nib_merge_records *out, nib_error *err)
{
    nib_merge_records r = { .ctx = ctx, .data = { .max_seq_length = DEFAULT_LENGTH } };
    char *path = nib_sprintf(ctx, "%s/recipe.yaml", adapter);
    const nib_finetune_options *recipe = NULL;
    nib_status status = path ? NIB_OK : nib_fail(err, NIB_E_NOMEM, "%s: out of memory", adapter);

    if (!status && nib_file_exists(path)) status = read_recipe(&r, path, &recipe, err);
    if (recipe) take_recipe(&r, recipe, verify != NULL);
    if (verify) r.name = r.data.data = verify;
    r.chosen = verify != NULL;
    nib_free(ctx, path);
    if (status) nib_merge_records_close(&r);
    else *out = r;
    return status;
}

/* --- reading --- */

static nib_status open_set(nib_merge_records *r, const nib_classifier *c, nib_error *err)
{
    nib_classifier with = *c;
    nib_dataset_source source;
    nib_dataset *held = NULL;
    nib_status status = nib_tokenizer_open_any(r->ctx, c->options.model, &r->tokenizer, err);

    if (status) return status;
    with.tokenizer = r->tokenizer;
    source = nib_classifier_source(&with, &r->data);
    source.keep_all = false;
    status = nib_dataset_open(r->ctx, &source, &r->set, err);
    if (!status && r->val_size > 0) {
        status = nib_dataset_hold_out(r->set, r->val_size, r->seed, &held, err);
        nib_dataset_close(r->set);
        r->set = held;
    }
    return status ? status : nib_classifier_fits(&with, r->set, r->data.data, err);
}

/* Records go together until they have BATCH_TOKENS tokens. */
static void make_batches(nib_merge_records *r)
{
    size_t tokens = 0, targets = 0;

    for (size_t i = 0; i < r->count; i++) {
        nib_record one = nib_dataset_record(r->set, i);
        if (tokens && tokens + one.length > BATCH_TOKENS) {
            r->first[++r->batches] = i;
            tokens = targets = 0;
        }
        tokens += one.length;
        targets += one.targets;
        r->most_tokens = nib_max(r->most_tokens, tokens);
        r->most_targets = nib_max(r->most_targets, targets);
        r->most_records = nib_max(r->most_records, i + 1 - r->first[r->batches]);
        r->longest = nib_max(r->longest, one.length);
    }
    r->first[++r->batches] = r->count;
}

nib_status nib_merge_records_open(nib_merge_records *r, const nib_classifier *c, nib_error *err)
{
    size_t records;
    nib_status status = open_set(r, c, err);

    if (status) return status;
    records = nib_dataset_count(r->set);
    r->order = nib_new_array(r->ctx, records, sizeof *r->order);
    r->first = nib_new_array(r->ctx, records + 1, sizeof *r->first);
    if (!r->order || !r->first)
        return nib_fail(err, NIB_E_NOMEM, "%zu records: out of memory", records);
    r->count = r->chosen ? records : nib_min(records, NIB_MERGE_RECORDS);
    nib_dataset_order(r->set, false, 0, 0, r->order);
    make_batches(r);
    return NIB_OK;
}

void nib_merge_records_close(nib_merge_records *r)
{
    if (!r->ctx) return;
    nib_free(r->ctx, r->order);
    nib_free(r->ctx, r->first);
    nib_dataset_close(r->set);
    nib_tokenizer_close(r->tokenizer);
    nib_recipe_destroy(r->recipe);
    *r = (nib_merge_records){ 0 };
}
