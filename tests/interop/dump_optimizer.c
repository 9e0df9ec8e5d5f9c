/* dump_optimizer.c - the trainer's optimizers and schedules by themselves, for test_optimizers.py:
 *
 *   dump_optimizer schedule STEPS [key=value...]           the learning rate of each step, a line
 * each dump_optimizer groups MODEL ADAPTER [key=value...]     name, learning rate and decay of each
 * parameter dump_optimizer steps IN.safetensors OUT STEPS [key=value...] parameters p.NAME with
 * gradients g.STEP.NAME through so many steps; OUT, a directory, gets optimizer.safetensors as a
 * checkpoint has it and values.safetensors
 *
 * Keys are those of recipes. */
#include <stdio.h>
#include <stdlib.h>

#include "adapter/adapter.h"
#include "format/safetensors.h"
#include "nibble/recipe.h"
#include "train/checkpoint.h"

typedef struct dump {
    nib_ctx *ctx;
    nib_recipe *recipe;
    const nib_train_options *o;
    nib_error err;
} dump;

static nib_status schedule(dump *d, uint64_t steps)
{
    nib_schedule s;
    nib_status status = nib_schedule_init(d->o, steps, &s, &d->err);

    for (uint64_t t = 0; t < steps && !status; t++)
        printf("%.17g\n", d->o->learning_rate * nib_schedule_factor(&s, t));
    return status;
}

static nib_status groups(dump *d, const char *dir, const char *adapter_dir)
{
    nib_model_options options = { .model = dir };
    nib_model *model = NULL;
    nib_adapter *adapter = NULL;
    nib_status status = nib_optimizer_check(d->o, &d->err);

    if (!status)
        status = nib_model_open(d->ctx, &options, NIB_F32, (nib_model_progress){ 0 }, &model,
                                &d->err);
    if (!status) status = nib_adapter_open(model, adapter_dir, 0, true, &adapter, &d->err);
    for (size_t i = 0; !status && i < adapter->params.count; i++) {
        nib_moments m = { 0 };
        if (!nib_param_is_trained(adapter->params.items[i])) continue;
        nib_optimizer_group(d->o, adapter->params.items[i], &m);
        printf("%s\t%.17g\t%.17g\n", adapter->params.items[i]->name, m.learning_rate,
               m.weight_decay);
    }
    nib_adapter_close(adapter);
    nib_model_close(model);
    return status;
}

/* --- steps --- */

static nib_status read_params(dump *d, const nib_tensors *in, nib_params *params)
{
    for (size_t i = 0; i < nib_tensors_count(in); i++) {
        const nib_tensor *t = nib_tensors_at(in, i);
        nib_param *p;

        if (strncmp(t->name, "p.", 2) != 0) continue;
        p = nib_params_add(d->ctx, params, t->name + 2, t->rank > 1 ? t->shape[0] : 1,
                           t->shape[t->rank - 1]);
        if (!p) return nib_fail(&d->err, NIB_E_NOMEM, "out of memory");
        memcpy(p->value, t->data, t->bytes);
        p->kind = strstr(t->name, "embed")    ? NIB_PARAM_EMBEDDING
                  : strstr(t->name, "lora_B") ? NIB_PARAM_LORA_B
                  : strstr(t->name, "bias")   ? NIB_PARAM_BIAS
                                              : NIB_PARAM_LORA_A;
    }
    return NIB_OK;
}

static nib_status read_gradients(dump *d, const nib_tensors *in, const nib_params *params, int step)
{
    for (size_t i = 0; i < params->count; i++) {
        char name[200];
        const nib_tensor *t;

        snprintf(name, sizeof name, "g.%d.%s", step, params->items[i]->name);
        t = nib_tensors_find(in, name);
        if (!t || t->elements != nib_param_count(params->items[i]))
            return nib_fail(&d->err, NIB_E_FORMAT, "no %s", name);
        memcpy(params->items[i]->grad, t->data, t->bytes);
    }
    return NIB_OK;
}

static nib_status write_values(dump *d, const char *dir, const nib_params *params)
{
    nib_tensor_plan *plans = nib_new_array(d->ctx, params->count, sizeof *plans);
    nib_tensor_writer *w = NULL;
    nib_status status = plans ? NIB_OK : nib_fail(&d->err, NIB_E_NOMEM, "out of memory");

    for (size_t i = 0; i < params->count && !status; i++) {
        const nib_param *p = params->items[i];
        plans[i] = (nib_tensor_plan){ .name = p->name, .dtype = NIB_F32, .rank = 2,
                                      .shape = { p->rows, p->cols } };
    }
    if (!status)
        status = nib_tensor_writer_create(d->ctx, dir, "values", plans, params->count, 0, &w,
                                          &d->err);
    for (size_t i = 0; i < params->count && !status; i++)
        status = nib_tensor_writer_put(w, params->items[i]->value,
                                       nib_param_count(params->items[i]) * sizeof(float), &d->err);
    if (!status) status = nib_tensor_writer_commit(w, &d->err);
    else nib_tensor_writer_discard(w);
    nib_free(d->ctx, plans);
    return status;
}

static nib_status steps(dump *d, const char *path, const char *dir, int count)
{
    nib_kernels k = nib_kernels_for(nib_ctx_cpu(d->ctx));
    nib_params params = { 0 };
    nib_optimizer o = { 0 };
    nib_schedule s;
    nib_tensors *in = NULL;
    nib_status status = nib_optimizer_check(d->o, &d->err);

    if (!status) status = nib_schedule_init(d->o, (uint64_t)count, &s, &d->err);
    if (!status) status = nib_tensors_open(d->ctx, path, &in, &d->err);
    if (!status) status = read_params(d, in, &params);
    if (!status) status = nib_optimizer_init(d->ctx, &k, &params, d->o, dir, &o, &d->err);
    for (int t = 0; t < count && !status; t++) {
        status = read_gradients(d, in, &params, t);
        if (!status) nib_optimizer_step(&o, nib_schedule_factor(&s, (uint64_t)t), 1);
    }
    if (!status) status = nib_checkpoint_write_optimizer(d->ctx, dir, &o, &d->err);
    if (!status) status = write_values(d, dir, &params);
    nib_optimizer_free(&o);
    nib_params_free(d->ctx, &params);
    nib_tensors_close(in);
    return status;
}

/* --- the command line --- */

static nib_status read_keys(dump *d, char **keys, int count)
{
    const nib_finetune_options *options = NULL;
    nib_status status = nib_recipe_create(d->ctx, &d->recipe, &d->err);

    for (int i = 0; i < count && !status; i++) {
        char *equals = strchr(keys[i], '=');
        if (!equals) return nib_fail(&d->err, NIB_E_INVALID, "%s: no key=value", keys[i]);
        *equals = 0;
        status = nib_recipe_set(d->recipe, keys[i], equals + 1, &d->err);
    }
    if (!status) status = nib_recipe_finetune_options(d->recipe, &options, &d->err);
    if (!status) d->o = &options->train;
    return status;
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        int arguments;
    } verbs[] = { { "schedule", 1 }, { "groups", 2 }, { "steps", 3 } };
    dump d = { 0 };
    size_t verb = 0;
    nib_status status;

    while (verb < NIB_COUNT(verbs) && (argc < 2 || strcmp(verbs[verb].name, argv[1]) != 0)) verb++;
    if (verb == NIB_COUNT(verbs) || argc < 2 + verbs[verb].arguments) {
        fprintf(
            stderr,
            "usage: dump_optimizer schedule STEPS | groups MODEL ADAPTER | steps IN OUT STEPS "
            "[key=value...]\n");
        return 2;
    }
    status = nib_ctx_create(&(nib_ctx_options){ .threads = 2 }, &d.ctx, &d.err);
    if (!status)
        status = read_keys(&d, argv + 2 + verbs[verb].arguments, argc - 2 - verbs[verb].arguments);
    if (!status)
        status = verb == 0   ? schedule(&d, strtoull(argv[2], NULL, 10))
                 : verb == 1 ? groups(&d, argv[2], argv[3])
                             : steps(&d, argv[2], argv[3], atoi(argv[4]));
    if (status) fprintf(stderr, "%s\n", d.err.message);
    nib_recipe_destroy(d.recipe);
    nib_ctx_destroy(d.ctx);
    return status ? 1 : 0;
}
