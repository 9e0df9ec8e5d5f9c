/* generate_text.c - see generate_text.h. */
#include "job/generate_text.h"

nib_status nib_generated_open(nib_generated *g, nib_ctx *ctx, nib_tokenizer *t,
                              const nib_generate_options *options, nib_error *err)
{
    g->ctx = ctx;
    g->options = options;
    for (size_t i = 0; i < options->stop_count; i++)
        if (!*options->stop[i])
            return nib_fail(err, NIB_E_INVALID, "stop string %zu is empty", i + 1);
    if (!nib_grow(ctx, &g->text, &g->capacity, 1, 1))
        return nib_fail(err, NIB_E_NOMEM, "text: out of memory");
    *g->text = 0;
    g->tidy.on = nib_tokenizer_cleans_up(t);
    return nib_text_stream_create(t, true, &g->stream, err);
}

/* Where the first stop string begins in the text from `told` on; `bytes` when there is none.  None
 * can begin earlier: what may be the start of one is not given out. */
static size_t find_stop(const nib_generated *g)
{
    size_t first = g->bytes;

    for (size_t i = 0; i < g->options->stop_count; i++) {
        const char *stop = g->options->stop[i];
        const char *at = memmem(g->text + g->told, g->bytes - g->told, stop, strlen(stop));
        if (at && (size_t)(at - g->text) < first) first = (size_t)(at - g->text);
    }
    return first;
}

/* Bytes at the end of the text that a stop string may begin with. */
static size_t held_back(const nib_generated *g)
{
    size_t most = 0;

    for (size_t i = 0; i < g->options->stop_count; i++) {
        const char *stop = g->options->stop[i];
        size_t n = nib_min(strlen(stop) - 1, g->bytes - g->told);
        while (n > most && memcmp(g->text + g->bytes - n, stop, n) != 0) n--;
        most = nib_max(most, n);
    }
    return most;
}

static void tell(nib_generated *g, size_t end)
{
    size_t from = g->told;

    g->told = end;
    if (end > from && g->options->on_text &&
        !g->options->on_text(g->options->user, g->text + from, end - from))
        g->stopped = "callback";
}

/* Ends the text at `end`. */
static void cut(nib_generated *g, size_t end)
{
    g->bytes = end;
    g->text[end] = 0;
}

/* Keeps prompt and text as one, and tells whether one of the strings that the text ends behind has
 * just been completed. */
static nib_status look_behind(nib_generated *g, const char *text, size_t bytes, nib_error *err)
{
    size_t old = g->seen_bytes;

    if (!nib_grow(g->ctx, &g->seen, &g->seen_capacity, old + bytes + 1, 1))
        return nib_fail(err, NIB_E_NOMEM, "text of %zu bytes: out of memory", old + bytes);
    if (bytes) memcpy(g->seen + old, text, bytes);
    g->seen_bytes = old + bytes;
    for (size_t i = 0; i < g->stop_count && bytes; i++) {
        size_t n = strlen(g->stops[i]), from = old >= n ? old - n + 1 : 0;
        g->ended |= memmem(g->seen + from, g->seen_bytes - from, g->stops[i], n) != NULL;
    }
    return NIB_OK;
}

/* last: no text comes after this one. */
static nib_status add(nib_generated *g, const char *text, size_t bytes, bool last, nib_error *err)
{
    size_t stop, room = g->bytes + bytes + 2 * NIB_TIDY_HELD + 1;

    if (!nib_grow(g->ctx, &g->text, &g->capacity, room, 1))
        return nib_fail(err, NIB_E_NOMEM, "text of %zu bytes: out of memory", room);
    bytes = nib_tidy_push(&g->tidy, text, bytes, g->text + g->bytes);
    if (last) bytes += nib_tidy_finish(&g->tidy, g->text + g->bytes + bytes);
    cut(g, g->bytes + bytes);
    stop = find_stop(g);
    if (stop < g->bytes) {
        cut(g, stop);
        tell(g, stop);
        g->stopped = "stop";
        return NIB_OK;
    }
    tell(g, g->bytes - held_back(g));
    if (g->stopped) cut(g, g->told);
    return NIB_OK;
}

nib_status nib_generated_stop_behind(nib_generated *g, nib_tokenizer *t, char *const *stops,
                                     size_t count, const uint32_t *prompt, size_t tokens,
                                     nib_error *err)
{
    nib_text_stream *stream = NULL;
    nib_status status = nib_text_stream_create(t, true, &stream, err);

    g->stops = stops;
    g->stop_count = count;
    for (size_t i = 0; i < tokens && !status; i++) {
        const char *text;
        size_t bytes;
        status = nib_text_stream_push(stream, prompt[i], &text, &bytes, err);
        if (!status) status = look_behind(g, text, bytes, err);
    }
    g->ended = false; /* what the prompt holds ends nothing */
    nib_text_stream_destroy(stream);
    return status;
}

nib_status nib_generated_push(nib_generated *g, uint32_t id, nib_error *err)
{
    const char *text;
    size_t bytes;
    nib_status status = nib_text_stream_push(g->stream, id, &text, &bytes, err);

    if (!status && g->stop_count) status = look_behind(g, text, bytes, err);
    if (!status) status = add(g, text, bytes, false, err);
    if (!status && g->ended && !g->stopped) {
        status = nib_generated_finish(g, err);
        g->stopped = "stop";
    }
    return status;
}

nib_status nib_generated_finish(nib_generated *g, nib_error *err)
{
    const char *text;
    size_t bytes;
    nib_status status;

    if (g->stopped) return NIB_OK;
    status = nib_text_stream_finish(g->stream, &text, &bytes, err);
    if (!status) status = add(g, text, bytes, true, err);
    if (!status && !g->stopped) tell(g, g->bytes);
    return status;
}

void nib_generated_take(nib_generated *g, char **text, size_t *bytes)
{
    *text = g->text;
    *bytes = g->bytes;
    g->text = NULL;
    g->bytes = g->capacity = 0;
}

void nib_generated_close(nib_generated *g)
{
    if (!g->ctx) return;
    nib_text_stream_destroy(g->stream);
    nib_free(g->ctx, g->text);
    nib_free(g->ctx, g->seen);
    *g = (nib_generated){ 0 };
}
