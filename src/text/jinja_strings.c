/* jinja_strings.c - what Python's strings do, on UTF-8. */
#include "text/jinja_parts.h"

#include <utf8proc.h>

size_t jin_char(const char *p, size_t n, int32_t *c)
{
    utf8proc_ssize_t got = utf8proc_iterate((const utf8proc_uint8_t *)p,
                                            (utf8proc_ssize_t)nib_min(n, 4), c);

    if (got > 0) return (size_t)got;
    *c = (unsigned char)*p;
    return 1;
}

size_t jin_length(jstr s)
{
    size_t count = 0;
    int32_t c;
    for (size_t i = 0; i < s.n; count++) i += jin_char(s.p + i, s.n - i, &c);
    return count;
}

bool jin_space(int32_t c)
{
    if (c <= 0x20) return c == ' ' || (c >= 9 && c <= 13) || (c >= 0x1c && c <= 0x1f);
    return c == 0x85 || c == 0xa0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 ||
           c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

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

jval jin_case(jmachine *m, jstr s, int how)
{
    jbuf b = { 0 };
    bool start = true;
    int32_t c;

    if (!jin_step(m, s.n / 4)) return (jval){ 0 };
    for (size_t i = 0, n; i < s.n && !m->status; i += n) {
        utf8proc_uint8_t bytes[4];
        utf8proc_ssize_t made;
        bool up = how == 'u' || (how != 'l' && start);
        n = jin_char(s.p + i, s.n - i, &c);
        if (how == 'c') start = false;
        else if (how == 't')
            start = c < 128 ? !((c | 32) >= 'a' && (c | 32) <= 'z')
                            : utf8proc_category(c) > UTF8PROC_CATEGORY_LO;
        else if (how == 'T') start = jin_space(c) || (c < 128 && c && strchr("-({[<", c));
        if (c == 0xdf && up) { /* the one common letter whose capital is two */
            jin_write(m, &b, how == 'u' || how == 'T' ? "SS" : "Ss", 2);
            continue;
        }
        c = up ? (how == 'u' || how == 'T' ? utf8proc_toupper(c) : utf8proc_totitle(c))
               : utf8proc_tolower(c);
        made = utf8proc_encode_char(c, bytes);
        jin_write(m, &b, (const char *)bytes, (size_t)made);
    }
    return jin_take(&b);
}

size_t jin_find(jstr s, jstr what, size_t from)
{
    const char *hit;

    if (from > s.n) return SIZE_MAX;
    if (!what.n) return from;
    hit = s.n > from ? memmem(s.p + from, s.n - from, what.p, what.n) : NULL;
    return hit ? (size_t)(hit - s.p) : SIZE_MAX;
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

jval jin_split(jmachine *m, jstr s, const jstr *by, int64_t max, bool right)
{
    jval l = jin_list(m, J_LIST);

    if (m->status) return l;
    if (by && !by->n) return jin_fail(m, "split by an empty text");
    if (!by && right && max >= 0)
        return jin_fail(m, "rsplit with a limit and no separator is not supported");
    if (!by) split_spaces(m, l.u.l, s, max);
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
            jin_push(m, l.u.l, (jval){ .t = J_STR, .u.s = { s.p + hit + by->n, s.n - hit - by->n } });
            s.n = hit;
        } else {
            jin_push(m, l.u.l, (jval){ .t = J_STR, .u.s = { s.p, hit } });
            s.p += hit + by->n;
            s.n -= hit + by->n;
        }
    }
    if (right && by && !m->status) reverse(l.u.l);
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
