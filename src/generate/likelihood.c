/* likelihood.c - see likelihood.h.  The prompt's last token is run with the text behind it, for
 * the text's first token is predicted from it. */
#include "generate/likelihood.h"

#include <math.h>

/* log softmax(logits)[id], in double. */
static double log_probability(nib_logits l, uint32_t id)
{
    float most = l.values[0];
    double sum = 0;

    for (size_t i = 1; i < l.count; i++) most = fmaxf(most, l.values[i]);
    for (size_t i = 0; i < l.count; i++) sum += exp((double)l.values[i] - (double)most);
    return (double)l.values[id] - (double)most - log(sum);
}

/* The state comes to hold the first `count` tokens of the prompt. */
static nib_status hold(nib_decoder *d, nib_conversation c, const uint32_t *ids, size_t count,
                       size_t whole, nib_error *err)
{
    nib_state *s = c.state;
    size_t held;
    nib_status status = NIB_OK;

    /* Positions that depend on how long the sequence becomes are other ones for each text. */
    if (s->graph->length_switch || s->graph->length_grows) {
        nib_state_reset(s);
        s->reach = whole;
    }
    held = nib_state_truncate(s, nib_min(s->tokens, count));
    if (held < count) status = nib_decoder_read(d, c, ids + held, count - held, 1, err);
    if (!status && held < count) nib_state_mark(s);
    return status;
}

static nib_status score(nib_decoder *d, nib_conversation c, uint32_t last, nib_continuation *t,
                        nib_error *err)
{
    nib_status status = NIB_OK;

    t->log_likelihood = 0;
    for (size_t done = 0; done < t->count && !status;) {
        uint32_t piece[NIB_DOT_ROWS];
        size_t n = nib_min(t->count - done, (size_t)NIB_DOT_ROWS);
        piece[0] = done ? t->ids[done - 1] : last;
        memcpy(piece + 1, t->ids + done, (n - 1) * sizeof *piece);
        status = nib_decoder_try(d, c, piece, n, 0, err);
        for (size_t i = 0; i < n && !status; i++) {
            nib_logits logits;
            status = nib_decoder_logits(d, i, &logits, err);
            if (!status) t->log_likelihood += log_probability(logits, t->ids[done + i]);
        }
        done += n;
    }
    return status;
}

nib_status nib_likelihood(nib_decoder *d, nib_conversation c, const uint32_t *ids, size_t prompt,
                          nib_continuation *texts, size_t count, nib_error *err)
{
    nib_status status = NIB_OK;

    assert(prompt);
    nib_state_reset(c.state);
    for (size_t i = 0; i < count && !status; i++) {
        status = hold(d, c, ids, prompt - 1, prompt + texts[i].count - 1, err);
        if (!status) status = score(d, c, ids[prompt - 1], &texts[i], err);
    }
    return status;
}
