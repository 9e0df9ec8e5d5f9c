/* export_verify.c - see export_verify.h. */
#include "job/export_verify.h"

#include <math.h>
#include <stdlib.h>

#include "graph/readout.h"
#include "model/gguf_keys.h"

enum { TOKENS = 24 };

static const char *const prompts[] = {
    "The capital of France is",
    "def main():\n    return 1234567890 + 0.5",
    "Once upon a time, in a village by the sea, there lived a",
    "Grüße aus München: 3 × 7 = 21. Ça va? 你好",
    "1. First\n2. Second\n3.",
};

/* Numbers of a row: logits, or, without a head, what the last layer gives. */
static size_t row_width(const nib_model *m)
{
    return m->head ? m->head->weight->out : m->graph->values[m->graph->hidden].width;
}

/* logits [count, row_width()] after each of the tokens. */
static nib_status run_logits(nib_model *m, const uint32_t *ids, uint32_t count, float *logits,
                             nib_error *err)
{
    uint32_t positions[TOKENS], offsets[2] = { 0, count }, types[TOKENS] = { 0 };
    size_t width = row_width(m);
    nib_batch batch = { .sequences = 1 };
    nib_plan *plan = NULL;
    nib_run *run = NULL;
    nib_status status;

    for (uint32_t i = 0; i < count; i++) positions[i] = i;
    batch.axes[NIB_TOKENS] = (nib_axis_rows){ .count = count, .offsets = offsets };
    batch.axes[NIB_LOGIT_ROWS] = (nib_axis_rows){ .count = count, .picks = positions };
    batch.inputs[NIB_IDS] = ids;
    batch.inputs[NIB_POSITIONS] = positions;
    batch.inputs[NIB_TYPES] = types;
    status = nib_plan_create(m->graph, NIB_PLAN_INFERENCE, count, count, &plan, err);
    if (!status) status = nib_run_create(m->ctx, m->graph, plan, count, &run, err);
    if (!status) {
        nib_run_forward(run, &batch);
        if (m->head) nib_run_logits(run, 0, count, logits);
        for (size_t i = 0; !m->head && i < count; i++)
            memcpy(logits + i * width, nib_run_hidden(run, i), width * sizeof *logits);
    }
    nib_run_destroy(run);
    nib_plan_destroy(m->ctx, plan);
    return status;
}

/* Tokens of a prompt; without a tokenizer some that depend on its number. */
static nib_status take_tokens(nib_ctx *ctx, nib_tokenizer *t, size_t prompt, size_t vocabulary,
                              uint32_t *ids, uint32_t *count, nib_error *err)
{
    nib_tokens tokens = { 0 };
    nib_status status;

    *count = TOKENS;
    for (uint32_t i = 0; !t && i < TOKENS; i++)
        ids[i] = (uint32_t)((prompt * 7919 + i * i * 31 + i * 17 + 1) % vocabulary);
    if (!t) return NIB_OK;
    status = nib_tokenizer_encode(t, prompts[prompt], strlen(prompts[prompt]), true, &tokens, NULL,
                                  err);
    *count = (uint32_t)nib_min(tokens.count, TOKENS);
    for (uint32_t i = 0; !status && i < *count; i++) ids[i] = tokens.items[i].id;
    nib_tokens_free(ctx, &tokens);
    return status;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* The greatest difference of logits [rows, V], relative to the largest.  Of a model with experts
 * what a quarter of the rows keep to: a rounded weight may send a token to another expert, which
 * changes what follows it, while what is wrong changes every row. */
static double compare(const nib_model *m, const float *a, const float *b, size_t rows)
{
    size_t v = row_width(m);
    double worst[TOKENS], most = 0, all = 0;

    for (size_t r = 0; r < rows; r++) {
        worst[r] = 0;
        for (size_t i = r * v; i < (r + 1) * v; i++) {
            double d = fabs((double)a[i] - (double)b[i]);
            most = fmax(most, fabs((double)a[i]));
            if (!(d <= worst[r])) worst[r] = isnan(d) ? INFINITY : d;
        }
        all = fmax(all, worst[r]);
    }
    qsort(worst, rows, sizeof *worst, by_size);
    if (nib_gguf_experts(m->graph)) all = worst[rows / 4];
    return most > 0 ? all / most : all;
}

static nib_status check_prompt(nib_model *m, nib_model *w, nib_tokenizer *tokenizers[2],
                               size_t prompt, double *difference, nib_error *err)
{
    size_t v = row_width(m);
    float *logits = nib_new_array(m->ctx, 2 * TOKENS * v, sizeof *logits);
    uint32_t ids[2][TOKENS], count[2] = { 0, 0 };
    nib_status status = NIB_OK;

    if (!logits) return nib_fail(err, NIB_E_NOMEM, "the logits of a prompt: out of memory");
    for (int i = 0; i < 2 && !status; i++)
        status = take_tokens(m->ctx, tokenizers[i], prompt, m->embedding->weight->out, ids[i],
                             &count[i], err);
    if (!status && (count[0] != count[1] ||
                    memcmp(ids[0], ids[1], count[0] * sizeof *ids[0]) != 0))
        status = nib_fail(err, NIB_E_MISMATCH, "'%s' has other tokens in the file written than in "
                          "%s", prompts[prompt], m->dir);
    if (!status && count[0]) {
        status = run_logits(m, ids[0], count[0], logits, err);
        if (!status) status = run_logits(w, ids[0], count[0], logits + TOKENS * v, err);
        if (!status) *difference = compare(m, logits, logits + TOKENS * v, count[0]);
    }
    nib_free(m->ctx, logits);
    return status;
}

/* One more prompt, its difference held to `most`. */
static nib_status count_prompt(double difference, double most, nib_export_check *check,
                               nib_error *err)
{
    if (!(difference <= check->greatest)) check->greatest = difference;
    check->prompts++;
    if (difference <= most) return NIB_OK;
    return nib_fail(err, NIB_E_MISMATCH, "the file written answers prompt %d with logits that "
                    "differ by %.3g of the largest, expected at most %g; --no-verify writes it all "
                    "the same", check->prompts, difference, most);
}

nib_status nib_export_open_written(const nib_model *m, const char *path, nib_model **w,
                                   nib_error *err)
{
    nib_model_options options = { .model = path, .compute_dtype = NIB_COMPUTE_FLOAT32 };
    nib_model_progress quiet = { 0 };
    nib_model *made = NULL;
    nib_status status = m->head ? nib_model_open(m->ctx, &options, NIB_F32, quiet, &made, err)
                                : nib_model_open_features(m->ctx, &options, NIB_F32, quiet, &made,
                                                          err);

    if (!status) status = nib_gguf_compare_graphs(m, made, err);
    if (status) nib_model_close(made);
    else *w = made;
    return status;
}

nib_status nib_export_verify(nib_model *m, nib_model *w, nib_tokenizer *t, double most,
                             nib_export_check *out, nib_error *err)
{
    nib_export_check check = { 0 };
    nib_tokenizer *tokenizers[2] = { t, NULL };
    nib_status status = t ? nib_tokenizer_open(m->ctx, w->dir, &tokenizers[1], err) : NIB_OK;

    for (size_t i = 0; i < NIB_COUNT(prompts) && !status; i++) {
        double difference = 0;
        status = check_prompt(m, w, tokenizers, i, &difference, err);
        if (!status) status = count_prompt(difference, most, &check, err);
    }
    nib_tokenizer_close(tokenizers[1]);
    if (!status) *out = check;
    return status;
}

static nib_status check_swapped(nib_model *m, nib_tokenizer *t, size_t prompt,
                                void (*swap)(void *self), void *self, double *difference,
                                nib_error *err)
{
    size_t v = row_width(m);
    float *logits = nib_new_array(m->ctx, 2 * TOKENS * v, sizeof *logits);
    uint32_t ids[TOKENS], count = 0;
    nib_status status;

    if (!logits) return nib_fail(err, NIB_E_NOMEM, "the logits of a prompt: out of memory");
    status = take_tokens(m->ctx, t, prompt, m->embedding->weight->out, ids, &count, err);
    if (!status && count) {
        status = run_logits(m, ids, count, logits, err);
        swap(self);
        if (!status) status = run_logits(m, ids, count, logits + TOKENS * v, err);
        swap(self);
        if (!status) *difference = compare(m, logits, logits + TOKENS * v, count);
    }
    nib_free(m->ctx, logits);
    return status;
}

nib_status nib_export_verify_swap(nib_model *m, nib_tokenizer *t, void (*swap)(void *self),
                                  void *self, double most, nib_export_check *out, nib_error *err)
{
    nib_export_check check = { 0 };
    nib_status status = NIB_OK;

    for (size_t i = 0; i < NIB_COUNT(prompts) && !status; i++) {
        double difference = 0;
        status = check_swapped(m, t, i, swap, self, &difference, err);
        if (!status) status = count_prompt(difference, most, &check, err);
    }
    if (!status) *out = check;
    return status;
}

nib_status nib_export_is_encoder(nib_ctx *ctx, const char *model, bool *encoder, nib_error *err)
{
    nib_config *config = NULL;
    json_t *json = NULL;
    nib_status status = nib_config_open(ctx, model, false, &json, &config, err);

    if (status) return status;
    *encoder = !(config->arch->tasks & 1 << NIB_TASK_CAUSAL_LM);
    nib_config_free(ctx, config);
    json_decref(json);
    return NIB_OK;
}
