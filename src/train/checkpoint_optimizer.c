/* checkpoint_optimizer.c - the optimizer's states as a safetensors file. */
#include <math.h>

#include "format/safetensors.h"
#include "train/checkpoint.h"

static nib_status no_memory(const char *where, nib_error *err)
{
    return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", where);
}

nib_status nib_checkpoint_write_optimizer(nib_ctx *ctx, const char *dir, const nib_optimizer *o,
                                          nib_error *err)
{
    size_t n = nib_optimizer_states(o), named = 0;
    nib_tensor_plan *plans = nib_new_array(ctx, n, sizeof *plans);
    char **names = nib_new_array(ctx, n, sizeof *names);
    nib_tensor_writer *w = NULL;
    nib_status status = plans && names ? NIB_OK : no_memory(dir, err);

    for (; named < n && !status; named++) {
        nib_optimizer_state s = nib_optimizer_state_at(o, named);
        names[named] = nib_sprintf(ctx, "%s.%s", s.param->name, s.name);
        if (!names[named]) status = no_memory(dir, err);
        plans[named] = (nib_tensor_plan){ .name = names[named], .dtype = s.dtype, .rank = s.rank,
                                          .shape = { s.shape[0], s.shape[1] } };
    }
    if (!status) status = nib_tensor_writer_create(ctx, dir, "optimizer", plans, n, 0, &w, err);
    for (size_t i = 0; i < n && !status; i++) {
        nib_optimizer_state s = nib_optimizer_state_at(o, i);
        status = nib_tensor_writer_put(w, s.data, s.bytes, err);
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

static bool same_shape(const nib_tensor *t, const nib_optimizer_state *s)
{
    if (t->dtype != s->dtype || t->rank != s->rank || t->bytes != s->bytes) return false;
    for (unsigned r = 0; r < s->rank; r++)
        if (t->shape[r] != s->shape[r]) return false;
    return true;
}

static bool are_scales(const uint8_t *data, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        float x;
        memcpy(&x, data + i * sizeof x, sizeof x); /* tensors are aligned to no more than a byte */
        if (!(x >= 0 && isfinite(x))) return false;
    }
    return true;
}

static nib_status read_state(nib_ctx *ctx, const nib_tensors *file, const char *dir,
                             const nib_optimizer_state *s, nib_error *err)
{
    char *name = nib_sprintf(ctx, "%s.%s", s->param->name, s->name);
    const nib_tensor *t = name ? nib_tensors_find(file, name) : NULL;
    nib_status status = NIB_OK;

    if (!name) {
        status = no_memory(dir, err);
    } else if (!t) {
        status = nib_fail(err, NIB_E_MISMATCH, "%s/optimizer.safetensors: %s is missing", dir,
                          name);
    } else if (!same_shape(t, s)) {
        status = nib_fail(err, NIB_E_MISMATCH,
                          "%s: %s is %s with %" PRIu64 " elements, expected %s [%" PRIu64
                          ", %" PRIu64 "]",
                          t->file, name, t->dtype_name, t->elements, nib_dtype_name(s->dtype),
                          s->shape[0], s->rank > 1 ? s->shape[1] : 1);
    } else if (s->fixed && memcmp(s->data, t->data, s->bytes) != 0) {
        status = nib_fail(err, NIB_E_MISMATCH,
                          "%s: %s is not the map of codes that this nibble has", t->file, name);
    } else if (s->scale && !are_scales((const uint8_t *)t->data, t->elements)) {
        status = nib_fail(err, NIB_E_FORMAT, "%s: %s holds a value that is negative or not finite",
                          t->file, name);
    } else {
        if (!s->fixed) memcpy(s->data, t->data, s->bytes);
        nib_filemap_release(t->map, t->data, s->bytes);
    }
    nib_free(ctx, name);
    return status;
}

nib_status nib_checkpoint_read_optimizer(nib_ctx *ctx, const char *dir, nib_optimizer *o,
                                         uint64_t step, nib_error *err)
{
    char *path = nib_sprintf(ctx, "%s/optimizer.safetensors", dir);
    nib_tensors *file = NULL;
    nib_status status = path ? nib_tensors_open(ctx, path, &file, err) : no_memory(dir, err);

    for (size_t i = 0; i < nib_optimizer_states(o) && !status; i++) {
        nib_optimizer_state s = nib_optimizer_state_at(o, i);
        status = read_state(ctx, file, dir, &s, err);
    }
    if (!status && nib_tensors_count(file) != nib_optimizer_states(o))
        status = nib_fail(err, NIB_E_MISMATCH, "%s: %zu tensors, this optimizer has %zu", path,
                          nib_tensors_count(file), nib_optimizer_states(o));
    if (!status) o->step = step;
    nib_tensors_close(file);
    nib_free(ctx, path);
    return status;
}
