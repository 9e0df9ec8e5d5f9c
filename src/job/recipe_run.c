/* recipe_run.c - the recipe of a run that has been opened: what was left open is filled in. */
#include "base/outfile.h"
#include "job/finetune_job.h"
#include "job/lora_options.h"
#include "recipe/recipe_keys.h"

static nib_names names_of(const nib_peft_names *n)
{
    return (nib_names){ .items = (const char *const *)n->names, .count = n->count,
                        .regex = n->kind == NIB_PEFT_REGEX,
                        .all_linear = n->kind == NIB_PEFT_ALL_LINEAR };
}

/* Lists of a config as options have them. */
typedef struct lists { nib_pattern *rank, *alpha; int *layers, *tokens; } lists;

static nib_pattern *patterns_of(nib_ctx *ctx, const nib_peft_pattern *p, size_t count)
{
    nib_pattern *made = nib_new_array(ctx, count, sizeof *made);

    for (size_t i = 0; made && i < count; i++)
        made[i] = (nib_pattern){ .name = p[i].key, .value = p[i].value };
    return made;
}

/* The adapter's own config as options, which then give it again. */
static nib_status options_of(nib_ctx *ctx, const nib_peft_config *c, nib_lora_options *o,
                             lists *made, nib_error *err)
{
    static const char *const biases[] = { "none", "all", "lora_only" };
    /* of several lists those of the embedding and its head, which are alike */
    const nib_peft_tokens *tokens = c->token_lists ? &c->tokens[0] : NULL;

    made->rank = patterns_of(ctx, c->rank_pattern, c->rank_count);
    made->alpha = patterns_of(ctx, c->alpha_pattern, c->alpha_count);
    made->layers = nib_new_array(ctx, c->layers_count, sizeof *made->layers);
    made->tokens = nib_new_array(ctx, tokens ? tokens->count : 0, sizeof *made->tokens);
    if (!made->rank || !made->alpha || !made->layers || !made->tokens)
        return nib_fail(err, NIB_E_NOMEM, "recipe: out of memory");
    for (size_t i = 0; i < c->layers_count; i++) made->layers[i] = (int)c->layers[i];
    for (size_t i = 0; tokens && i < tokens->count; i++) made->tokens[i] = (int)tokens->ids[i];
    o->r = (int)c->r;
    o->lora_alpha = c->lora_alpha;
    o->lora_dropout = c->lora_dropout;
    o->use_rslora = c->use_rslora;
    o->use_dora = c->use_dora;
    o->bias = biases[c->bias];
    /* One that only PEFT initialises with is the adapter's own, which stays in use. */
    o->init_lora_weights = nib_lora_knows_init(c->init_lora_weights) ? c->init_lora_weights : NULL;
    o->target_modules = names_of(&c->target_modules);
    o->target_parameters = names_of(&c->target_parameters);
    o->exclude_modules = names_of(&c->exclude_modules);
    o->modules_to_save = names_of(&c->modules_to_save);
    o->layers_pattern = names_of(&c->layers_pattern);
    o->rank_pattern = made->rank;
    o->rank_patterns = c->rank_count;
    o->alpha_pattern = made->alpha;
    o->alpha_patterns = c->alpha_count;
    o->layers_to_transform = made->layers;
    o->layers_to_transform_count = c->layers_count;
    o->trainable_token_indices = made->tokens;
    o->trainable_token_count = tokens ? tokens->count : 0;
    return NIB_OK;
}

nib_status nib_finetune_resolve(nib_finetune_job *j, nib_error *err)
{
    nib_finetune_options o = *j->o;
    const nib_peft_config *c = &j->adapter->config;
    nib_settings settings;
    lists made = { 0 };
    nib_status status;

    o.model.compute_dtype = j->model->graph->type == NIB_BF16 ? NIB_COMPUTE_BFLOAT16
                                                              : NIB_COMPUTE_FLOAT32;
    if (j->model->quantized_now) { /* with the defaults that were used */
        j->model->asked.format->settings(&j->model->asked.form, &settings);
        o.model.settings = settings.items;
    }
    status = options_of(j->ctx, c, &o.lora, &made, err);
    o.train.eval_steps = nib_finetune_eval_steps(&j->o->train);
    o.train.per_device_train_batch_size = j->trainer->o.per_device_train_batch_size;
    o.train.gradient_accumulation_steps = j->trainer->o.gradient_accumulation_steps;
    o.train.mini_batch_size = j->mini_batch;
    o.model.model = j->asked_model;
    if (!status) status = nib_recipe_write(j->ctx, &o, &j->recipe, err);
    nib_free(j->ctx, made.rank);
    nib_free(j->ctx, made.alpha);
    nib_free(j->ctx, made.layers);
    nib_free(j->ctx, made.tokens);
    return status;
}

nib_status nib_finetune_save_recipe(nib_finetune_job *j, const char *dir, nib_error *err)
{
    char *path = nib_sprintf(j->ctx, "%s/recipe.yaml", dir);
    nib_status status = path ? nib_outfile_replace(j->ctx, path, j->recipe, strlen(j->recipe), err)
                             : nib_fail(err, NIB_E_NOMEM, "%s: out of memory", dir);
    nib_free(j->ctx, path);
    return status;
}
