/* ahead.c - pushing guesses, taking back the wrong ones. */
#include "generate/ahead.h"

nib_ahead nib_ahead_begin(nib_decoder *decoder, nib_conversation conversation, size_t guesses)
{
    return (nib_ahead){ .decoder = decoder, .conversation = conversation,
                        .lookup = nib_lookup_begin(guesses), .count = 1, .certain = 1 };
}

nib_status nib_ahead_logits(const nib_ahead *a, nib_logits *logits, nib_error *err)
{
    return nib_decoder_logits(a->decoder, a->at, logits, err);
}

bool nib_ahead_guessed(const nib_ahead *a, uint32_t id)
{
    return a->at + 1 < a->count && a->ids[a->at + 1] == id;
}

/* The text is about to become so long that all of it is rotated otherwise (longrope): it is read
 * again, as the reference does.  ids[count - 1] is still to come. */
static nib_status read_again(nib_ahead *a, const uint32_t *ids, size_t count, nib_error *err)
{
    nib_state *state = a->conversation.state;

    nib_state_reset(state);
    state->reach = count;
    return nib_decoder_read(a->decoder, a->conversation, ids, count - 1, 1, err);
}

nib_status nib_ahead_push(nib_ahead *a, const uint32_t *ids, size_t count, size_t room, size_t most,
                          nib_error *err)
{
    nib_state *state = a->conversation.state;
    size_t edge = state->graph->length_switch, plain = state->graph->length_grows, held, guesses;

    if (nib_ahead_guessed(a, ids[count - 1])) {
        a->at++; /* its logits are there */
        return NIB_OK;
    }
    if (a->count > a->certain)
        nib_lookup_learn(&a->lookup, a->count - a->certain, a->at + 1 - a->certain);
    /* Guesses that were right come again where the state could not be cut behind them. */
    held = nib_state_truncate(state, state->tokens - (a->count - 1 - a->at));
    if (edge && state->tokens == edge && state->reach <= edge) {
        nib_status status = read_again(a, ids, count, err);
        if (status) return status;
        held = state->tokens;
    }
    a->certain = count - held;
    assert(a->certain >= 1 && a->certain <= NIB_DOT_ROWS);
    if (edge && state->reach <= edge) room = nib_min(room, edge - count);
    /* With guesses the text would be longer than it is, and rotated as such. */
    if (plain) room = count < plain ? nib_min(room, plain - count) : 0;
    room = nib_min(room, NIB_DOT_ROWS - a->certain);
    memcpy(a->ids, ids + held, a->certain * sizeof *ids);
    guesses = nib_lookup_guess(&a->lookup, ids, count, room, a->ids + a->certain);
    if (guesses) nib_state_mark(state);
    a->count = a->certain + guesses;
    a->at = a->certain - 1;
    return nib_decoder_try(a->decoder, a->conversation, a->ids, a->count, most, err);
}
