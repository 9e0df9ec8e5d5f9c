/* recipe_run.c - the recipe of a run that has been opened: what was left open is filled in. */
#include "base/outfile.h"
#include "job/finetune_job.h"
#include "job/recipe_keys.h"

static nib_names names_of(const nib_peft_names *n)
{
    return (nib_names){ .items = (const char *const *)n->names, .count = n->count,
                        .regex = n->kind == NIB_PEFT_REGEX,
                        .all_linear = n->kind == NIB_PEFT_ALL_LINEAR };
}

nib_status nib_finetune_resolve(nib_finetune_job *j, nib_error *err)
{
    nib_finetune_options o = *j->o;
    const nib_peft_config *c = &j->adapter->config;
    nib_settings settings;

    o.model.compute_dtype = j->model->graph->type == NIB_BF16 ? NIB_COMPUTE_BFLOAT16
                                                              : NIB_COMPUTE_FLOAT32;
    if (j->model->quantized_now) { /* with the defaults that were used */
        j->model->asked.format->settings(&j->model->asked.form, &settings);
        o.model.settings = settings.items;
    }
    o.lora.r = (int)c->r;
    o.lora.lora_alpha = c->lora_alpha;
    o.lora.lora_dropout = c->lora_dropout;
    o.lora.use_rslora = c->use_rslora;
    o.lora.target_modules = names_of(&c->target_modules);
    o.train.eval_steps = nib_finetune_eval_steps(&j->o->train);
    o.train.per_device_train_batch_size = j->trainer->o.per_device_train_batch_size;
    o.train.gradient_accumulation_steps = j->trainer->o.gradient_accumulation_steps;
    return nib_recipe_write(j->ctx, &o, &j->recipe, err);
}

nib_status nib_finetune_save_recipe(nib_finetune_job *j, const char *dir, nib_error *err)
{
    char *path = nib_sprintf(j->ctx, "%s/recipe.yaml", dir);
    nib_status status = path ? nib_outfile_replace(j->ctx, path, j->recipe, strlen(j->recipe), err)
                             : nib_fail(err, NIB_E_NOMEM, "%s: out of memory", dir);
    nib_free(j->ctx, path);
    return status;
}
