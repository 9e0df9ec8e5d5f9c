/* squad.c - see squad.h. */
#include "job/squad.h"

#include <utf8proc.h>

#include "text/unicode_sets.h"
#include "text/utf8.h"

/* --- the form that is compared --- */

static bool is_cased(uint32_t c)
{
    utf8proc_category_t k = utf8proc_category((utf8proc_int32_t)c);

    return k == UTF8PROC_CATEGORY_LU || k == UTF8PROC_CATEGORY_LL || k == UTF8PROC_CATEGORY_LT;
}

/* Python's \w but for the underscore, which is punctuation and gone. */
static bool is_word(uint32_t c)
{
    utf8proc_category_t k = utf8proc_category((utf8proc_int32_t)c);

    return (k >= UTF8PROC_CATEGORY_LU && k <= UTF8PROC_CATEGORY_LO) ||
           (k >= UTF8PROC_CATEGORY_ND && k <= UTF8PROC_CATEGORY_NO);
}

static bool is_punctuation(uint32_t c)
{
    return c < 128 && ((c >= '!' && c <= '/') || (c >= ':' && c <= '@') || (c >= '[' && c <= '`') ||
                       (c >= '{' && c <= '~'));
}

/* Nothing that case is looked for across: marks, modifiers and what stands inside words. */
static bool is_ignored(uint32_t c)
{
    utf8proc_category_t k = utf8proc_category((utf8proc_int32_t)c);

    return k == UTF8PROC_CATEGORY_MN || k == UTF8PROC_CATEGORY_ME || k == UTF8PROC_CATEGORY_CF ||
           k == UTF8PROC_CATEGORY_LM || k == UTF8PROC_CATEGORY_SK || c == '\'' || c == '.' ||
           c == ':' || c == 0xb7 || c == 0x2018 || c == 0x2019 || c == 0x2024 || c == 0x2027;
}

/* A capital sigma at `at` that ends a word: Python makes another letter of it. */
static bool is_final(const char *text, size_t bytes, size_t at)
{
    size_t before = at, behind = at + 2;
    bool cased = false;

    while (before > 0 && !cased) {
        uint32_t c;
        before = nib_utf8_before(text, before);
        c = nib_utf8_read(text + before);
        cased = is_cased(c);
        if (!cased && !is_ignored(c)) return false;
    }
    if (!cased) return false;
    while (behind < bytes) {
        uint32_t c = nib_utf8_read(text + behind);
        if (is_cased(c)) return false;
        if (!is_ignored(c)) return true;
        behind += nib_utf8_length(text[behind]);
    }
    return true;
}

static void put(nib_text *out, uint32_t c)
{
    char room[4];

    nib_text_put(out, room, nib_utf8_write(c, room));
}

/* Lower case without punctuation. */
static void lower(const char *text, size_t bytes, nib_text *out)
{
    for (size_t at = 0; at < bytes; at += nib_utf8_length(text[at])) {
        uint32_t c = nib_utf8_read(text + at);
        if (is_punctuation(c)) continue;
        if (c == 0x3a3) put(out, is_final(text, bytes, at) ? 0x3c2 : 0x3c3);
        else put(out, nib_unicode_lower(c));
        if (c == 0x130) put(out, 0x307);
    }
}

static bool is_article(const char *word, size_t n)
{
    return (n == 1 && *word == 'a') || (n == 2 && memcmp(word, "an", 2) == 0) ||
           (n == 3 && memcmp(word, "the", 3) == 0);
}

/* A space where a blank or an article stands, but for those at the ends and behind another. */
static void put_words(const char *text, size_t bytes, nib_text *out)
{
    bool blank = false;

    for (size_t at = 0, end; at < bytes; at = end) {
        uint32_t c = nib_utf8_read(text + at);
        bool word = is_word(c);

        end = at + nib_utf8_length(text[at]);
        while (word && end < bytes && is_word(nib_utf8_read(text + end)))
            end += nib_utf8_length(text[end]);
        if ((word && is_article(text + at, end - at)) || (!word && nib_is_python_space(c))) {
            blank = true;
            continue;
        }
        if (blank && out->bytes) nib_text_put(out, " ", 1);
        blank = false;
        nib_text_put(out, text + at, end - at);
    }
}

void nib_squad_normalize(const char *text, size_t bytes, nib_text *out)
{
    nib_text plain = { .ctx = out->ctx };

    out->bytes = 0;
    lower(text, bytes, &plain);
    if (plain.bytes && !plain.failed) put_words(plain.data, plain.bytes, out);
    out->failed |= plain.failed;
    nib_text_free(&plain);
}

/* --- scores --- */

/* The next word from *at on; false: there is none. */
static bool next_word(const nib_text *t, size_t *at, size_t *begin)
{
    while (*at < t->bytes && t->data[*at] == ' ') ++*at;
    *begin = *at;
    while (*at < t->bytes && t->data[*at] != ' ') ++*at;
    return *at > *begin;
}

static size_t count_words(const nib_text *t)
{
    size_t n = 0, at = 0, begin;

    while (next_word(t, &at, &begin)) n++;
    return n;
}

/* Words of `a` that `b` has too, each as often as both have it; `b` loses them. */
static size_t count_common(const nib_text *a, nib_text *b)
{
    size_t common = 0, at = 0, begin;

    while (next_word(a, &at, &begin)) {
        size_t to = 0, first;
        while (next_word(b, &to, &first)) {
            if (to - first != at - begin ||
                memcmp(b->data + first, a->data + begin, to - first) != 0)
                continue;
            memset(b->data + first, ' ', to - first);
            common++;
            break;
        }
    }
    return common;
}

static nib_squad_score compare(const nib_text *answer, nib_text *right)
{
    size_t said = count_words(answer), wanted = count_words(right), common;
    nib_squad_score s = { .exact = answer->bytes == right->bytes &&
                                   (!answer->bytes ||
                                    memcmp(answer->data, right->data, answer->bytes) == 0) };
    double precision, recall;

    s.f1 = s.exact;
    if (!said || !wanted) return s;
    common = count_common(answer, right);
    precision = (double)common / (double)said;
    recall = (double)common / (double)wanted;
    s.f1 = common ? 2 * precision * recall / (precision + recall) : 0;
    return s;
}

nib_status nib_squad_best(nib_ctx *ctx, const char *answer, size_t bytes,
                          const char *const *right, size_t count, nib_squad_score *out,
                          nib_error *err)
{
    nib_text said = { .ctx = ctx }, wanted = { .ctx = ctx };
    bool any = false, failed;

    *out = (nib_squad_score){ 0 };
    nib_squad_normalize(answer, bytes, &said);
    for (size_t i = 0; i < count; i++) {
        nib_squad_score s;
        nib_squad_normalize(right[i], strlen(right[i]), &wanted);
        if (!wanted.bytes) continue;
        any = true;
        s = compare(&said, &wanted);
        out->exact |= s.exact;
        out->f1 = s.f1 > out->f1 ? s.f1 : out->f1;
    }
    if (!any) *out = (nib_squad_score){ !said.bytes, !said.bytes };
    failed = said.failed || wanted.failed;
    nib_text_free(&said);
    nib_text_free(&wanted);
    return failed ? nib_fail(err, NIB_E_NOMEM, "answers: out of memory") : NIB_OK;
}
