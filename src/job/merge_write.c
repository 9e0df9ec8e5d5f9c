/* merge_write.c - see merge_write.h. */
#include "job/merge_write.h"

#include "adapter/prompt_note.h"
#include "job/merge_rows.h"

static uint64_t plan_bytes(const nib_tensor_plan *p)
{
    uint64_t n = nib_dtype_bytes(p->dtype);

    for (unsigned i = 0; i < p->rank; i++) n *= p->shape[i]; /* of tensors that are there */
    return n;
}

uint64_t nib_merge_bytes(const nib_merge_plan *plan, const nib_merge_packed *packed)
{
    uint64_t bytes = 0;

    for (size_t i = 0; i < plan->count; i++)
        if (plan->items[i].kind != NIB_MERGE_PACKED) bytes += plan_bytes(&plan->items[i].plan);
    for (size_t i = 0; i < packed->count; i++)
        for (size_t k = 0; k < packed->matrices[i].parts.count; k++)
            bytes += packed->matrices[i].parts.parts[k].bytes;
    return bytes;
}

/* The tensors in the order in which they are given: the caller's; NULL: no memory. */
static nib_tensor_plan *list_tensors(const nib_merge_writing *w, size_t *count)
{
    const nib_merge_plan *plan = w->plan;
    nib_tensor_plan *list = nib_new_array(w->model->ctx,
                                          plan->count + (NIB_PARTS_MOST - 1) * w->packed->count,
                                          sizeof *list);

    *count = 0;
    for (size_t i = 0; list && i < plan->count; i++) {
        const nib_merge_matrix *m;
        if (plan->items[i].kind != NIB_MERGE_PACKED) {
            list[(*count)++] = plan->items[i].plan;
            continue;
        }
        m = nib_merge_packed_of(w->packed, &plan->items[i]);
        for (size_t k = 0; k < m->parts.count; k++) {
            const nib_part_out *p = &m->parts.parts[k];
            list[(*count)++] = (nib_tensor_plan){ .name = p->name, .dtype = p->dtype,
                                                  .rank = p->rank,
                                                  .shape = { p->shape[0], p->shape[1] } };
        }
    }
    return list;
}

static nib_status write_item(const nib_merge_writing *w, nib_merge_rows *rows,
                             nib_tensor_writer *to, const nib_merge_item *item, nib_error *err)
{
    nib_status status;

    switch (item->kind) {
    case NIB_MERGE_WEIGHT: status = nib_merge_write_weight(rows, to, item, err); break;
    case NIB_MERGE_STACK: status = nib_merge_write_stack(rows, to, item, err); break;
    case NIB_MERGE_VECTOR: status = nib_merge_write_values(rows, to, item, err); break;
    case NIB_MERGE_PACKED:
        status = nib_merge_write_packed(w->packed, to, nib_merge_packed_of(w->packed, item), err);
        break;
    default: status = nib_merge_write_copy(rows, to, item, err); break;
    }
    if (item->source)
        nib_filemap_release(item->source->map, item->source->data, (size_t)item->source->bytes);
    return status;
}

static nib_status write_items(const nib_merge_writing *w, nib_tensor_writer *to, nib_error *err)
{
    nib_ctx *ctx = w->model->ctx;
    size_t count = w->plan->count;
    nib_merge_rows rows = { 0 };
    nib_status status = nib_merge_rows_init(ctx, w->plan->widest, &rows, err);

    for (size_t i = 0; i < count && !status; i++) {
        status = write_item(w, &rows, to, &w->plan->items[i], err);
        if (w->on_progress)
            w->on_progress(w->user, w->plan->items[i].plan.name, (double)(i + 1) / (double)count);
        if (!status && nib_should_stop(ctx))
            status = nib_fail(err, NIB_E_INTERRUPTED, "stopped; nothing is written");
    }
    nib_merge_rows_free(&rows);
    return status;
}

nib_status nib_merge_write_weights(const nib_merge_writing *w, const char *dir, nib_error *err)
{
    nib_ctx *ctx = w->model->ctx;
    size_t count;
    nib_tensor_plan *list = list_tensors(w, &count);
    char *merged = (w->unmerge ? nib_merged_list_without
                               : nib_merged_list)(ctx, w->model->tensors, w->adapters,
                                                  w->adapter_count);
    const char *notes[5];
    nib_tensor_writer *writer = NULL;
    nib_status status;

    nib_model_notes(merged, w->prompt, notes);
    if (!list || !merged)
        status = nib_fail(err, NIB_E_NOMEM, "%zu tensors: out of memory", w->plan->count);
    else
        status = nib_tensor_writer_create_noted(ctx, dir, "model", list, count,
                                                (uint64_t)NIB_MERGE_SHARD_MILLIONS * 1000000,
                                                notes, &writer, err);
    nib_free(ctx, list);
    nib_free(ctx, merged);
    if (!status) status = write_items(w, writer, err);
    if (!status) status = nib_tensors_unchanged(w->model->tensors, err);
    if (!status) status = nib_tensor_writer_commit(writer, err);
    else nib_tensor_writer_discard(writer);
    return status;
}
