/* normalize_bert.c - the normalizers of encoders: the steps of BertNormalizer, Nmt, and
 * SentencePiece's Precompiled (formats-encoder.md 10.2, 10.5, 10.6). */
#include <utf8proc.h>

#include "text/charsmap.h"
#include "text/normalize_parts.h"
#include "text/unicode_sets.h"
#include "text/utf8.h"

/* --- BertNormalizer --- */

static bool is_chinese(uint32_t c)
{
    return c >= 0x3400 &&
           (c <= 0x4dbf || (c >= 0x4e00 && c <= 0x9fff) || (c >= 0xf900 && c <= 0xfaff) ||
            (c >= 0x20000 && c <= 0x2a6df) || (c >= 0x2a700 && c <= 0x2b81f) ||
            (c >= 0x2b920 && c <= 0x2ceaf) || (c >= 0x2f800 && c <= 0x2fa1f));
}

static bool clean(nib_tokenizer *t, size_t at, uint32_t c)
{
    if (c > 32 && c < 127) return nib_keep_character(t, at);
    if (c == 9 || c == 10 || c == 13) return nib_replace_character(t, at, " ", 1);
    if (nib_unicode_in(NIB_SET_CONTROLS, c) || c == 0) return true;
    return nib_is_space(c) ? nib_replace_character(t, at, " ", 1) : nib_keep_character(t, at);
}

static bool set_apart(nib_tokenizer *t, size_t at, uint32_t c)
{
    bool apart = is_chinese(c);

    return (!apart || nib_replace_character(t, at, " ", 1)) && nib_keep_character(t, at) &&
           (!apart || nib_replace_character(t, at, " ", 1));
}

/* --- Nmt --- */

static bool nmt(nib_tokenizer *t, size_t at, uint32_t c)
{
    bool goes = (c >= 1 && c <= 8) || c == 0xb || (c >= 0xe && c <= 0x1f) || c == 0x7f ||
                c == 0x8f || c == 0x9f,
         blank = c == 9 || c == 0xa || c == 0xc || c == 0xd || c == 0x1680 ||
                 (c >= 0x200b && c <= 0x200f) || c == 0x2028 || c == 0x2029 || c == 0x2581 ||
                 c == 0xfeff || c == 0xfffd;

    if (goes) return true;
    return blank ? nib_replace_character(t, at, " ", 1) : nib_keep_character(t, at);
}

bool nib_normalize_each(nib_tokenizer *t, nib_stage_kind kind)
{
    bool good = true;

    for (size_t i = 0; i < t->work.bytes && good; i += nib_utf8_length(t->work.text[i])) {
        uint32_t c = nib_utf8_read(t->work.text + i);

        switch (kind) {
        case NIB_STAGE_BERT_CLEAN: good = clean(t, i, c); break;
        case NIB_STAGE_BERT_CHINESE: good = set_apart(t, i, c); break;
        case NIB_STAGE_BERT_MARKS:
            good = nib_unicode_in(NIB_SET_NONSPACING, c) || nib_keep_character(t, i);
            break;
        case NIB_STAGE_STRIP_ACCENTS:
            good = nib_unicode_in(NIB_SET_MARKS, c) || nib_keep_character(t, i);
            break;
        default: good = nmt(t, i, c); break;
        }
    }
    return good;
}

/* --- Precompiled --- */

/* The library's list of characters, each with its change, of which the last one waits: what is
 * removed behind it is still counted to it. */
typedef struct changes {
    nib_tokenizer *t;
    size_t at;
    bool waits;
    uint32_t last;
    ptrdiff_t change;
} changes;

static bool push(changes *c, uint32_t character, ptrdiff_t change)
{
    bool good = !c->waits || nib_put_changed(c->t, &c->at, c->last, c->change);

    c->waits = true;
    c->last = character;
    c->change = change;
    return good;
}

/* `bytes` at p become `by`: more characters are new ones at the end, fewer are swallowed by the
 * last, which may be the one before, or are nobody's at the front of the text. */
static bool put_replacement(changes *c, const char *p, size_t bytes, const char *by)
{
    size_t old = nib_utf8_count(p, bytes), now = nib_utf8_count(by, strlen(by)), number = 0;
    bool good = true;

    for (; *by && good; by += nib_utf8_length(*by), number++)
        good = push(c, nib_utf8_read(by), number < old ? 0 : 1);
    if (now < old && c->waits) c->change -= (ptrdiff_t)(old - now);
    return good;
}

static bool put_cluster(changes *c, const nib_charsmap *map, const char *p, size_t bytes)
{
    const char *by = bytes < 6 ? nib_charsmap_find(map, p, bytes) : NULL;
    bool good = true;

    if (by) return put_replacement(c, p, bytes, by);
    for (size_t i = 0, n; i < bytes && good; i += n) {
        n = nib_utf8_length(p[i]);
        by = nib_charsmap_find(map, p + i, n);
        good = by ? put_replacement(c, p + i, n, by) : push(c, nib_utf8_read(p + i), 0);
    }
    return good;
}

/* Where the grapheme cluster that begins at `at` ends. */
static size_t cluster_end(const char *text, size_t bytes, size_t at)
{
    utf8proc_int32_t state = 0;
    size_t next = at + nib_utf8_length(text[at]);

    if ((uint8_t)text[at] < 0x80 && next < bytes && (uint8_t)text[next] < 0x80)
        return text[at] == '\r' && text[next] == '\n' ? next + 1 : next;
    while (next < bytes &&
           !utf8proc_grapheme_break_stateful((utf8proc_int32_t)nib_utf8_read(text + at),
                                             (utf8proc_int32_t)nib_utf8_read(text + next),
                                             &state)) {
        at = next;
        next += nib_utf8_length(text[next]);
    }
    return next;
}

bool nib_normalize_precompiled(nib_tokenizer *t, const nib_charsmap *map)
{
    const nib_work *in = &t->work;
    changes c = { .t = t };
    bool good = true;

    for (size_t i = 0, end; i < in->bytes && good; i = end) {
        end = cluster_end(in->text, in->bytes, i);
        good = put_cluster(&c, map, in->text + i, end - i);
    }
    return good && (!c.waits || nib_put_changed(t, &c.at, c.last, c.change));
}
