/* decode.c - from ids to text: the decoders over the tokens' contents, and streaming. */
#include <stdio.h>

#include "text/parts.h"
#include "text/tidy.h"
#include "text/utf8.h"

static nib_status no_memory(nib_error *err)
{
    return nib_fail(err, NIB_E_NOMEM, "decoding: out of memory");
}

/* The strings on their way: bytes one after another, with where each ends. */
typedef struct strings {
    nib_ctx *ctx;
    char *bytes;
    size_t used, byte_capacity;
    size_t *ends, count, end_capacity;
    bool good;
} strings;

static void put(strings *s, const char *p, size_t n)
{
    s->good = s->good && nib_grow(s->ctx, &s->bytes, &s->byte_capacity, s->used + n + 1, 1);
    if (!s->good || !n) return; /* p may be NULL */
    memcpy(s->bytes + s->used, p, n);
    s->used += n;
}

static void end_string(strings *s)
{
    s->good = s->good &&
              nib_grow(s->ctx, &s->ends, &s->end_capacity, s->count + 1, sizeof *s->ends);
    if (s->good) s->ends[s->count++] = s->used;
}

static size_t begin_of(const strings *s, size_t i) { return i ? s->ends[i - 1] : 0; }

static void free_strings(strings *s)
{
    nib_free(s->ctx, s->bytes);
    nib_free(s->ctx, s->ends);
}

/* Invalid sequences become U+FFFD, as many as the reference makes: one for each maximal part. */
static void put_lossy(strings *to, const char *p, size_t n)
{
    for (size_t i = 0; i < n;) {
        size_t length = nib_utf8_valid(p + i, n - i);
        if (length) {
            put(to, p + i, length);
            i += length;
            continue;
        }
        put(to, "\xef\xbf\xbd", 3);
        {   /* what could have begun a character is one error, however long */
            uint8_t b = (uint8_t)p[i];
            size_t want = b >= 0xf0 && b < 0xf5 ? 4 : b >= 0xe0 ? 3 : b >= 0xc2 ? 2 : 1, have = 1;
            if (b >= 0xf5) want = 1;
            while (have < want && i + have < n && ((uint8_t)p[i + have] & 0xc0) == 0x80) {
                uint8_t c = (uint8_t)p[i + have];
                if (have == 1 && ((b == 0xe0 && c < 0xa0) || (b == 0xed && c > 0x9f) ||
                                  (b == 0xf0 && c < 0x90) || (b == 0xf4 && c > 0x8f)))
                    break;
                have++;
            }
            i += have;
        }
    }
}

static void byte_level(const strings *from, strings *to)
{
    strings raw = { .ctx = from->ctx, .good = true };

    for (size_t i = 0; i < from->count; i++) {
        size_t begin = begin_of(from, i), end = from->ends[i], at = begin;
        bool mapped = true;

        for (; at < end && mapped; at += nib_utf8_length(from->bytes[at]))
            mapped = nib_char_to_byte(nib_utf8_read(from->bytes + at)) >= 0;
        if (!mapped) {
            put(&raw, from->bytes + begin, end - begin);
            continue;
        }
        for (at = begin; at < end; at += nib_utf8_length(from->bytes[at])) {
            char byte = (char)nib_char_to_byte(nib_utf8_read(from->bytes + at));
            put(&raw, &byte, 1);
        }
    }
    put_lossy(to, raw.bytes, raw.used);
    end_string(to);
    to->good = to->good && raw.good;
    free_strings(&raw);
}

static int byte_token(const char *p, size_t n)
{
    int value = 0;

    if (n != 6 || memcmp(p, "<0x", 3) != 0 || p[5] != '>') return -1;
    for (int i = 3; i < 5; i++) {
        char c = p[i];
        if (c >= '0' && c <= '9') value = value * 16 + c - '0';
        else if (c >= 'A' && c <= 'F') value = value * 16 + c - 'A' + 10;
        else return -1;
    }
    return value;
}

static bool is_utf8(const char *p, size_t n)
{
    for (size_t i = 0, length; i < n; i += length)
        if (!(length = nib_utf8_valid(p + i, n - i))) return false;
    return true;
}

/* Runs of byte tokens become characters; a run that is not UTF-8 one U+FFFD a byte. */
static void byte_fallback(const strings *from, strings *to)
{
    for (size_t i = 0, n; i < from->count; i += n) {
        size_t begin = to->used;

        for (n = 0; i + n < from->count; n++) {
            int b = byte_token(from->bytes + begin_of(from, i + n),
                               from->ends[i + n] - begin_of(from, i + n));
            if (b < 0) break;
            put(to, &(char){ (char)b }, 1);
        }
        if (n == 0) {
            put(to, from->bytes + begin_of(from, i), from->ends[i] - begin_of(from, i));
            n = 1;
        } else if (to->good && !is_utf8(to->bytes + begin, n)) {
            to->used = begin;
            for (size_t k = 0; k + 1 < n; k++) {
                put(to, "\xef\xbf\xbd", 3);
                end_string(to);
            }
            put(to, "\xef\xbf\xbd", 3);
        }
        end_string(to);
    }
}

static void strip(const nib_stage *s, const char *p, size_t n, strings *to)
{
    size_t begin = 0, end = n, c = s->content_bytes;

    for (int k = 0; k < s->start && end - begin >= c && memcmp(p + begin, s->content, c) == 0; k++)
        begin += c;
    for (int k = 0; k < s->stop && end - begin >= c && memcmp(p + end - c, s->content, c) == 0; k++)
        end -= c;
    put(to, p + begin, end - begin);
}

/* Marks become spaces; those of the first token vanish unless none is ever prepended. */
static void metaspace(const nib_stage *s, const char *p, size_t n, bool first, strings *to)
{
    for (size_t i = 0; i < n;) {
        if (n - i >= s->content_bytes && memcmp(p + i, s->content, s->content_bytes) == 0) {
            if (!first || s->prepend == NIB_PREPEND_NEVER) put(to, " ", 1);
            i += s->content_bytes;
        } else {
            put(to, p + i++, 1);
        }
    }
}

static nib_status replace(nib_tokenizer *t, const nib_stage *s, const char *p, size_t n,
                          strings *to, nib_error *err)
{
    size_t at = 0;
    nib_matches matches = { 0 };

    while (n) {
        nib_range found;
        bool yes;
        nib_status status = nib_pattern_next(t, s->pattern, p, n, &matches, &found, &yes, err);
        if (status) return status;
        if (!yes) break;
        put(to, p + at, found.begin - at);
        put(to, s->content, s->content_bytes);
        at = found.end;
    }
    put(to, p + at, n - at);
    return NIB_OK;
}

/* Every `from` becomes `to`, in place. */
static void substitute(strings *s, size_t begin, const char *from, const char *to)
{
    size_t n = strlen(from), m = strlen(to), used;
    char *rest;

    if (!s->good || n == 0) return;
    for (size_t i = begin; i + n <= s->used;) {
        if (memcmp(s->bytes + i, from, n) != 0) {
            i++;
            continue;
        }
        used = s->used - n + m;
        s->good = nib_grow(s->ctx, &s->bytes, &s->byte_capacity, nib_max(used, s->used) + 1, 1);
        if (!s->good) return;
        rest = s->bytes + i;
        memmove(rest + m, rest + n, s->used - i - n);
        memcpy(rest, to, m);
        s->used = used;
        i += m;
    }
}

/* What English writes together, in the string from `begin` on. */
static void clean_up(strings *s, size_t begin)
{
    static const char *const pairs[][2] = {
        { " .", "." }, { " ?", "?" }, { " !", "!" }, { " ,", "," }, { " ' ", "'" },
        { " n't", "n't" }, { " 'm", "'m" }, { " do not", " don't" }, { " 's", "'s" },
        { " 've", "'ve" }, { " 're", "'re" },
    };

    for (size_t i = 0; i < NIB_COUNT(pairs); i++)
        substitute(s, begin, pairs[i][0], pairs[i][1]);
}

/* Behind the first, a token loses the prefix or gains a space. */
static void wordpiece(const nib_stage *s, const char *p, size_t n, bool first, strings *to)
{
    size_t begin = to->used;

    if (first) put(to, p, n);
    else if (n >= s->content_bytes && memcmp(p, s->content, s->content_bytes) == 0)
        put(to, p + s->content_bytes, n - s->content_bytes);
    else {
        put(to, " ", 1);
        put(to, p, n);
    }
    if (s->cleanup) clean_up(to, begin);
}

/* A token that repeats the one before is dropped, and padding, and then what is empty. */
static void ctc(const nib_stage *s, const strings *from, strings *to)
{
    for (size_t i = 0; i < from->count; i++) {
        const char *p = from->bytes + begin_of(from, i), *last = NULL;
        size_t n = from->ends[i] - begin_of(from, i), begin = to->used;

        if (i) last = from->bytes + begin_of(from, i - 1);
        if (i && (size_t)(p - last) == n && memcmp(p, last, n) == 0) continue;
        put(to, p, n);
        substitute(to, begin, s->content, "");
        if (s->cleanup) {
            clean_up(to, begin);
            substitute(to, begin, s->delimiter, " ");
        }
        if (to->used > begin) end_string(to);
    }
}

static nib_status apply_each(nib_tokenizer *t, const nib_stage *s, const strings *from,
                             strings *to, nib_error *err)
{
    nib_status status = NIB_OK;

    for (size_t i = 0; i < from->count && !status; i++) {
        const char *p = from->bytes + begin_of(from, i);
        size_t n = from->ends[i] - begin_of(from, i), begin = to->used;

        switch (s->kind) {
        case NIB_STAGE_STRIP: strip(s, p, n, to); break;
        case NIB_STAGE_METASPACE: metaspace(s, p, n, i == 0, to); break;
        case NIB_STAGE_WORDPIECE: wordpiece(s, p, n, i == 0, to); break;
        case NIB_STAGE_SUFFIX:
            put(to, p, n);
            substitute(to, begin, s->content, i + 1 == from->count ? "" : " ");
            break;
        default: status = replace(t, s, p, n, to, err); break;
        }
        end_string(to);
    }
    return status;
}

static nib_status apply(nib_tokenizer *t, const nib_stage *s, const strings *from, strings *to,
                        nib_error *err)
{
    nib_status status = NIB_OK;

    if (s->kind == NIB_STAGE_BYTE_LEVEL) byte_level(from, to);
    else if (s->kind == NIB_STAGE_BYTE_FALLBACK) byte_fallback(from, to);
    else if (s->kind == NIB_STAGE_FUSE) {
        put(to, from->bytes, from->used);
        end_string(to);
    } else if (s->kind == NIB_STAGE_CTC) ctc(s, from, to);
    else status = apply_each(t, s, from, to, err);
    return status;
}

/* The text without clean_up_tokenization_spaces. */
static nib_status decode(nib_tokenizer *t, const uint32_t *ids, size_t count, bool skip_special,
                         char **out, size_t *out_bytes, nib_error *err)
{
    strings now = { .ctx = t->ctx, .good = true };
    nib_status status = NIB_OK;

    for (size_t i = 0; i < count; i++) {
        const char *content = nib_tokenizer_token(t, ids[i]);
        if (!content || (skip_special && t->special[ids[i]])) continue;
        if (now.count && t->decoders.count == 0) put(&now, " ", 1);
        put(&now, content, strlen(content));
        end_string(&now);
    }
    for (size_t i = 0; i < t->decoders.count && !status; i++) {
        strings next = { .ctx = t->ctx, .good = true };
        put(&next, "", 0);
        status = apply(t, &t->decoders.items[i], &now, &next, err);
        next.good = next.good && now.good;
        free_strings(&now);
        now = next;
    }
    put(&now, "", 0);
    if (!status && !now.good) status = no_memory(err);
    if (status) {
        free_strings(&now);
        return status;
    }
    now.bytes[now.used] = 0;
    *out = now.bytes;
    *out_bytes = now.used;
    nib_free(t->ctx, now.ends);
    return NIB_OK;
}

nib_status nib_tokenizer_decode(nib_tokenizer *t, const uint32_t *ids, size_t count,
                                bool skip_special, char **out, size_t *out_bytes, nib_error *err)
{
    nib_tidy tidy = { .on = t->cleans_up };
    nib_status status = decode(t, ids, count, skip_special, out, out_bytes, err);

    if (status) return status;
    *out_bytes = nib_tidy_push(&tidy, *out, *out_bytes, *out);
    *out_bytes += nib_tidy_finish(&tidy, *out + *out_bytes);
    (*out)[*out_bytes] = 0;
    return NIB_OK;
}

/* --- streaming: what a few last tokens add to the text before them --- */

struct nib_text_stream {
    nib_tokenizer *t;
    bool skip_special;
    uint32_t *ids;
    size_t count, capacity;
    size_t shown;     /* ids[0..shown) have been given out; they are kept as context */
    char *text;       /* of the last push */
};

nib_status nib_text_stream_create(nib_tokenizer *t, bool skip_special, nib_text_stream **out,
                                  nib_error *err)
{
    nib_text_stream *s = nib_new(t->ctx, sizeof *s);

    if (!s) return no_memory(err);
    *s = (nib_text_stream){ .t = t, .skip_special = skip_special };
    *out = s;
    return NIB_OK;
}

void nib_text_stream_destroy(nib_text_stream *s)
{
    if (!s) return;
    nib_free(s->t->ctx, s->ids);
    nib_free(s->t->ctx, s->text);
    nib_free(s->t->ctx, s);
}

/* Gives out what the ids after `shown` add; held back while it ends in an incomplete character. */
static nib_status advance(nib_text_stream *s, bool last, const char **text, size_t *bytes,
                          nib_error *err)
{
    char *before = NULL, *after = NULL;
    size_t before_bytes, after_bytes;
    nib_status status = decode(s->t, s->ids, s->shown, s->skip_special, &before, &before_bytes,
                               err);

    *text = "";
    *bytes = 0;
    if (!status)
        status = decode(s->t, s->ids, s->count, s->skip_special, &after, &after_bytes, err);
    if (!status && after_bytes > before_bytes &&
        (last || after_bytes < 3 || memcmp(after + after_bytes - 3, "\xef\xbf\xbd", 3) != 0)) {
        size_t keep = s->shown;
        nib_free(s->t->ctx, s->text);
        s->text = after;
        after = NULL;
        *text = s->text + before_bytes;
        *bytes = after_bytes - before_bytes;
        /* the new ids are the next context */
        memmove(s->ids, s->ids + keep, (s->count - keep) * sizeof *s->ids);
        s->count -= keep;
        s->shown = s->count;
    }
    nib_free(s->t->ctx, before);
    nib_free(s->t->ctx, after);
    return status;
}

nib_status nib_text_stream_push(nib_text_stream *s, uint32_t id, const char **text, size_t *bytes,
                                nib_error *err)
{
    if (!nib_grow(s->t->ctx, &s->ids, &s->capacity, s->count + 1, sizeof *s->ids))
        return no_memory(err);
    s->ids[s->count++] = id;
    return advance(s, false, text, bytes, err);
}

nib_status nib_text_stream_finish(nib_text_stream *s, const char **text, size_t *bytes,
                                  nib_error *err)
{
    return advance(s, true, text, bytes, err);
}
