/* checkpoint_optimizer.c - the optimizer's states as a safetensors file. */
#include "format/safetensors.h"
#include "train/checkpoint.h"

static const char *const states[] = { "exp_avg", "exp_avg_sq" };

static nib_status no_memory(const char *where, nib_error *err)
{
    return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", where);
}

nib_status nib_checkpoint_write_optimizer(nib_ctx *ctx, const char *dir, const nib_optimizer *o, nib_error *err)
{
    size_t n = o->params->count, named = 0;
    nib_tensor_plan *plans = nib_new_array(ctx, 2 * n, sizeof *plans);
    char **names = nib_new_array(ctx, 2 * n, sizeof *names);
    nib_tensor_writer *w = NULL;
    nib_status status = plans && names ? NIB_OK : no_memory(dir, err);

    for (; named < 2 * n && !status; named++) {
        const nib_param *p = o->params->items[named / 2];
        names[named] = nib_sprintf(ctx, "%s.%s", p->name, states[named % 2]);
        if (!names[named]) status = no_memory(dir, err);
        plans[named] = (nib_tensor_plan){ .name = names[named], .dtype = NIB_F32, .rank = 2, .shape = { p->rows, p->cols } };
    }
    if (!status) status = nib_tensor_writer_create(ctx, dir, "optimizer", plans, 2 * n, 0, &w, err);
    for (size_t i = 0, done = 0; i < n && !status; done += nib_param_count(o->params->items[i++])) {
        size_t bytes = nib_param_count(o->params->items[i]) * sizeof(float);
        status = nib_tensor_writer_put(w, o->m + done, bytes, err);
        if (!status) status = nib_tensor_writer_put(w, o->v + done, bytes, err);
    }
    if (!status) {
        status = nib_tensor_writer_commit(w, err);
        w = NULL;
    }
    nib_tensor_writer_discard(w);
    for (size_t i = 0; i < named; i++) nib_free(ctx, names[i]);
    nib_free(ctx, names);
    nib_free(ctx, plans);
    return status;
}

static nib_status read_state(nib_ctx *ctx, const nib_tensors *file, const char *dir, const nib_param *p, const char *state,
                             float *to, nib_error *err)
{
    char *name = nib_sprintf(ctx, "%s.%s", p->name, state);
    const nib_tensor *t = name ? nib_tensors_find(file, name) : NULL;
    nib_status status = NIB_OK;

    if (!name) status = no_memory(dir, err);
    else if (!t) status = nib_fail(err, NIB_E_MISMATCH, "%s/optimizer.safetensors: %s is missing", dir, name);
    else if (t->dtype != NIB_F32 || t->rank != 2 || t->shape[0] != p->rows || t->shape[1] != p->cols)
        status = nib_fail(err, NIB_E_MISMATCH, "%s: %s is %s with %" PRIu64 " elements, expected F32 [%zu, %zu]", t->file,
                          name, t->dtype_name, t->elements, p->rows, p->cols);
    else {
        memcpy(to, t->data, t->bytes);
        nib_filemap_release(t->map, t->data, t->bytes);
    }
    nib_free(ctx, name);
    return status;
}

nib_status nib_checkpoint_read_optimizer(nib_ctx *ctx, const char *dir, nib_optimizer *o, uint64_t step, nib_error *err)
{
    char *path = nib_sprintf(ctx, "%s/optimizer.safetensors", dir);
    nib_tensors *file = NULL;
    nib_status status = path ? nib_tensors_open(ctx, path, &file, err) : no_memory(dir, err);

    for (size_t i = 0, done = 0; i < o->params->count && !status; done += nib_param_count(o->params->items[i++])) {
        const nib_param *p = o->params->items[i];
        status = read_state(ctx, file, dir, p, states[0], o->m + done, err);
        if (!status) status = read_state(ctx, file, dir, p, states[1], o->v + done, err);
    }
    if (!status) o->step = step;
    nib_tensors_close(file);
    nib_free(ctx, path);
    return status;
}
