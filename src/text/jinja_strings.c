/* jinja_strings.c - what Python's strings do, on UTF-8. */
#include "text/jinja_parts.h"

#include <utf8proc.h>

static bool strips(const char *p, size_t n, int32_t c, const jstr *chars)
{
    return chars ? jin_find(*chars, (jstr){ p, n }, 0) != SIZE_MAX : jin_space(c);
}

jval jin_strip(jstr s, const jstr *chars, bool left, bool right)
{
    int32_t c;
    size_t n;

    while (left && s.n) {
        n = jin_char(s.p, s.n, &c);
        if (!strips(s.p, n, c, chars)) break;
        s.p += n;
        s.n -= n;
    }
    while (right && s.n) {
        for (n = 1; n < s.n && n < 4 && ((unsigned char)s.p[s.n - n] & 0xc0) == 0x80;) n++;
        jin_char(s.p + s.n - n, n, &c);
        if (!strips(s.p + s.n - n, n, c, chars)) break;
        s.n -= n;
    }
    return (jval){ .t = J_STR, .u.s = s };
}

static jval fold(jmachine *m, jstr s)
{
    jbuf b = { 0 };
    int32_t c;

    for (size_t i = 0; i < s.n && !m->status;) {
        utf8proc_int32_t made[8];
        utf8proc_uint8_t bytes[4];
        int last = 0;
        utf8proc_ssize_t n;

        i += jin_char(s.p + i, s.n - i, &c);
        n = utf8proc_decompose_char(c, made, NIB_COUNT(made), UTF8PROC_CASEFOLD, &last);
        for (utf8proc_ssize_t k = 0; k < n; k++)
            jin_write(m, &b, (const char *)bytes, (size_t)utf8proc_encode_char(made[k], bytes));
    }
    return jin_take(&b);
}

jval jin_case(jmachine *m, jstr s, int how)
{
    jbuf b = { 0 };
    bool start = true;
    int32_t c;

    if (!jin_step(m, s.n / 4)) return (jval){ 0 };
    if (how == 'f') return fold(m, s);
    for (size_t i = 0, n; i < s.n && !m->status; i += n) {
        utf8proc_uint8_t bytes[4];
        utf8proc_ssize_t made;
        bool up = how == 'u' || (how != 'l' && start);
        n = jin_char(s.p + i, s.n - i, &c);
        if (how == 's')
            up = utf8proc_category(c) == UTF8PROC_CATEGORY_LL;
        else if (how == 'c')
            start = false;
        else if (how == 't')
            start = c < 128 ? !((c | 32) >= 'a' && (c | 32) <= 'z')
                            : utf8proc_category(c) > UTF8PROC_CATEGORY_LO;
        else if (how == 'T') start = jin_space(c) || (c < 128 && c && strchr("-({[<", c));
        if (c == 0xdf && up) { /* the one common letter whose capital is two */
            jin_write(m, &b, how == 'u' || how == 'T' || how == 's' ? "SS" : "Ss", 2);
            continue;
        }
        c = up ? (how == 't' || how == 'c' ? utf8proc_totitle(c) : utf8proc_toupper(c))
               : utf8proc_tolower(c);
        made = utf8proc_encode_char(c, bytes);
        jin_write(m, &b, (const char *)bytes, (size_t)made);
    }
    return jin_take(&b);
}

jval jin_replace(jmachine *m, jstr s, jstr from, jstr to, int64_t count)
{
    jbuf b = { 0 };
    size_t at = 0;

    for (int64_t i = 0; (count < 0 || i < count) && jin_step(m, 1); i++) {
        size_t hit = jin_find(s, from, at);
        int32_t c;
        size_t keep = 0;
        if (hit == SIZE_MAX) break;
        jin_write(m, &b, s.p + at, hit - at);
        jin_write(m, &b, to.p, to.n);
        at = hit + from.n;
        if (!from.n) { /* an empty text stands between all characters */
            if (at == s.n) break;
            keep = jin_char(s.p + at, s.n - at, &c);
            jin_write(m, &b, s.p + at, keep);
            at += keep;
        }
    }
    jin_write(m, &b, s.p + at, s.n - at);
    return jin_take(&b);
}

static void reverse(jlist *l)
{
    for (size_t i = 0; i < l->n / 2; i++) {
        jval v = l->v[i];
        l->v[i] = l->v[l->n - 1 - i];
        l->v[l->n - 1 - i] = v;
    }
}

static void split_spaces(jmachine *m, jlist *l, jstr s, int64_t max)
{
    while (!m->status) {
        size_t end = 0;
        int32_t c;
        s = jin_strip(s, NULL, true, false).u.s;
        if (!s.n) return;
        if (max >= 0 && (int64_t)l->n >= max) end = jin_strip(s, NULL, false, true).u.s.n;
        else
            for (size_t n; end < s.n; end += n) {
                n = jin_char(s.p + end, s.n - end, &c);
                if (jin_space(c)) break;
            }
        jin_push(m, l, (jval){ .t = J_STR, .u.s = { s.p, end } });
        s.p += end;
        s.n -= end;
        if (max >= 0 && (int64_t)l->n > max) return;
    }
}

/* From the right; the list is turned round in the end. */
static void split_spaces_right(jmachine *m, jlist *l, jstr s, int64_t max)
{
    while (!m->status) {
        size_t from;
        s = jin_strip(s, NULL, false, true).u.s;
        if (!s.n) return;
        if (max >= 0 && (int64_t)l->n >= max) {
            jin_push(m, l, jin_strip(s, NULL, true, false));
            return;
        }
        for (from = s.n; from; from--) {
            int32_t c;
            if (((unsigned char)s.p[from - 1] & 0xc0) == 0x80) continue; /* not a character's end */
            jin_char(s.p + from - 1, s.n - from + 1, &c);
            if (jin_space(c)) break;
        }
        if (from) { /* the space's own bytes end where the word begins */
            int32_t c;
            from += jin_char(s.p + from - 1, s.n - from + 1, &c) - 1;
        }
        jin_push(m, l, (jval){ .t = J_STR, .u.s = { s.p + from, s.n - from } });
        s.n = from;
    }
}

jval jin_split(jmachine *m, jstr s, const jstr *by, int64_t max, bool right)
{
    jval l = jin_list(m, J_LIST);

    if (m->status) return l;
    if (by && !by->n) return jin_fail(m, "split by an empty text");
    if (!by && right)
        split_spaces_right(m, l.u.l, s, max);
    else if (!by)
        split_spaces(m, l.u.l, s, max);
    for (; by && !m->status;) {
        size_t hit = SIZE_MAX;
        if (max < 0 || (int64_t)l.u.l->n < max) {
            if (!right) hit = jin_find(s, *by, 0);
            else
                for (size_t i = s.n + 1; hit == SIZE_MAX && i-- > 0 && jin_step(m, 1);)
                    if (i + by->n <= s.n && !memcmp(s.p + i, by->p, by->n)) hit = i;
        }
        if (hit == SIZE_MAX) {
            jin_push(m, l.u.l, (jval){ .t = J_STR, .u.s = s });
            break;
        }
        if (right) {
            jin_push(m, l.u.l,
                     (jval){ .t = J_STR, .u.s = { s.p + hit + by->n, s.n - hit - by->n } });
            s.n = hit;
        } else {
            jin_push(m, l.u.l, (jval){ .t = J_STR, .u.s = { s.p, hit } });
            s.p += hit + by->n;
            s.n -= hit + by->n;
        }
    }
    if (right && !m->status) reverse(l.u.l);
    return l;
}

jval jin_substr(jmachine *m, jstr s, int64_t from, int64_t to, int64_t step)
{
    jbuf b = { 0 };
    jlist *chars = jin_iterate(m, (jval){ .t = J_STR, .u.s = s });

    for (int64_t i = from; !m->status && (step > 0 ? i < to : i > to); i += step)
        jin_write(m, &b, chars->v[i].u.s.p, chars->v[i].u.s.n);
    return jin_take(&b);
}

/* Bytes of the line break at p; 0: there is none. */
static size_t line_break(const char *p, size_t n)
{
    int32_t c;
    size_t bytes = jin_char(p, n, &c);

    if (c == '\r' && n > 1 && p[1] == '\n') return 2;
    bool breaks = (c >= 10 && c <= 13) || (c >= 0x1c && c <= 0x1e) || c == 0x85 || c == 0x2028 ||
                  c == 0x2029;
    return breaks ? bytes : 0;
}

jval jin_lines(jmachine *m, jstr s, bool keep_ends)
{
    jval l = jin_list(m, J_LIST);
    size_t from = 0;

    for (size_t i = 0, n; i < s.n && !m->status; i += n) {
        int32_t c;
        size_t end = line_break(s.p + i, s.n - i);
        n = end ? end : jin_char(s.p + i, s.n - i, &c);
        if (!end) continue;
        jstr line = { s.p + from, i - from + (keep_ends ? n : 0) };
        jin_push(m, l.u.l, (jval){ .t = J_STR, .u.s = line });
        from = i + n;
    }
    if (from < s.n && !m->status)
        jin_push(m, l.u.l, (jval){ .t = J_STR, .u.s = { s.p + from, s.n - from } });
    return l;
}

static void put_many(jmachine *m, jbuf *b, jstr fill, int64_t count)
{
    for (int64_t i = 0; i < count && jin_step(m, 1); i++) jin_write(m, b, fill.p, fill.n);
}

jval jin_pad(jmachine *m, jstr s, int64_t width, jstr fill, char side)
{
    int64_t pad = width - (int64_t)jin_length(s), left = side == 'r' ? pad : 0;
    jbuf b = { 0 };

    if (jin_length(fill) != 1) return jin_fail(m, "padding with a text that is not one character");
    if (pad <= 0) return (jval){ .t = J_STR, .u.s = s };
    if (side == 'c') left = pad / 2 + (pad & width & 1);
    put_many(m, &b, fill, left);
    jin_write(m, &b, s.p, s.n);
    put_many(m, &b, fill, pad - left);
    return jin_take(&b);
}

/* As markupsafe does: text joined to |safe text by + is escaped, though nothing else is. */
void jin_write_escaped(jmachine *m, jbuf *out, jstr s, bool escape)
{
    static const char *const forms[] = {
        ['&'] = "&amp;", ['<'] = "&lt;", ['>'] = "&gt;", ['\''] = "&#39;", ['"'] = "&#34;"
    };

    for (size_t i = 0, n; i < s.n; i += n) {
        unsigned char c = (unsigned char)s.p[i];
        const char *form = escape && c < NIB_COUNT(forms) ? forms[c] : NULL;
        n = 1;
        if (form) {
            jin_write(m, out, form, strlen(form));
            continue;
        }
        while (i + n < s.n && !(escape && strchr("&<>'\"", s.p[i + n]))) n++;
        jin_write(m, out, s.p + i, n);
    }
}

jval jin_escape(jmachine *m, jval v)
{
    jbuf b = { 0 };

    if (v.t == J_STR && v.safe) return v;
    v = jin_text(m, v);
    if (m->status) return v;
    jin_write_escaped(m, &b, v.u.s, true);
    v = jin_take(&b);
    v.safe = true;
    return v;
}
