/* normalize.c - the normalizers, each character keeping the range of the input it comes from. */
#include <utf8proc.h>

#include "text/normalize_parts.h"
#include "text/unicode_sets.h"
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

static bool lowercase(nib_tokenizer *t)
{
    bool good = true;

    for (size_t i = 0; i < t->work.bytes && good; i += nib_utf8_length(t->work.text[i])) {
        uint32_t c = nib_utf8_read(t->work.text + i);
        char lower[4];

        if (c == 0x130) /* the one that becomes two */
            good = nib_replace_character(t, i, "i\xcc\x87", 3);
        else
            good = nib_replace_character(t, i, lower,
                                         nib_utf8_write(nib_unicode_lower(c), lower));
    }
    return good;
}

/* Bytes become the characters of byte-level vocabularies. */
static bool map_bytes(nib_tokenizer *t)
{
    bool good = true;

    for (size_t i = 0; i < t->work.bytes && good; i++) {
        char mapped[4];
        size_t n = nib_utf8_write(nib_byte_to_char((uint8_t)t->work.text[i]), mapped);

        good = nib_replace_character(t, i, mapped, n);
    }
    return good;
}

/* What replaces a match has the range of the match's last character; an empty one that of the
 * character before. */
static nib_range origin_of_match(const nib_work *w, nib_range found)
{
    if (found.end) return w->origin[found.end - 1];
    return (nib_range){ w->origin[0].begin, w->origin[0].begin };
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
            if (!nib_keep_character(t, at)) return no_memory(err);
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
        if (!nib_keep_character(t, i)) return no_memory(err);
    return NIB_OK;
}

static nib_status keep_all(nib_tokenizer *t, nib_error *err)
{
    for (size_t i = 0; i < t->work.bytes; i += nib_utf8_length(t->work.text[i]))
        if (!nib_keep_character(t, i)) return no_memory(err);
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
    case NIB_STAGE_LOWERCASE: return lowercase(t) ? NIB_OK : no_memory(err);
    case NIB_STAGE_BERT_CLEAN:
    case NIB_STAGE_BERT_CHINESE:
    case NIB_STAGE_BERT_MARKS:
    case NIB_STAGE_STRIP_ACCENTS:
    case NIB_STAGE_NMT: return nib_normalize_each(t, s->kind) ? NIB_OK : no_memory(err);
    case NIB_STAGE_BYTE_LEVEL: return map_bytes(t) ? NIB_OK : no_memory(err);
    case NIB_STAGE_PRECOMPILED:
        if (!s->charsmap) return keep_all(t, err);
        return nib_normalize_precompiled(t, s->charsmap) ? NIB_OK : no_memory(err);
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
