/* batch.c - from records to the arrays of a batch. */
#include "train/batch.h"

nib_status nib_batch_maker_init(nib_ctx *ctx, const nib_graph *graph, size_t sequences,
                                size_t tokens, size_t logit_rows, nib_batch_maker *out,
                                nib_error *err)
{
    nib_batch_maker b = { .ctx = ctx, .graph = graph, .sequences = sequences, .tokens = tokens,
                          .logit_rows = logit_rows };
    bool of_each = nib_graph_loss(graph) != NIB_LOSS_CROSS_ENTROPY;

    b.offsets = nib_new_array(ctx, sequences + 1, sizeof *b.offsets);
    b.records = nib_new_array(ctx, sequences, sizeof *b.records);
    b.ids = nib_new_array(ctx, tokens, sizeof *b.ids);
    b.positions = nib_new_array(ctx, tokens, sizeof *b.positions);
    b.types = nib_new_array(ctx, tokens, sizeof *b.types);
    b.weights = nib_new_array(ctx, logit_rows, sizeof *b.weights);
    if (of_each)
        b.wanted = nib_new_array(ctx, logit_rows * graph->head->weight->out, sizeof *b.wanted);
    b.logit_index = nib_new_array(ctx, logit_rows, sizeof *b.logit_index);
    b.targets = nib_new_array(ctx, logit_rows, sizeof *b.targets);
    if (graph->boxes)
        b.boxes = nib_new_array(ctx, (size_t)NIB_BOX_INPUTS * tokens, sizeof *b.boxes);
    *out = b;
    if (b.offsets && b.records && b.ids && b.positions && b.types && b.logit_index && b.targets &&
        b.weights && (b.wanted || !of_each) && (b.boxes || !graph->boxes))
        return NIB_OK;
    nib_batch_maker_free(out);
    return nib_fail(err, NIB_E_NOMEM, "batch: out of memory for %zu tokens", tokens);
}

void nib_batch_maker_free(nib_batch_maker *b)
{
    if (!b->ctx) return;
    nib_free(b->ctx, b->offsets);
    nib_free(b->ctx, b->records);
    nib_free(b->ctx, b->ids);
    nib_free(b->ctx, b->positions);
    nib_free(b->ctx, b->types);
    nib_free(b->ctx, b->boxes);
    nib_free(b->ctx, b->wanted);
    nib_free(b->ctx, b->weights);
    nib_free(b->ctx, b->logit_index);
    nib_free(b->ctx, b->targets);
    *b = (nib_batch_maker){ 0 };
}

/* Each token may be the one where an answer begins or ends. */
static void add_span(nib_batch_maker *b, size_t first, nib_record r)
{
    nib_axis_rows *logits = &b->batch.axes[NIB_LOGIT_ROWS];
    size_t edges = b->graph->head->weight->out;
    float *wanted = b->wanted + logits->count * edges;

    memset(wanted, 0, r.length * edges * sizeof *wanted);
    for (uint32_t i = 0; i < r.answer_count; i++) wanted[(size_t)r.answers[i] * edges + i] = 1;
    for (uint32_t i = 0; i < r.length; i++) {
        b->targets[logits->count] = 0;
        b->weights[logits->count] = 1;
        b->logit_index[logits->count++] = (uint32_t)(first + i);
    }
}

static void add_row(nib_batch_maker *b, const nib_labels *l, size_t token, float answer)
{
    nib_axis_rows *logits = &b->batch.axes[NIB_LOGIT_ROWS];

    b->logit_index[logits->count] = (uint32_t)token;
    b->targets[logits->count] = (uint32_t)answer;
    b->weights[logits->count++] = l->class_weights ? l->class_weights[(size_t)answer] : 1;
}

/* What the head should say of a record with labels; answers are numbers of classes, or numbers. */
static void add_answers(nib_batch_maker *b, const nib_labels *l, nib_record r)
{
    size_t first = b->batch.axes[NIB_TOKENS].count, rows = b->graph->head->weight->out;
    float *wanted = b->wanted ? b->wanted + b->batch.axes[NIB_LOGIT_ROWS].count * rows : NULL;
    bool numbers = l->kind == NIB_LABEL_NUMBERS;

    if (l->kind == NIB_LABEL_SPAN) {
        add_span(b, first, r);
        return;
    }
    for (uint32_t i = 0; l->kind == NIB_LABEL_TAGS && i < r.answer_count; i++)
        if (r.answers[i] >= 0) add_row(b, l, first + i, r.answers[i]);
    if (l->kind == NIB_LABEL_TAGS) return;
    if (wanted) memset(wanted, 0, rows * sizeof *wanted);
    for (uint32_t i = 0; wanted && i < r.answer_count; i++)
        wanted[numbers ? i : (size_t)r.answers[i]] = numbers ? r.answers[i] : 1;
    add_row(b, l, first + nib_graph_row_read(b->graph, r.ids, r.length),
            r.answer_count && !wanted ? r.answers[0] : 0);
}

/* Edges, height and width of the box of token t. */
static void add_box(nib_batch_maker *b, size_t t, const uint16_t *box)
{
    static const uint16_t none[4];

    if (!box) box = none;
    for (size_t i = 0; i < 4; i++) b->boxes[i * b->tokens + t] = box[i];
    b->boxes[4 * b->tokens + t] = (uint32_t)box[3] - box[1];
    b->boxes[5 * b->tokens + t] = (uint32_t)box[2] - box[0];
}

/* Words that are hidden are predicted at their own places. */
static void hide_words(nib_batch_maker *b, const nib_masking *m, uint32_t record, nib_record r)
{
    nib_axis_rows *logits = &b->batch.axes[NIB_LOGIT_ROWS];
    size_t first = b->batch.axes[NIB_TOKENS].count;

    for (uint32_t i = 0; i < r.length; i++) {
        if (!r.trained[i] || !nib_mask_word(m, b->batch.epoch, record, i, &b->ids[first + i]))
            continue;
        b->logit_index[logits->count] = (uint32_t)(first + i);
        b->targets[logits->count++] = r.ids[i];
    }
}

static void add_record(nib_batch_maker *b, const nib_dataset *d, uint32_t number)
{
    const nib_labels *l = nib_dataset_labels(d);
    const nib_masking *masking = nib_dataset_masking(d);
    nib_record r = nib_dataset_record(d, number);
    nib_axis_rows *tokens = &b->batch.axes[NIB_TOKENS], *logits = &b->batch.axes[NIB_LOGIT_ROWS];

    assert(tokens->count + r.length <= b->tokens && logits->count + r.targets <= b->logit_rows);
    if (r.types) add_answers(b, l, r);
    for (uint32_t i = 0; i < r.length; i++) {
        size_t t = tokens->count + i;
        b->ids[t] = r.ids[i];
        b->types[t] = r.types ? r.types[i] : 0;
        if (b->graph->boxes) add_box(b, t, r.boxes ? r.boxes + 4 * i : NULL);
        if (i > 0 && r.trained[i] && !r.types && !masking->vocabulary) {
            b->logit_index[logits->count] = (uint32_t)t - 1;
            b->targets[logits->count++] = r.ids[i];
        }
    }
    if (masking->vocabulary) hide_words(b, masking, number, r);
    nib_graph_place(b->graph, b->ids + tokens->count, r.length, b->positions + tokens->count);
    tokens->count += r.length;
    b->offsets[++b->batch.sequences] = (uint32_t)tokens->count;
}

const nib_batch *nib_batch_make(nib_batch_maker *b, const nib_dataset *d, const uint32_t *order,
                                size_t count, uint32_t epoch)
{
    assert(count <= b->sequences);
    b->batch = (nib_batch){ .targets = b->targets, .records = b->records, .epoch = epoch };
    b->batch.axes[NIB_TOKENS].offsets = b->offsets;
    b->batch.axes[NIB_LOGIT_ROWS].picks = b->logit_index;
    b->batch.inputs[NIB_IDS] = b->ids;
    b->batch.inputs[NIB_POSITIONS] = b->positions;
    b->batch.inputs[NIB_TYPES] = b->types;
    for (int i = 0; i < NIB_BOX_INPUTS && b->graph->boxes; i++)
        b->batch.inputs[b->graph->boxes + i] = b->boxes + (size_t)i * b->tokens;
    b->batch.wanted = b->wanted;
    if (nib_dataset_labels(d)->class_weights) b->batch.weights = b->weights;
    b->offsets[0] = 0;
    for (size_t i = 0; i < count; i++) {
        b->records[i] = order[i];
        add_record(b, d, order[i]);
    }
    return &b->batch;
}

void nib_batch_extent(const nib_dataset *d, size_t batch_size, bool shuffle, uint64_t seed,
                      uint64_t epochs, uint32_t *order, size_t *tokens, size_t *targets)
{
    size_t n = nib_dataset_epoch(d);

    *tokens = *targets = 0;
    for (uint64_t e = 0; e < (shuffle ? epochs : 1); e++) {
        nib_dataset_order(d, shuffle, seed, e, order);
        for (size_t first = 0; first < n; first += batch_size) {
            size_t t = 0, s = 0;
            for (size_t i = first; i < nib_min(first + batch_size, n); i++) {
                t += nib_dataset_record(d, order[i]).length;
                s += nib_dataset_record(d, order[i]).targets;
            }
            *tokens = nib_max(*tokens, t);
            *targets = nib_max(*targets, s);
        }
    }
}
