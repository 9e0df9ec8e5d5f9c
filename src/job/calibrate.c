/* calibrate.c - see calibrate.h. */
#include "job/calibrate.h"

#include <time.h>

#include "base/cpu.h"
#include "graph/run.h"
#include "job/open.h"
#include "train/batch.h"

enum { BATCH_TOKENS = 2048, MOST_INPUTS = 64 };

/* The linears of one input, in one pass. */
typedef struct observed {
    int value;             /* the input, in the graph */
    const nib_node *first; /* the first that reads it, at which it is observed */
    nib_hessian *hessian;
} observed;

typedef struct walk {
    nib_ctx *ctx;
    const nib_quantize_options *o;
    nib_calibration_target *targets;
    size_t count, done;
    nib_gptq_options gptq;
    nib_model *model;
    nib_tokenizer *tokenizer;
    nib_dataset *data;
    nib_plan *plan;
    nib_run *run;
    nib_batch_maker maker;
    uint32_t *order, *all_rows, *first; /* [records], [tokens of a batch], [batches + 1] */
    size_t batches, tokens;             /* tokens: of the greatest batch */
    void **values, **next;              /* [batches] what crosses the boundary before and behind */
    observed seen[MOST_INPUTS];
    size_t seen_count;
} walk;

/* --- what is read --- */

static nib_status open_data(walk *w, nib_error *err)
{
    nib_data_options data = w->o->calibration;
    nib_dataset_source source = { .options = &data, .model_dir = w->o->model, .keep_all = true,
                                  .vocabulary = (uint32_t)w->model->head->weight->out,
                                  .now = (int64_t)time(NULL) };
    nib_status status = nib_open_tokenizer(w->ctx, w->o->model, &w->tokenizer, err);

    if (data.max_seq_length <= 0) data.max_seq_length = 512;
    source.tokenizer = w->tokenizer;
    if (!status) status = nib_dataset_open(w->ctx, &source, &w->data, err);
    return status;
}

/* Records go together until they have BATCH_TOKENS tokens. */
static nib_status make_batches(walk *w, nib_error *err)
{
    size_t most = w->o->num_calibration_samples > 0 ? (size_t)w->o->num_calibration_samples : 128;
    size_t records = nib_min(nib_dataset_count(w->data), most), now = 0, all = 0, widest = 0;

    w->order = nib_new_array(w->ctx, nib_dataset_count(w->data), sizeof *w->order);
    w->first = nib_new_array(w->ctx, records + 1, sizeof *w->first);
    if (!w->order || !w->first)
        return nib_fail(err, NIB_E_NOMEM, "%zu records: out of memory", records);
    nib_dataset_order(w->data, false, 0, 0, w->order);
    for (size_t i = 0; i < records; i++) {
        size_t length = nib_dataset_record(w->data, i).length;
        if (now && now + length > BATCH_TOKENS) w->first[++w->batches] = (uint32_t)i, now = 0;
        now += length;
        all += length;
        w->tokens = nib_max(w->tokens, now);
    }
    w->first[++w->batches] = (uint32_t)records;
    for (size_t i = 0; i < w->model->linear_count; i++)
        if (w->model->linears[i] != w->model->head)
            widest = nib_max(widest, w->model->linears[i]->weight->in);
    nib_note(w->ctx, "calibrated on %zu tokens of %zu records", all, records);
    if (all < widest)
        nib_warn_code(w->ctx, "little-calibration",
                      "%s: %zu tokens for matrices of up to %zu inputs, which take at least as "
                      "many: what they do not show is guessed",
                      w->o->calibration.data, all, widest);
    return nib_warnings_check(w->ctx, err);
}

static nib_status open_all(walk *w, nib_error *err)
{
    const nib_model_options options = { .model = w->o->model };
    nib_dtype compute = nib_open_compute(w->ctx, NIB_COMPUTE_AUTO);
    nib_status status = nib_model_open(w->ctx, &options, compute, (nib_model_progress){ 0 },
                                       &w->model, err);

    if (status) return status;
    if (w->model->purpose.task != NIB_TASK_CAUSAL_LM)
        return nib_fail(err, NIB_E_UNSUPPORTED, "%s: a model for %s; GPTQ is calibrated on models "
                        "that predict the next token", w->o->model,
                        nib_task_name(w->model->purpose.task));
    for (size_t i = 0; i < w->model->graph->node_count; i++)
        if (w->model->graph->nodes[i].experts)
            return nib_fail(err, NIB_E_UNSUPPORTED, "%s: has experts, which GPTQ does not "
                            "calibrate here; --algorithm rtn rounds them to nearest", w->o->model);
    status = open_data(w, err);
    if (!status) status = make_batches(w, err);
    if (status) return status;
    w->all_rows = nib_new_array(w->ctx, w->tokens, sizeof *w->all_rows);
    w->values = nib_new_array(w->ctx, w->batches, sizeof *w->values);
    w->next = nib_new_array(w->ctx, w->batches, sizeof *w->next);
    if (!w->all_rows || !w->values || !w->next)
        return nib_fail(err, NIB_E_NOMEM, "%zu tokens: out of memory", w->tokens);
    for (size_t i = 0; i < w->tokens; i++) w->all_rows[i] = (uint32_t)i;
    status = nib_batch_maker_init(w->ctx, w->model->graph, nib_dataset_count(w->data), w->tokens,
                                  w->tokens, &w->maker, err);
    if (!status)
        status = nib_plan_create(w->model->graph, NIB_PLAN_INFERENCE, w->tokens, w->tokens,
                                 &w->plan, err);
    return status ? status
                  : nib_run_create(w->ctx, w->model->graph, w->plan,
                                   nib_dataset_counts(w->data).longest, &w->run, err);
}

/* --- one pass over a segment --- */

static nib_calibration_target *target_of(const walk *w, const nib_node *node)
{
    for (size_t i = 0; node->linear && i < w->count; i++)
        if (!w->targets[i].made && strcmp(w->targets[i].module, node->linear->name) == 0)
            return &w->targets[i];
    return NULL;
}

static observed *seen_of(walk *w, int value)
{
    for (size_t i = 0; i < w->seen_count; i++)
        if (w->seen[i].value == value) return &w->seen[i];
    return NULL;
}

static void on_node(void *user, const nib_node *node, const nib_io *io, bool backward)
{
    walk *w = user;
    const nib_graph *g = w->run->graph;
    observed *s = node->linear ? seen_of(w, node->inputs[0]) : NULL;

    if (backward || !s || s->first != node) return;
    nib_hessian_observe(s->hessian, io->in[0], g->type,
                        nib_run_rows(w->run, g->values[node->output].axis),
                        node->linear->weight->in);
}

/* All rows go on to the end: the last layer's linears are observed on all of them. */
static nib_batch batch_of(walk *w, size_t i)
{
    nib_batch b = *nib_batch_make(&w->maker, w->data, w->order + w->first[i],
                                  w->first[i + 1] - w->first[i], 0);

    b.axes[NIB_LOGIT_ROWS] = (nib_axis_rows){ .count = b.axes[NIB_TOKENS].count,
                                              .picks = w->all_rows };
    return b;
}

static nib_status pass(walk *w, int segment, nib_error *err)
{
    const nib_graph *g = w->model->graph;

    for (size_t i = 0; i < w->batches; i++) {
        nib_batch b = batch_of(w, i);
        size_t bytes = segment + 1 < g->segments ? nib_boundary_bytes(g, &b, segment + 1) : 0;
        if (!w->next[i] && bytes) {
            w->next[i] = nib_alloc(w->ctx, bytes);
            if (!w->next[i])
                return nib_fail(err, NIB_E_NOMEM, "the values behind layer %d: out of memory; "
                                "give fewer samples (num_calibration_samples)", segment);
        }
        if (nib_should_stop(w->ctx))
            return nib_fail(err, NIB_E_INTERRUPTED, "stopped; nothing is written");
        nib_run_range(w->run, &b, segment, segment + 1, w->values[i], w->next[i]);
    }
    return NIB_OK;
}

/* --- encoding --- */

static nib_status encode(walk *w, const nib_node *node, nib_calibration_target *t,
                         const nib_hessian *h, nib_error *err)
{
    nib_linear *l = node->linear;
    nib_matrix_report report = { .module = t->module };
    nib_gptq_report found;
    const nib_gptq_options in_order = { .damp_percent = 0 };
    const nib_form plain = nib_gptq_form(&t->form, &in_order);
    nib_weight *nearest = NULL;
    double start = nib_clock_seconds(), whole = 0, error = 0, rounded = 0;
    nib_status status = nib_gptq_encode(h, &t->form, l->weight, &w->gptq, &t->made, &found, err);

    if (!status) status = nib_form_encode(w->ctx, &plain, l->weight, &nearest, err);
    if (!status) status = nib_hessian_error(h, l->weight, NULL, &whole, err);
    if (!status) status = nib_hessian_error(h, l->weight, nearest, &rounded, err);
    if (!status) status = nib_hessian_error(h, l->weight, t->made, &error, err);
    nib_weight_destroy(w->ctx, nearest);
    if (status) return nib_fail_in(err, status, "%s", t->module);
    report.error = whole > 0 ? error / whole : 0;
    report.error_rounded = whole > 0 ? rounded / whole : 0;
    report.damp = found.damp;
    report.rows = h->rows;
    report.seconds = nib_clock_seconds() - start;
    if (found.raises)
        nib_note(w->ctx, "%s: the inputs are nearly dependent: damping raised to %.3g", t->module,
                 found.damp);
    if (w->o->on_matrix) w->o->on_matrix(w->o->user, &report);
    w->done++;
    if (w->o->on_progress)
        w->o->on_progress(w->o->user, t->module, (double)w->done / (double)w->count);
    return NIB_OK;
}

/* The linears that were observed; the model computes with what was made from now on.  Its own
 * weights come back in release(). */
static nib_status encode_seen(walk *w, int segment, nib_error *err)
{
    const nib_graph *g = w->model->graph;
    nib_status status = NIB_OK;

    for (size_t n = 0; n < g->node_count && !status; n++) {
        const nib_node *node = &g->nodes[n];
        nib_calibration_target *t = node->segment == segment ? target_of(w, node) : NULL;
        observed *s = t ? seen_of(w, node->inputs[0]) : NULL;
        if (!s || !s->hessian->rows) continue;
        status = encode(w, node, t, s->hessian, err);
        if (status) break;
        node->linear->frozen = node->linear->weight;
        node->linear->weight = t->made;
    }
    return status;
}

static void forget(walk *w)
{
    for (size_t i = 0; i < w->seen_count; i++) nib_hessian_destroy(w->seen[i].hessian);
    w->seen_count = 0;
}

/* Hessians for the inputs of the linears still to be made; true_sequential: for the first. */
static nib_status begin_pass(walk *w, int segment, nib_error *err)
{
    const nib_graph *g = w->model->graph;
    nib_status status = NIB_OK;

    for (size_t n = 0; n < g->node_count && !status; n++) {
        const nib_node *node = &g->nodes[n];
        if (node->segment != segment || !target_of(w, node) || seen_of(w, node->inputs[0]))
            continue;
        if (w->seen_count == MOST_INPUTS || (w->o->true_sequential && w->seen_count)) break;
        status = nib_hessian_create(w->ctx, node->linear->weight->in,
                                    &w->seen[w->seen_count].hessian, err);
        if (status) break;
        w->seen[w->seen_count].value = node->inputs[0];
        w->seen[w->seen_count++].first = node;
    }
    return status;
}

static nib_status run_segment(walk *w, int segment, nib_error *err)
{
    nib_status status = NIB_OK;
    size_t before;

    do {
        before = w->done;
        status = begin_pass(w, segment, err);
        w->run->tap = w->seen_count ? on_node : NULL;
        w->run->tap_user = w;
        if (!status) status = pass(w, segment, err);
        if (!status) status = encode_seen(w, segment, err);
        forget(w);
    } while (!status && w->done > before);
    for (size_t i = 0; i < w->batches; i++) {
        nib_free(w->ctx, w->values[i]);
        w->values[i] = w->next[i];
        w->next[i] = NULL;
    }
    return status;
}

static void release(walk *w)
{
    for (size_t i = 0; w->model && i < w->model->linear_count; i++) {
        nib_linear *l = w->model->linears[i];
        if (l->frozen) l->weight = l->frozen;
        l->frozen = NULL;
    }
    for (size_t i = 0; i < w->batches; i++) {
        if (w->values) nib_free(w->ctx, w->values[i]);
        if (w->next) nib_free(w->ctx, w->next[i]);
    }
    nib_free(w->ctx, w->values);
    nib_free(w->ctx, w->next);
    nib_free(w->ctx, w->order);
    nib_free(w->ctx, w->first);
    nib_free(w->ctx, w->all_rows);
    nib_batch_maker_free(&w->maker);
    nib_run_destroy(w->run);
    nib_plan_destroy(w->ctx, w->plan);
    nib_dataset_close(w->data);
    nib_tokenizer_close(w->tokenizer);
    nib_model_close(w->model);
}

nib_status nib_calibrate(nib_ctx *ctx, const nib_quantize_options *options,
                         nib_calibration_target *targets, size_t count, nib_error *err)
{
    walk w = { .ctx = ctx, .o = options, .targets = targets, .count = count,
               .gptq = nib_gptq_defaults };
    nib_status status;

    if (options->damp_percent != 0) w.gptq.damp_percent = options->damp_percent;
    w.gptq.desc_act = options->desc_act;
    w.gptq.static_groups = options->static_groups;
    w.gptq.mse = options->mse;
    status = open_all(&w, err);
    for (int s = 0; !status && s < w.model->graph->segments && w.done < count; s++)
        status = run_segment(&w, s, err);
    release(&w);
    return status;
}
