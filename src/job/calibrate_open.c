/* calibrate_open.c - what a calibrated quantization opens before its first layer: the model, the
 * texts, the plan of its memory, and the layers that an earlier run has finished. */
#include <stdlib.h>

#include "base/cpu.h"
#include "base/outname.h"
#include "job/calibrate_walk.h"
#include "job/identity.h"
#include "job/memory.h"
#include "job/open.h"
#include "quant/awq.h"

/* Raised when the same settings give other codes than before: a run is not resumed by another. */
enum { CALIBRATION_RULES = 1 };

/* --- targets --- */

static int compare_names(const void *a, const void *b)
{
    const nib_walk_target *x = a, *y = b;

    return strcmp(x->t->module, y->t->module);
}

static int compare_segments(const void *a, const void *b)
{
    const nib_walk_target *x = a, *y = b;

    if (x->segment != y->segment) return x->segment < y->segment ? -1 : 1;
    return compare_names(a, b);
}

/* Which nodes they are in. */
static nib_status place_targets(nib_walk *w, nib_error *err)
{
    const nib_graph *g = w->model->graph;

    w->count = w->c->count;
    w->targets = nib_new_array(w->ctx, w->count, sizeof *w->targets);
    if (!w->targets) return nib_fail(err, NIB_E_NOMEM, "%zu matrices: out of memory", w->count);
    for (size_t i = 0; i < w->count; i++)
        w->targets[i] = (nib_walk_target){ .t = &w->c->targets[i] };
    qsort(w->targets, w->count, sizeof *w->targets, compare_names);
    for (size_t n = 0; n < g->node_count; n++)
        for (size_t e = 0; e < nib_node_linears(&g->nodes[n]); e++) {
            nib_linear *l = nib_node_linear(&g->nodes[n], e);
            nib_calibration_target named = { .module = l->name };
            const nib_walk_target key = { .t = &named };
            nib_walk_target *t = bsearch(&key, w->targets, w->count, sizeof *w->targets,
                                         compare_names);
            if (t && !t->linear) t->linear = l, t->segment = g->nodes[n].segment;
        }
    for (size_t i = 0; i < w->count; i++) {
        nib_walk_target *t = &w->targets[i];
        nib_status status;
        if (!t->linear)
            return nib_fail(err, NIB_E_UNSUPPORTED, "%s: no calibration text reaches it",
                            t->t->module);
        status = nib_gptq_check(&t->t->form, &w->gptq, t->linear->weight->out,
                                t->linear->weight->in, err);
        if (status) return nib_fail_in(err, status, "%s", t->t->module);
    }
    qsort(w->targets, w->count, sizeof *w->targets, compare_segments);
    return NIB_OK;
}

void nib_walk_segment(const nib_walk *w, int segment, size_t *first, size_t *end)
{
    *first = 0;
    while (*first < w->count && w->targets[*first].segment < segment) ++*first;
    *end = *first;
    while (*end < w->count && w->targets[*end].segment == segment) ++*end;
}

nib_walk_target *nib_walk_target_of(const nib_walk *w, const nib_node *n, size_t expert)
{
    const nib_linear *l = nib_node_linear(n, expert);
    nib_calibration_target named = { .module = l->name };
    const nib_walk_target key = { .t = &named, .segment = n->segment };
    nib_walk_target *t = bsearch(&key, w->targets, w->count, sizeof *w->targets, compare_segments);

    return t && t->linear == l ? t : NULL;
}

nib_status nib_walk_stopped(const nib_walk *w, nib_error *err)
{
    return nib_fail(err, NIB_E_INTERRUPTED,
                    "stopped; %zu of %zu matrices are finished: the same command resumes behind "
                    "the last whole layer",
                    w->done, w->count);
}

/* --- the store --- */

/* How the finished layers are read: as the output's config.json will have it. */
static nib_status read_form(nib_walk *w, nib_error *err)
{
    const nib_held *held = w->c->held;
    const char *const dense[] = { w->model->head->name, NULL }; /* others are not looked for */
    char *text = held->format->config(w->ctx, &held->form, dense);
    json_t *quantization = text ? json_loads(text, 0, NULL) : NULL;
    json_t *config = json_pack("{s:o}", "quantization_config", quantization);
    nib_status status = config ? nib_held_read(w->ctx, config, w->o->out, &w->stored, err)
                               : nib_fail(err, NIB_E_NOMEM, "%s: out of memory", w->o->out);

    if (!status) w->stored.form.dtype = w->targets[0].t->form.dtype;
    json_decref(config);
    nib_free(w->ctx, text);
    return status;
}

static void put_options(nib_identity *i, const nib_walk *w)
{
    char form[NIB_FORM_ROOM];

    nib_form_text(&w->c->targets[0].form, form);
    nib_identity_text(i, "form", form);
    nib_identity_text(i, "dtype", nib_dtype_name(w->c->targets[0].form.dtype));
    nib_identity_text(i, "algorithm", w->c->algorithm);
    nib_identity_float(i, "damp_percent", w->gptq.damp_percent);
    nib_identity_float(i, "mse", w->gptq.mse);
    nib_identity_bool(i, "desc_act", w->gptq.desc_act);
    nib_identity_bool(i, "static_groups", w->gptq.static_groups);
    nib_identity_bool(i, "act_group_aware", w->gptq.act_group_aware);
    nib_identity_bool(i, "true_sequential", w->o->true_sequential);
    if (w->c->bits) nib_identity_int(i, "room of the target", (int64_t)w->c->bits->room);
    nib_identity_int(i, "num_calibration_samples", (int64_t)w->data.used);
    nib_identity_text(i, "isa", nib_cpu_name(nib_ctx_cpu(w->ctx)));
    nib_identity_text(i, "compute_dtype", nib_dtype_name(w->model->graph->type));
}

static nib_status make_identity(nib_walk *w, json_t **out, nib_error *err)
{
    nib_identity i = { .ctx = w->ctx, .json = json_object() };
    nib_sha256 names;
    nib_status status;

    nib_identity_int(&i, "calibration rules", CALIBRATION_RULES);
    status = nib_identity_file(&i, "model config.json", w->o->model, "config.json", err);
    if (!status) nib_identity_weights(&i, w->model->tensors);
    nib_identity_data(&i, "calibration data", w->data.records);
    nib_sha256_begin(&names);
    for (size_t k = 0; k < w->count; k++)
        nib_identity_add_string(&names, w->targets[k].t->module);
    nib_identity_hash(&i, "matrices", &names);
    put_options(&i, w);
    if (!status && (i.failed || !i.json))
        status = nib_fail(err, NIB_E_NOMEM, "out of memory for the identity of the run");
    if (status) json_decref(i.json);
    else *out = i.json;
    return status;
}

static nib_status open_store(nib_walk *w, nib_error *err)
{
    json_t *identity = NULL;
    nib_status status = make_identity(w, &identity, err);

    if (!status)
        status = nib_layer_store_open(w->ctx, w->c->place, identity, w->data.now,
                                      (size_t)w->model->graph->segments, w->o->overwrite,
                                      &w->c->store, err);
    json_decref(identity);
    for (size_t i = 0; !status && i < w->count; i++)
        w->done_before += w->c->store.layers[w->targets[i].segment] != NULL;
    w->done = w->done_before;
    return status;
}

/* --- memory --- */

typedef struct memory { uint64_t values, hessians, greatest, encoding, running, layer; } memory;

static uint64_t encoding_bytes(const nib_walk *w, const nib_walk_target *t)
{
    const nib_weight *from = t->linear->weight;

    if (!w->awq) return nib_gptq_bytes(w->ctx, from->out, from->in);
    return nib_awq_bytes(w->ctx, &t->t->form, from->in) +
           (uint64_t)from->out * from->in * sizeof(float);
}

/* Is there a target that reads expert e's rows of the same value before node n? */
static bool is_observed(const nib_walk *w, size_t n, size_t e)
{
    const nib_graph *g = w->model->graph;
    const nib_node *node = &g->nodes[n];

    for (size_t k = n; k > 0 && g->nodes[k - 1].segment == node->segment; k--) {
        const nib_node *before = &g->nodes[k - 1];
        if (before->inputs[0] == node->inputs[0] && e < nib_node_linears(before) &&
            nib_walk_target_of(w, before, e))
            return true;
    }
    return false;
}

/* Of a segment: linears of one input share theirs. */
static uint64_t hessian_bytes(const nib_walk *w, int segment)
{
    const nib_graph *g = w->model->graph;
    uint64_t bytes = 0;

    for (size_t n = 0; n < g->node_count; n++) {
        const nib_node *node = &g->nodes[n];
        for (size_t e = 0; node->segment == segment && e < nib_node_linears(node); e++) {
            const nib_walk_target *t = nib_walk_target_of(w, node, e);
            if (t && !is_observed(w, n, e)) bytes += nib_hessian_bytes(t->linear->weight->in);
        }
    }
    return bytes;
}

static memory measure(nib_walk *w)
{
    const nib_graph *g = w->model->graph;
    memory m = { .values = nib_calibration_values_bytes(&w->data, g) };

    for (int s = 0; s < g->segments; s++) {
        uint64_t hessians = hessian_bytes(w, s), layer = 0;
        size_t first, end;
        nib_walk_segment(w, s, &first, &end);
        for (size_t i = first; i < end; i++) {
            const nib_weight *from = w->targets[i].linear->weight;
            uint64_t made = 0, one = nib_hessian_bytes(from->in);
            w->targets[i].t->form.scheme->bytes(&w->targets[i].t->form, from->out, from->in,
                                                 &made);
            layer += from->bytes + 2 * made;
            m.greatest = nib_max(m.greatest, one);
            m.encoding = nib_max(m.encoding, encoding_bytes(w, &w->targets[i]));
        }
        m.hessians = nib_max(m.hessians, hessians);
        m.layer = nib_max(m.layer, layer);
    }
    m.running = w->plan->arena_bytes + nib_run_bytes(g, w->plan,
                                                     nib_dataset_counts(w->data.records).longest);
    return m;
}

static double mb(uint64_t bytes) { return (double)bytes / 1e6; }

/* Hessians may take half of what is free, the values a quarter; then they lie in a file. */
static nib_status plan_memory(nib_walk *w, nib_error *err)
{
    memory m = measure(w);
    uint64_t room = w->o->max_memory ? w->o->max_memory : nib_memory_free();
    bool in_file = m.values > room / 4;
    nib_error reason;
    char *dir = nib_parent_of(w->ctx, w->o->out); /* for a file of values */
    nib_status status = dir ? NIB_OK : nib_fail(err, NIB_E_NOMEM, "%s: out of memory", w->o->out);

    w->hessian_bytes = nib_max(room / 2, m.greatest);
    if (!w->awq) m.hessians = nib_min(m.hessians, w->hessian_bytes); /* AWQ takes them at once */
    if (!status && in_file && nib_pagefile_check(dir, &reason)) {
        nib_warn_code(w->ctx, "values-in-memory", "%.0f MB of values between layers cannot be "
                      "paged out and stay in memory: %s", mb(m.values), reason.message);
        in_file = false;
    }
    if (!status)
        nib_note(w->ctx, "memory: %.0f MB: one layer %.0f, its Hessians %.0f, encoding %.0f, "
                 "running %.0f, values between layers %.0f%s",
                 mb(m.layer + m.hessians + m.encoding + m.running + (in_file ? 0 : m.values)),
                 mb(m.layer), mb(m.hessians), mb(m.encoding), mb(m.running), mb(m.values),
                 in_file ? " in a file" : "");
    if (!status)
        status = nib_calibration_values_take(&w->data, w->model->graph, in_file ? dir : NULL, err);
    nib_free(w->ctx, dir);
    return status;
}

/* --- all --- */

static nib_status open_model(nib_walk *w, nib_error *err)
{
    const nib_model_options options = { .model = w->o->model };
    nib_dtype compute = nib_open_compute(w->ctx, NIB_COMPUTE_AUTO);
    nib_status status = nib_model_open(w->ctx, &options, compute, (nib_model_progress){ 0 },
                                       &w->model, err);

    if (!status && w->model->purpose.task != NIB_TASK_CAUSAL_LM)
        status = nib_fail(err, NIB_E_UNSUPPORTED, "%s: a model for %s; %s is calibrated on models "
                          "that predict the next token", w->o->model,
                          nib_task_name(w->model->purpose.task), w->c->algorithm);
    return status;
}

nib_gptq_options nib_calibration_gptq(const nib_quantize_options *o)
{
    nib_gptq_options g = nib_gptq_defaults;

    if (o->damp_percent != 0) g.damp_percent = o->damp_percent;
    g.desc_act = o->desc_act;
    g.static_groups = o->static_groups;
    g.act_group_aware = o->act_group_aware;
    g.mse = o->mse;
    return g;
}

nib_status nib_walk_open(nib_walk *w, nib_error *err)
{
    nib_status status = open_model(w, err);

    w->gptq = nib_calibration_gptq(w->o);
    w->awq = strcmp(w->c->algorithm, "awq") == 0;
    if (!status) status = place_targets(w, err);
    if (!status)
        status = nib_calibration_data_open(w->ctx, w->o, w->model,
                                           nib_layer_store_started(w->ctx, w->c->place), &w->data,
                                           err);
    if (!status)
        status = nib_plan_create(w->model->graph, NIB_PLAN_INFERENCE, w->data.widest,
                                 w->data.widest, &w->plan, err);
    if (!status) status = read_form(w, err);
    if (!status) status = open_store(w, err);
    if (!status && (w->done < w->count || w->c->bits)) status = plan_memory(w, err);
    if (status) return status;
    status = nib_run_create(w->ctx, w->model->graph, w->plan,
                            nib_dataset_counts(w->data.records).longest, &w->run, err);
    w->observer.run = w->run;
    return status;
}

void nib_walk_close(nib_walk *w)
{
    for (size_t i = 0; w->targets && i < w->count; i++) {
        nib_walk_target *t = &w->targets[i];
        if (t->linear && t->linear->frozen) t->linear->weight = t->linear->frozen;
        if (t->linear) t->linear->frozen = NULL;
        nib_weight_destroy(w->ctx, t->made);
    }
    nib_free(w->ctx, w->targets);
    nib_observer_free(&w->observer);
    nib_calibration_data_close(&w->data);
    nib_run_destroy(w->run);
    nib_plan_destroy(w->ctx, w->plan);
    nib_held_free(w->ctx, &w->stored);
    json_decref(w->layer);
    for (size_t i = 0; i < w->change_count; i++) nib_free(w->ctx, w->changes[i].values);
    nib_free(w->ctx, w->changes);
    nib_model_close(w->model);
}
