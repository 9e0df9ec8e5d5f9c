/* normalize.c - the normalizers, each character keeping the range of the input it comes from. */
#include <utf8proc.h>

#include "text/parts.h"
#include "text/utf8.h"

static nib_status no_memory(nib_error *err)
{
    return nib_fail(err, NIB_E_NOMEM, "tokenizer: out of memory");
}

/* The result becomes the work; the pieces, one, cover it. */
static bool swap_work(nib_tokenizer *t)
{
    nib_work old = t->work;
    t->work = t->other;
    t->other = old;
    t->other.bytes = t->other.piece_count = 0;
    t->work.piece_count = 0;
    return nib_work_add_piece(t->ctx, &t->work, 0, t->work.bytes);
}

static bool keep(nib_tokenizer *t, size_t at, size_t n)
{
    return nib_work_add(t->ctx, &t->other, t->work.text + at, n, t->work.origin[at]);
}

/* What StripAccents takes for an accent: any mark, spacing ones too. */
static bool is_mark(uint32_t c)
{
    utf8proc_category_t k = utf8proc_category((utf8proc_int32_t)c);
    return k == UTF8PROC_CATEGORY_MN || k == UTF8PROC_CATEGORY_MC || k == UTF8PROC_CATEGORY_ME;
}

static nib_status each_character(nib_tokenizer *t, nib_stage_kind kind, nib_error *err)
{
    for (size_t i = 0; i < t->work.bytes;) {
        size_t n = nib_utf8_length(t->work.text[i]);
        uint32_t c = nib_utf8_read(t->work.text + i);
        char lower[4];
        bool good = true;

        if (kind == NIB_STAGE_LOWERCASE && c == 0x130) { /* the one that becomes two */
            good = nib_work_add(t->ctx, &t->other, "i\xcc\x87", 3, t->work.origin[i]);
        } else if (kind == NIB_STAGE_LOWERCASE) {
            size_t length = nib_utf8_write((uint32_t)utf8proc_tolower((utf8proc_int32_t)c), lower);
            good = nib_work_add(t->ctx, &t->other, lower, length, t->work.origin[i]);
        } else if (!is_mark(c)) {
            good = keep(t, i, n);
        }
        if (!good) return no_memory(err);
        i += n;
    }
    return NIB_OK;
}

/* An empty match has the end of the character before it. */
static nib_range origin_of_match(const nib_work *w, nib_range found)
{
    if (found.begin < found.end)
        return (nib_range){ w->origin[found.begin].begin, w->origin[found.end - 1].end };
    if (found.begin == 0) return (nib_range){ w->origin[0].begin, w->origin[0].begin };
    return w->origin[found.begin - 1];
}

static nib_status replace(nib_tokenizer *t, const nib_stage *s, nib_error *err)
{
    size_t at = 0;
    nib_matches matches = { 0 };

    for (bool yes = t->work.bytes > 0; yes;) {
        nib_range found;
        nib_status status = nib_pattern_next(t, s->pattern, t->work.text, t->work.bytes, &matches,
                                             &found, &yes, err);

        if (status) return status;
        if (!yes) found = (nib_range){ t->work.bytes, t->work.bytes };
        for (; at < found.begin; at += nib_utf8_length(t->work.text[at]))
            if (!keep(t, at, nib_utf8_length(t->work.text[at]))) return no_memory(err);
        if (yes) {
            nib_range origin = origin_of_match(&t->work, found);
            if (!nib_work_add(t->ctx, &t->other, s->content, s->content_bytes, origin))
                return no_memory(err);
            at = found.end;
        }
    }
    return NIB_OK;
}

static nib_status strip(nib_tokenizer *t, const nib_stage *s, nib_error *err)
{
    size_t begin = 0, end = t->work.bytes;

    while (s->left && begin < end && nib_utf8_is_space(t->work.text + begin))
        begin += nib_utf8_length(t->work.text[begin]);
    while (s->right && end > begin) {
        size_t last = end - 1;
        while (((uint8_t)t->work.text[last] & 0xc0) == 0x80) last--;
        if (!nib_utf8_is_space(t->work.text + last)) break;
        end = last;
    }
    for (size_t i = begin; i < end; i += nib_utf8_length(t->work.text[i]))
        if (!keep(t, i, nib_utf8_length(t->work.text[i]))) return no_memory(err);
    return NIB_OK;
}

static nib_status keep_all(nib_tokenizer *t, nib_error *err)
{
    for (size_t i = 0; i < t->work.bytes; i += nib_utf8_length(t->work.text[i]))
        if (!keep(t, i, nib_utf8_length(t->work.text[i]))) return no_memory(err);
    return NIB_OK;
}

static nib_status normalize_one(nib_tokenizer *t, const nib_stage *s, nib_error *err)
{
    const int compat = UTF8PROC_COMPAT;

    switch (s->kind) {
    case NIB_STAGE_NFC: return nib_unicode_form(t, UTF8PROC_COMPOSE, err);
    case NIB_STAGE_NFD: return nib_unicode_form(t, UTF8PROC_DECOMPOSE, err);
    case NIB_STAGE_NFKC: return nib_unicode_form(t, UTF8PROC_COMPOSE | compat, err);
    case NIB_STAGE_NFKD: return nib_unicode_form(t, UTF8PROC_DECOMPOSE | compat, err);
    case NIB_STAGE_LOWERCASE: case NIB_STAGE_STRIP_ACCENTS: return each_character(t, s->kind, err);
    case NIB_STAGE_REPLACE: return replace(t, s, err);
    case NIB_STAGE_STRIP: return strip(t, s, err);
    case NIB_STAGE_PREPEND: /* takes the range of the first character */
        if (t->work.bytes &&
            !nib_work_add(t->ctx, &t->other, s->content, s->content_bytes, t->work.origin[0]))
            return no_memory(err);
        return keep_all(t, err);
    default: assert(!"a normalizer"); return NIB_OK;
    }
}

nib_status nib_normalize(nib_tokenizer *t, nib_error *err)
{
    nib_status status = NIB_OK;

    for (size_t i = 0; i < t->normalizers.count && !status; i++) {
        status = normalize_one(t, &t->normalizers.items[i], err);
        if (!status && !swap_work(t)) status = no_memory(err);
    }
    return status;
}
