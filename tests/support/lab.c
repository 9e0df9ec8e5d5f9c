/* lab.c - making, running and ending a lab (lab.h). */
#include "lab.h"

#include "graph/magnitude.h"
#include "quant/bnb4.h"

#include "test.h"

float lab_random(lab *l)
{
    l->random = l->random * 1664525 + 1013904223;
    return (float)(l->random >> 8) * 0x1p-23f - 1;
}

static void fill(lab *l, float *p, size_t n, float size)
{
    for (size_t i = 0; i < n; i++) p[i] = size * lab_random(l);
}

static float *numbers(lab *l, size_t n, float size)
{
    float *p = nib_new_array(l->ctx, n, sizeof *p);
    assert(p && l->owned_count < NIB_COUNT(l->owned));
    fill(l, p, n, size);
    return l->owned[l->owned_count++] = p;
}

static nib_param *param(lab *l, const char *name, const char *what, size_t rows, size_t cols,
                        float size)
{
    char full[128];
    nib_param *p;

    snprintf(full, sizeof full, "%s.%s", name, what);
    p = nib_params_add(l->ctx, &l->params, full, rows, cols);
    assert(p);
    p->wants_grad = true;
    fill(l, p->value, rows * cols, size);
    return p;
}

static nib_weight *weight_over(lab *l, const float *data, size_t out, size_t in, int how)
{
    nib_weight *dense = NULL, *w = NULL;
    nib_bnb4_options options = { .blocksize = 32, .double_quant = true, .dtype = NIB_F32 };
    nib_error err;

    CHECK(nib_weight_dense(l->ctx, out, in, NIB_F32, data, NULL, &dense, &err) == NIB_OK, "%s",
          err.message);
    if (!(how & LAB_NF4)) return dense;
    CHECK(nib_bnb4_encode_weight(l->ctx, &options, dense, &w, &err) == NIB_OK, "%s", err.message);
    nib_weight_destroy(l->ctx, dense);
    return w;
}

static void add_branches(lab *l, nib_branches *table, const char *name, size_t out, size_t in,
                         int how)
{
    static const struct { size_t rank; float scale; const char *a, *b; } made[] = {
        { 3, 1.5f, "lora_A", "lora_B" }, { 5, 0.7f, "second_A", "second_B" }
    };

    for (unsigned i = 0; i < (how & LAB_SECOND ? 2 : how & LAB_LORA ? 1 : 0); i++) {
        nib_branch *branch = nib_branch_add(l->ctx, table, i);
        assert(branch);
        *branch = (nib_branch){ .scale = made[i].scale, .dropout = how & LAB_DROPOUT ? 0.4f : 0,
                                .key = 77 + i };
        branch->a = param(l, name, made[i].a, made[i].rank, in, 0.6f);
        branch->b = param(l, name, made[i].b, out, made[i].rank, 0.6f);
    }
}

/* As many as come out, [0.7, 1.7), and the norms of the branches as they are now. */
static void add_magnitudes(lab *l, nib_branches *table, const char *name, const nib_weight *w,
                           bool columns, int how)
{
    for (unsigned i = 0; how & LAB_DORA && i < table->count; i++) {
        nib_branch *b = table->slots[i];
        nib_param *p = param(l, name, i ? "second_magnitude" : "lora_magnitude", 1, b->b->rows,
                             0.5f);
        for (size_t c = 0; c < p->cols; c++) p->value[c] += 1.2f;
        CHECK(nib_magnitude_attach(l->ctx, b, p), "no memory");
        nib_magnitude_measure(l->ctx, &l->b.graph->kernels, w, columns, b, false);
    }
}

static void remove_branches(lab *l, nib_branches *table)
{
    for (unsigned i = 0; i < NIB_MAX_SLOTS; i++) nib_branch_remove(l->ctx, table, i);
}

nib_linear *lab_linear(lab *l, const char *name, size_t out, size_t in, int how)
{
    nib_linear *x = &l->linears[l->linear_count++];

    assert(l->linear_count <= LAB_MOST);
    x->name = nib_strdup(l->ctx, name);
    if (how & LAB_FULL) x->full = param(l, name, "weight", out, in, 0.7f);
    x->weight = weight_over(l, x->full ? x->full->value : numbers(l, out * in, 0.7f), out, in, how);
    if (how & LAB_TRAIN) x->bias_param = param(l, name, "bias", 1, out, 0.5f);
    if (x->bias_param) x->bias = x->bias_param->value;
    else if (how & LAB_BIAS) x->bias = numbers(l, out, 0.5f);
    add_branches(l, &x->branches, name, out, in, how);
    add_magnitudes(l, &x->branches, name, x->weight, false, how);
    return x;
}

nib_embedding *lab_embedding(lab *l, const char *name, size_t width, int how)
{
    nib_embedding *x = &l->embeddings[l->embedding_count++];

    assert(l->embedding_count <= LAB_MOST);
    x->name = nib_strdup(l->ctx, name);
    if (how & LAB_FULL) x->full = param(l, name, "weight", LAB_IDS, width, 1);
    x->weight = weight_over(l, x->full ? x->full->value : numbers(l, LAB_IDS * width, 1), LAB_IDS,
                            width, how);
    add_branches(l, &x->branches, name, width, LAB_IDS, how);
    add_magnitudes(l, &x->branches, name, x->weight, true, how);
    return x;
}

void lab_norm(lab *l, const char *name, size_t width, bool bias, int how)
{
    nib_norm *x = &l->norms[l->norm_count++];

    assert(l->norm_count <= LAB_MOST);
    x->name = nib_strdup(l->ctx, name);
    x->width = width;
    if (how & LAB_TRAIN) x->weight_param = param(l, name, "weight", 1, width, 1);
    if (how & LAB_TRAIN && bias) x->bias_param = param(l, name, "bias", 1, width, 1);
    x->weight = x->weight_param ? x->weight_param->value : numbers(l, width, 1);
    if (bias) x->bias = x->bias_param ? x->bias_param->value : numbers(l, width, 1);
}

void lab_norm_rows(lab *l, size_t rows)
{
    l->norms[l->norm_count - 1].rows = rows;
    l->norms[l->norm_count - 1].weights = NIB_NORM_ROWS;
}

nib_vector *lab_vector(lab *l, const char *name, size_t width, int how)
{
    nib_vector *x = &l->vectors[l->vector_count++];

    assert(l->vector_count <= LAB_MOST);
    *x = (nib_vector){ .name = nib_strdup(l->ctx, name), .width = width };
    if (how & LAB_TRAIN) x->param = param(l, name, "value", 1, width, 1);
    x->value = x->param ? x->param->value : numbers(l, width, 1);
    return x;
}

void lab_finish(lab *l, nib_value hidden, size_t width, int how)
{
    l->b.segment++;
    hidden = nib_to_logit_rows(&l->b, hidden);
    lab_linear(l, "head", l->targets, width, how);
    lab_head(l, hidden);
}

nib_value lab_apply(lab *l, nib_value x, const char *name)
{
    for (size_t i = 0; i < l->linear_count; i++)
        if (strcmp(l->linears[i].name, name) == 0)
            return nib_apply_linear(&l->b, x, l->linears[i].weight->out, l->linears[i].bias != NULL,
                                    "%s", name);
    return nib_apply_linear(&l->b, x, 1, false, "%s", name);
}

nib_value lab_embed(lab *l, const char *name)
{
    for (size_t i = 0; i < l->embedding_count; i++)
        if (strcmp(l->embeddings[i].name, name) == 0)
            return nib_embed(&l->b, NIB_IDS, LAB_IDS, l->embeddings[i].weight->in, name);
    return nib_embed(&l->b, NIB_IDS, 1, 1, name);
}

nib_value lab_source(lab *l, const char *name)
{
    size_t width = l->embeddings[l->embedding_count - 1].weight->in;

    if (!l->source)
        l->source = nib_add_input(&l->b, "source ids", nib_add_axis(&l->b, "source tokens"));
    for (size_t i = 0; i < l->embedding_count; i++)
        if (strcmp(l->embeddings[i].name, name) == 0) width = l->embeddings[i].weight->in;
    return nib_embed(&l->b, l->source, LAB_IDS, width, name);
}

void lab_head(lab *l, nib_value hidden)
{
    nib_set_head(&l->b, hidden, (nib_head_spec){ .rows = l->targets, .loss = l->loss }, "head");
}

/* --- the binder: modules by name --- */

static nib_status missing(const char *module, nib_error *err)
{
    return nib_fail(err, NIB_E_MISMATCH, "%s: not in the lab", module);
}

static nib_status find_linear(void *self, const char *module, const nib_linear_spec *spec,
                              nib_linear **out, nib_error *err)
{
    lab *l = self;

    (void)spec;
    for (size_t i = 0; i < l->linear_count; i++)
        if (strcmp(l->linears[i].name, module) == 0) return *out = &l->linears[i], NIB_OK;
    return missing(module, err);
}

static nib_status find_embedding(void *self, const char *module, size_t rows, size_t width,
                                 nib_embedding **out, nib_error *err)
{
    lab *l = self;

    (void)rows, (void)width;
    for (size_t i = 0; i < l->embedding_count; i++)
        if (strcmp(l->embeddings[i].name, module) == 0) return *out = &l->embeddings[i], NIB_OK;
    return missing(module, err);
}

static nib_status find_norm(void *self, const char *module, const nib_norm_spec *spec,
                            nib_norm **out, nib_error *err)
{
    lab *l = self;
    for (size_t i = 0; i < l->norm_count; i++)
        if (strcmp(l->norms[i].name, module) == 0 && spec->bias == (l->norms[i].bias != NULL))
            return *out = &l->norms[i], NIB_OK;
    return missing(module, err);
}

static nib_status find_vector(void *self, const char *tensor, const nib_vector_spec *spec,
                              nib_vector **out, nib_error *err)
{
    lab *l = self;
    for (size_t i = 0; i < l->vector_count; i++)
        if (strcmp(l->vectors[i].name, tensor) == 0 &&
            l->vectors[i].width == nib_vector_count(spec))
            return *out = &l->vectors[i], NIB_OK;
    return missing(tensor, err);
}

/* --- making and running --- */

/* For each row of the head one row of each sequence, another for another; of the last sequence's
 * first there is none. */
static void mark_spans(lab *l)
{
    const nib_axis_rows *rows = &l->batch.axes[NIB_LOGIT_ROWS];
    const uint32_t *offsets = l->batch.axes[NIB_TOKENS].offsets;
    size_t r0 = 0;

    memset(l->wanted, 0, sizeof l->wanted);
    for (size_t s = 0; s < l->batch.sequences; s++) {
        size_t r1 = r0;
        while (r1 < rows->count && rows->picks[r1] < offsets[s + 1]) r1++;
        for (size_t v = s + 1 == l->batch.sequences; v < l->targets && r0 < r1; v++)
            l->wanted[(r0 + v % (r1 - r0)) * l->targets + v] = 1;
        r0 = r1;
    }
}

/* Two of three rows are supervised; ids and targets are random. */
static void make_batch(lab *l)
{
    nib_batch *b = &l->batch;
    nib_axis_rows *tokens = &b->axes[NIB_TOKENS], *logits = &b->axes[NIB_LOGIT_ROWS];

    *b = (nib_batch){ .targets = l->logit_targets };
    tokens->offsets = l->offsets;
    logits->picks = l->logit_index;
    b->inputs[NIB_IDS] = l->ids;
    b->inputs[NIB_POSITIONS] = l->positions;
    for (size_t s = 0; s < NIB_COUNT(l->lengths) && l->lengths[s]; s++) {
        assert(tokens->count + l->lengths[s] <= LAB_ROWS);
        for (uint32_t i = 0; i < l->lengths[s]; i++, tokens->count++) {
            l->ids[tokens->count] = (uint32_t)((lab_random(l) + 1) * 0.5f * LAB_IDS);
            l->positions[tokens->count] = i;
            if (tokens->count % 3 == 1) continue;
            l->logit_index[logits->count] = (uint32_t)tokens->count;
            l->logit_targets[logits->count++] = (uint32_t)((lab_random(l) + 1) * 0.5f *
                                                           (float)l->targets);
        }
        l->offsets[++b->sequences] = (uint32_t)tokens->count;
    }
}

/* Answers for each of the head's rows, and weights: some rows count for nothing. */
static void add_answers(lab *l)
{
    for (size_t i = 0; l->loss != NIB_LOSS_CROSS_ENTROPY && i < NIB_COUNT(l->wanted); i++)
        l->wanted[i] = l->loss == NIB_LOSS_BINARY ? (float)(lab_random(l) < 0) : lab_random(l);
    for (size_t r = 0; l->weighted && r < NIB_COUNT(l->weights); r++)
        l->weights[r] = r % 5 == 2 ? 0 : lab_random(l) + 1.5f;
    if (l->loss == NIB_LOSS_SPAN) mark_spans(l);
    if (l->loss != NIB_LOSS_CROSS_ENTROPY) l->batch.wanted = l->wanted;
    if (l->weighted) l->batch.weights = l->weights;
}

static void add_source(lab *l)
{
    nib_axis_rows *rows = &l->batch.axes[l->b.graph->inputs[l->source].axis];

    rows->offsets = l->source_offsets;
    l->batch.inputs[l->source] = l->source_ids;
    for (size_t s = 0; s < l->batch.sequences; s++) {
        assert(rows->count + l->source_lengths[s] <= LAB_ROWS);
        for (uint32_t i = 0; i < l->source_lengths[s]; i++)
            l->source_ids[rows->count++] = (uint32_t)((lab_random(l) + 1) * 0.5f * LAB_IDS);
        l->source_offsets[s + 1] = (uint32_t)rows->count;
    }
}

void lab_start(lab *l, nib_ctx *ctx, nib_dtype type, lab_build *build, int variant)
{
    *l = (lab){ .ctx = ctx, .random = 12345, .lengths = { 7, 1, 12 }, .targets = LAB_TARGETS,
                .elements = 60, .variant = variant };
    l->b = (nib_build){ .graph = nib_graph_create(ctx, type),
                        .binder = { l, find_linear, find_embedding, find_norm, find_vector } };
    build(l);
}

bool lab_open(lab *l, nib_ctx *ctx, nib_dtype type, lab_build *build, int variant)
{
    lab_start(l, ctx, type, build, variant);
    CHECK(l->b.status == NIB_OK, "%s", l->b.error.message);
    if (l->b.status) return false;
    make_batch(l);
    if (l->source) add_source(l);
    add_answers(l);
    return lab_plan(l, NIB_PLAN_KEEP);
}

bool lab_plan(lab *l, nib_plan_kind kind)
{
    nib_error err;
    nib_status status;

    size_t rows[NIB_MAX_AXES];

    nib_run_destroy(l->run);
    nib_plan_destroy(l->ctx, l->plan);
    l->run = NULL;
    l->plan = NULL;
    for (size_t a = 0; a < NIB_MAX_AXES; a++)
        rows[a] = a < 2 || l->source ? l->batch.axes[a].count : l->batch.axes[NIB_TOKENS].count;
    status = nib_plan_create_rows(l->b.graph, kind, rows, &l->plan, &err);
    if (!status) status = nib_run_create(l->ctx, l->b.graph, l->plan, LAB_ROWS, &l->run, &err);
    CHECK(status == NIB_OK, "%s", err.message);
    if (!status) {
        l->run->dropout_seed = 5;
        l->run->label_smoothing = l->label_smoothing;
        l->run->noise = l->noise;
    }
    return status == NIB_OK;
}

static void renew_gains(const nib_branches *table)
{
    for (unsigned i = 0; i < table->count; i++)
        if (table->slots[i] && table->slots[i]->magnitude) nib_magnitude_gain(table->slots[i]);
}

double lab_step(lab *l)
{
    for (size_t i = 0; i < l->linear_count; i++) renew_gains(&l->linears[i].branches);
    for (size_t i = 0; i < l->embedding_count; i++) renew_gains(&l->embeddings[i].branches);
    nib_params_clear_grads(&l->params);
    nib_run_step(l->run, &l->batch);
    return l->run->loss_sum;
}

void lab_close(lab *l)
{
    nib_run_destroy(l->run);
    nib_plan_destroy(l->ctx, l->plan);
    nib_graph_destroy(l->b.graph);
    for (size_t i = 0; i < l->linear_count; i++) {
        remove_branches(l, &l->linears[i].branches);
        nib_weight_destroy(l->ctx, l->linears[i].weight);
        nib_free(l->ctx, l->linears[i].name);
    }
    for (size_t i = 0; i < l->embedding_count; i++) {
        remove_branches(l, &l->embeddings[i].branches);
        nib_weight_destroy(l->ctx, l->embeddings[i].weight);
        nib_free(l->ctx, l->embeddings[i].name);
    }
    for (size_t i = 0; i < l->norm_count; i++) nib_free(l->ctx, l->norms[i].name);
    for (size_t i = 0; i < l->vector_count; i++) nib_free(l->ctx, l->vectors[i].name);
    for (size_t i = 0; i < l->owned_count; i++) nib_free(l->ctx, l->owned[i]);
    nib_params_free(l->ctx, &l->params);
}
