/* whole.c - see whole.h. */
#include "job/whole.h"

#include "adapter/prompt_note.h"
#include "format/tensor_values.h"
#include "job/labelled.h"
#include "job/python_json.h"

static nib_status no_memory(nib_error *err)
{
    return nib_fail(err, NIB_E_NOMEM, "model: out of memory");
}

/* --- what is trained --- */

static nib_status check_linear(const nib_model *m, const nib_linear *l, nib_error *err)
{
    if (!nib_weight_is_dense(l->weight) && !nib_weight_is_blank(l->weight))
        return nib_fail(err, NIB_E_UNSUPPORTED,
                        "%s: %s is quantized, and only dense weights are trained themselves: take "
                        "an adapter",
                        m->dir, l->name);
    if (l->stack || l->parameter)
        return nib_fail(err, NIB_E_UNSUPPORTED,
                        "%s: %s lies in its file as a piece, and is not trained whole: take an "
                        "adapter",
                        m->dir, l->name);
    return NIB_OK;
}

/* What save_all() and plan_all() do not know: it would stay as it is, or be missing in the file. */
static nib_status check_others(const nib_model *m, nib_error *err)
{
    if (m->config->wrapper)
        return nib_fail(err, NIB_E_UNSUPPORTED,
                        "%s: only the text of %s is read, so that it is not written whole: take an "
                        "adapter",
                        m->dir, m->config->wrapper->model_type);
    if (m->vector_count)
        return nib_fail(err, NIB_E_UNSUPPORTED,
                        "%s: %s is not trained, and so the model not whole: take an adapter",
                        m->dir, m->vectors[0]->name);
    for (size_t i = 0; i < m->norm_count; i++) {
        const nib_norm *n = m->norms[i];
        if (n->rows || n->weights == NIB_NORM_SCALE || n->weights == NIB_NORM_BARE)
            return nib_fail(err, NIB_E_UNSUPPORTED,
                            "%s: the norm %s has no plain weight, and is not trained whole: take "
                            "an adapter",
                            m->dir, n->name);
    }
    return NIB_OK;
}

static nib_status check_model(const nib_model *m, nib_error *err)
{
    nib_status status = NIB_OK;

    if (m->tied && m->head->weight != m->embedding->weight)
        return nib_fail(err, NIB_E_UNSUPPORTED,
                        "%s: the head is an embedding, but not %s, and is not trained whole: take "
                        "an adapter",
                        m->dir, m->embedding->name);
    if (m->stored.format || m->asked.format)
        return nib_fail(err, NIB_E_UNSUPPORTED,
                        "%s: its weights are quantized, and only dense ones are trained "
                        "themselves: take an adapter",
                        m->dir);
    for (size_t i = 0; i < m->graph->node_count; i++) {
        const nib_attention_desc *d = &m->graph->nodes[i].attention;
        if (d->sinks || d->buckets || d->by_distance || d->turned)
            return nib_fail(err, NIB_E_UNSUPPORTED, "%s: an attention with %s is not trained whole",
                            m->dir, d->sinks ? "sinks" : "numbers by distance");
    }
    for (size_t i = 0; i < m->linear_count && !status; i++)
        status = check_linear(m, m->linears[i], err);
    return status ? status : check_others(m, err);
}

/* Is the linear's weight the embedding's? */
static bool is_tied(const nib_model *m, const nib_linear *l) { return m->tied && l == m->head; }

static nib_status save_all(nib_ctx *ctx, const nib_model *m, nib_peft_config *config,
                           nib_error *err)
{
    size_t n = 0, count = m->embedding_count + m->linear_count + m->norm_count;
    const char **names = nib_new_array(ctx, count, sizeof *names);
    nib_status status;

    if (!names) return no_memory(err);
    for (size_t i = 0; i < m->embedding_count; i++) names[n++] = m->embeddings[i]->name;
    for (size_t i = 0; i < m->linear_count; i++)
        if (!is_tied(m, m->linears[i])) names[n++] = m->linears[i]->name;
    for (size_t i = 0; i < m->norm_count; i++) names[n++] = m->norms[i]->name;
    status = nib_peft_names_set(ctx, &config->modules_to_save, NIB_PEFT_LIST, names, n, err);
    nib_free(ctx, names);
    return status;
}

nib_status nib_whole_config(nib_ctx *ctx, const nib_model *m, bool full, nib_peft_config *config,
                            nib_error *err)
{
    nib_status status = check_model(m, err);

    if (status) return status;
    if (!full && !nib_task_has_head(m->purpose.task))
        return nib_fail(err, NIB_E_INVALID,
                        "train_head_only: a model for %s has no head of its own; SEQ_CLS, "
                        "TOKEN_CLS and QUESTION_ANS have",
                        nib_task_name(m->purpose.task));
    config->target_modules.kind = NIB_PEFT_LIST; /* of nothing */
    config->whole = full;
    config->ensure_weight_tying = full && m->tied; /* the head is trained with the embedding */
    return full ? save_all(ctx, m, config, err) : nib_lora_for_task(ctx, m, config, err);
}

/* --- what is written --- */

typedef struct writing {
    nib_ctx *ctx;
    nib_tensor_plan *plans;
    char **names;
    size_t count, capacity;
    const nib_tensor **parts; /* copied: the last of the plans */
    size_t part_count;
    bool failed;
} writing;

static void add_plan(writing *w, char *name, nib_tensor_plan plan)
{
    w->failed |= !name;
    assert(w->count < w->capacity);
    plan.name = name ? name : "";
    w->names[w->count] = name;
    w->plans[w->count++] = plan;
}

/* rows 0: a vector. */
static void plan(writing *w, const nib_model *m, const char *module, const char *part, size_t rows,
                 size_t cols)
{
    add_plan(w, nib_sprintf(w->ctx, "%s%s", nib_model_module(m, module), part),
             (nib_tensor_plan){ .dtype = NIB_F32, .rank = rows ? 2 : 1,
                                .shape = { rows ? rows : cols, rows ? cols : 0 } });
}

/* Is it of the parts that the reference has and that are not computed here (arch.h)? */
static bool is_other_part(const nib_model *m, const char *name)
{
    for (const char *const *p = m->config->arch->other_parts; p && *p; p++)
        if (strncmp(name, *p, strlen(*p)) == 0) return true;
    return false;
}

static bool is_planned(const writing *w, const char *name)
{
    for (size_t i = 0; i < w->count; i++)
        if (strcmp(w->plans[i].name, name) == 0) return true;
    return false;
}

/* A tensor of such a part stays as it is, but for its type. */
static void plan_part(writing *w, const nib_model *m, const nib_tensor *t)
{
    const char *prefix = nib_config_prefix(m->config);
    bool bare = strncmp(t->name, prefix, strlen(prefix)) != 0;
    char *name = nib_sprintf(w->ctx, "%s%s", bare ? prefix : "", t->name), *kept = NULL;
    nib_tensor_plan plan = { .dtype = NIB_F32, .rank = t->rank };

    if (name) kept = nib_strdup(w->ctx, nib_model_module(m, name));
    nib_free(w->ctx, name);
    w->failed |= !kept;
    if (!kept || is_planned(w, kept)) {
        nib_free(w->ctx, kept);
        return;
    }
    memcpy(plan.shape, t->shape, sizeof plan.shape);
    add_plan(w, kept, plan);
    w->parts[w->part_count++] = t;
}

static void plan_all(writing *w, const nib_model *m)
{
    for (size_t i = 0; i < m->embedding_count; i++) {
        const nib_embedding *e = m->embeddings[i];
        plan(w, m, e->name, ".weight", e->weight->out, e->weight->in);
    }
    for (size_t i = 0; i < m->linear_count; i++) {
        const nib_linear *l = m->linears[i];
        if (!is_tied(m, l))
            plan(w, m, l->name, ".weight", l->transposed ? l->weight->in : l->weight->out,
                 l->transposed ? l->weight->out : l->weight->in);
        if (l->bias && l->bias_name) plan(w, m, l->bias_name, "", 0, l->weight->out);
        else if (l->bias) plan(w, m, l->name, ".bias", 0, l->weight->out);
    }
    for (size_t i = 0; i < m->norm_count; i++) {
        plan(w, m, m->norms[i]->name, ".weight", 0, m->norms[i]->width);
        if (m->norms[i]->bias) plan(w, m, m->norms[i]->name, ".bias", 0, m->norms[i]->width);
    }
    for (size_t i = 0; i < nib_tensors_count(m->tensors); i++) {
        const nib_tensor *t = nib_tensors_at(m->tensors, i);
        if (is_other_part(m, t->name) && nib_dtype_is_float(t->dtype)) plan_part(w, m, t);
    }
}

/* across: as [in, out]. */
static nib_status put_weight(nib_tensor_writer *out, const nib_weight *weight, bool across,
                             nib_error *err)
{
    float rows[16384];
    size_t count = across ? weight->in : weight->out, width = across ? weight->out : weight->in;
    size_t at_once = nib_max(NIB_COUNT(rows) / width, 1);
    nib_status status = NIB_OK;

    if (width > NIB_COUNT(rows))
        return nib_fail(err, NIB_E_UNSUPPORTED, "a row of %zu values is too long", width);
    for (size_t r = 0; r < count && !status; r += at_once) {
        size_t end = nib_min(r + at_once, count);
        if (across) nib_weight_decode_columns(weight, r, end, rows);
        else nib_weight_decode(weight, r, end, rows);
        status = nib_tensor_writer_put(out, rows, (end - r) * width * sizeof *rows, err);
    }
    return status;
}

static nib_status put_vector(nib_tensor_writer *out, const float *values, size_t n, nib_error *err)
{
    return values ? nib_tensor_writer_put(out, values, n * sizeof *values, err) : NIB_OK;
}

static nib_status put_part(nib_tensor_writer *out, const nib_tensor *t, nib_error *err)
{
    float values[4096];
    nib_status status = NIB_OK;

    for (uint64_t at = 0; at < t->elements && !status; at += NIB_COUNT(values)) {
        size_t count = (size_t)nib_min(t->elements - at, NIB_COUNT(values));
        nib_tensor_values(t, at, count, values);
        status = nib_tensor_writer_put(out, values, count * sizeof *values, err);
    }
    return status;
}

static nib_status put_all(nib_tensor_writer *out, const writing *w, const nib_model *m,
                          nib_error *err)
{
    nib_status status = NIB_OK;

    for (size_t i = 0; i < m->embedding_count && !status; i++)
        status = put_weight(out, m->embeddings[i]->weight, false, err);
    for (size_t i = 0; i < m->linear_count && !status; i++) {
        const nib_linear *l = m->linears[i];
        if (!is_tied(m, l)) status = put_weight(out, l->weight, l->transposed, err);
        if (!status) status = put_vector(out, l->bias, l->weight->out, err);
    }
    for (size_t i = 0; i < m->norm_count && !status; i++) {
        status = put_vector(out, m->norms[i]->weight, m->norms[i]->width, err);
        if (!status) status = put_vector(out, m->norms[i]->bias, m->norms[i]->width, err);
    }
    for (size_t i = 0; i < w->part_count && !status; i++) status = put_part(out, w->parts[i], err);
    return status;
}

static nib_status write_weights(const nib_model *m, const char *prompt, const char *dir,
                                nib_error *err)
{
    const char *notes[5];
    size_t tensors = nib_tensors_count(m->tensors),
           room = m->embedding_count + 2 * (m->linear_count + m->norm_count) + tensors;
    writing w = { .ctx = m->ctx, .plans = nib_new_array(m->ctx, room, sizeof *w.plans),
                  .names = nib_new_array(m->ctx, room, sizeof *w.names), .capacity = room,
                  .parts = nib_new_array(m->ctx, tensors, sizeof *w.parts) };
    nib_tensor_writer *out = NULL;
    nib_status status = w.plans && w.names && w.parts ? NIB_OK : no_memory(err);

    nib_model_notes(NULL, prompt, notes);
    if (!status) plan_all(&w, m);
    if (!status && w.failed) status = no_memory(err);
    if (!status)
        status = nib_tensor_writer_create_noted(m->ctx, dir, "model", w.plans, w.count, 0, notes,
                                                &out, err);
    if (!status) status = put_all(out, &w, m, err);
    if (status) nib_tensor_writer_discard(out);
    else status = nib_tensor_writer_commit(out, err);
    for (size_t i = 0; i < w.count; i++) nib_free(m->ctx, w.names[i]);
    nib_free(m->ctx, w.parts);
    nib_free(m->ctx, w.names);
    nib_free(m->ctx, w.plans);
    return status;
}

nib_status nib_whole_save(const nib_model *m, const nib_labels *labels, const char *prompt,
                          const char *dir, nib_error *err)
{
    nib_status status = write_weights(m, prompt, dir, err);

    return status ? status : nib_write_label_config(m, labels, true, dir, err);
}
