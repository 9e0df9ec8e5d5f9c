/* merge_answers.c - see merge_answers.h. */
#include "job/merge_answers.h"

#include "generate/decoder.h"
#include "text/special.h"

/* A model that answers. */
typedef struct speaker {
    nib_decoder *decoder;
    nib_state *state;
    uint8_t slot;
    uint32_t said[NIB_ANSWER_TOKENS];
    size_t count;
} speaker;

static uint32_t likeliest(nib_logits l)
{
    size_t best = 0;

    for (size_t i = 1; i < l.count; i++)
        if (l.values[i] > l.values[best] ||
            (l.values[i] == l.values[best] && l.ids && l.ids[i] < l.ids[best]))
            best = i;
    return l.ids ? l.ids[best] : (uint32_t)best;
}

static nib_status speak(speaker *s, const uint32_t *prompt, size_t length,
                        const nib_special_tokens *special, nib_error *err)
{
    nib_conversation c = { s->state, s->slot };
    nib_status status;

    s->count = 0;
    nib_state_reset(s->state);
    status = nib_decoder_read(s->decoder, c, prompt, length, 1, err);
    while (!status && s->count < NIB_ANSWER_TOKENS) {
        nib_logits logits;
        uint32_t id;
        status = nib_decoder_logits(s->decoder, 0, &logits, err);
        if (status) break;
        id = likeliest(logits);
        if (nib_special_ends(special, id)) break;
        s->said[s->count++] = id;
        if (s->count < NIB_ANSWER_TOKENS)
            status = nib_decoder_next(s->decoder, &c, &id, 1, 1, err);
    }
    return status;
}

static size_t prompt_length(const nib_record *r)
{
    size_t n = 0;

    while (n < r->length && !r->trained[n]) n++;
    return n > 1 ? n : r->length / 2;
}

static nib_status text_of(const nib_merge_records *r, const uint32_t *ids, size_t count, char **out,
                          nib_error *err)
{
    size_t bytes;

    return nib_tokenizer_decode(r->tokenizer, ids, count, true, out, &bytes, err);
}

static nib_status answer(const nib_merge_records *r, const nib_record *record, size_t length,
                         speaker two[2], nib_merge_answer *out, nib_error *err)
{
    const nib_special_tokens *special = nib_tokenizer_special(r->tokenizer);
    nib_status status = speak(&two[0], record->ids, length, special, err);

    if (!status) status = speak(&two[1], record->ids, length, special, err);
    if (!status) status = text_of(r, record->ids, length, &out->prompt, err);
    if (!status) status = text_of(r, two[0].said, two[0].count, &out->adapter, err);
    if (!status) status = text_of(r, two[1].said, two[1].count, &out->merged, err);
    out->same = two[0].count == two[1].count &&
                memcmp(two[0].said, two[1].said, two[0].count * sizeof *two[0].said) == 0;
    return status;
}

static nib_status open_speaker(nib_ctx *ctx, nib_model *m, size_t capacity, speaker *s,
                               nib_error *err)
{
    nib_status status = nib_decoder_create(ctx, m->graph, capacity, 1, &s->decoder, err);

    return status ? status : nib_state_create(ctx, m->graph, capacity, &s->state, err);
}

static void close_speaker(speaker *s)
{
    nib_decoder_destroy(s->decoder);
    nib_state_destroy(s->state);
}

nib_status nib_merge_answers(nib_ctx *ctx, nib_model *adapter, nib_model *merged,
                             const nib_merge_records *records, nib_merge_answer *list,
                             size_t *count, nib_error *err)
{
    size_t most = adapter->graph->positions,
           capacity = nib_min(records->longest + NIB_ANSWER_TOKENS, most);
    speaker two[2] = { { .slot = 0 }, { .slot = NIB_NO_SLOT } };
    nib_status status;

    *count = 0;
    if (!records->tokenizer || adapter->purpose.task != NIB_TASK_CAUSAL_LM) return NIB_OK;
    status = open_speaker(ctx, adapter, capacity, &two[0], err);
    if (!status) status = open_speaker(ctx, merged, capacity, &two[1], err);
    for (size_t i = 0; i < records->count && *count < NIB_MERGE_ANSWERS && !status;
         i++) {
        nib_record record = nib_dataset_record(records->set, i);
        size_t length = prompt_length(&record);
        if (!length || length + NIB_ANSWER_TOKENS > capacity) continue;
        list[*count] = (nib_merge_answer){ 0 };
        status = answer(records, &record, length, two, &list[(*count)++], err);
    }
    close_speaker(&two[0]);
    close_speaker(&two[1]);
    return status;
}

void nib_merge_answers_free(nib_ctx *ctx, nib_merge_answer *list, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        nib_free(ctx, list[i].prompt);
        nib_free(ctx, list[i].adapter);
        nib_free(ctx, list[i].merged);
    }
}
