/* jinja_methods.c - the methods of strings, mappings and lists that do not change them. */
#include "text/jinja_parts.h"

#include <utf8proc.h>

/* --- strings --- */

typedef jval string_method(jmachine *m, jstr s, jstr name, const jval *a);

static jval text_of(jstr s)
{
    return (jval){ .t = J_STR, .u.s = s };
}

/* s[start:end] as find, count and startswith take it: None is left out, a negative one counts from
 * the end.  *at: where it begins.  false: failed, or the range is empty beyond the end. */
static bool window(jmachine *m, jstr *s, jval start, jval end, int64_t *at)
{
    int64_t n = (int64_t)jin_length(*s), from, to;
    size_t begin;

    if (start.t == J_NONE) start.t = J_ABSENT;
    if (end.t == J_NONE) end.t = J_ABSENT;
    if (!jin_whole(m, start, "a position", 0, &from) || !jin_whole(m, end, "a position", n, &to))
        return false;
    if (from < 0) from = jin_most(from + n, 0);
    if (to < 0) to = jin_most(to + n, 0);
    to = jin_least(to, n);
    if (from > to) return false;
    begin = jin_offset(*s, from);
    s->n = jin_offset(*s, to) - begin;
    s->p += begin;
    *at = from;
    return true;
}

static jval count_of(jmachine *m, jstr s, jstr what)
{
    int64_t count = 0;

    if (!what.n) return jin_int((int64_t)jin_length(s) + 1);
    for (size_t at = 0; (at = jin_find(s, what, at)) != SIZE_MAX && jin_step(m, 1); at += what.n)
        count++;
    return jin_int(count);
}

static jval find(jmachine *m, jstr s, jstr name, const jval *a)
{
    jstr what;
    int64_t from = 0;
    size_t at = SIZE_MAX;
    bool inside, last = *name.p == 'r';

    if (!jin_words(m, a[0], "find, index or count", "", &what)) return jin_none();
    inside = window(m, &s, a[1], a[2], &from);
    if (m->status) return jin_none();
    if (jin_is(name, "count")) return inside ? count_of(m, s, what) : jin_int(0);
    if (inside) at = last ? jin_find_last(s, what) : jin_find(s, what, 0);
    if (at != SIZE_MAX) return jin_int(from + (int64_t)jin_length((jstr){ s.p, at }));
    return jin_is(name, "index") || jin_is(name, "rindex")
               ? jin_fail(m, "%.*s: not in the text", (int)name.n, name.p)
               : jin_int(-1);
}

static bool touches(jstr s, jstr with, bool start)
{
    if (with.n > s.n) return false;
    return !with.n || !memcmp(start ? s.p : s.p + s.n - with.n, with.p, with.n);
}

static jval ends(jmachine *m, jstr s, jstr name, const jval *a)
{
    bool start = *name.p == 's', inside, holds = false;
    int64_t at;

    if (a[0].t != J_STR && a[0].t != J_TUPLE)
        return jin_fail(m, "%.*s of a %s", (int)name.n, name.p, jin_type_name(a[0]));
    inside = window(m, &s, a[1], a[2], &at);
    if (a[0].t == J_STR) return jin_bool(inside && touches(s, a[0].u.s, start));
    for (size_t i = 0; i < a[0].u.l->n && !holds; i++) {
        jval one = a[0].u.l->v[i];
        if (one.t != J_STR)
            return jin_fail(m, "%.*s of a %s", (int)name.n, name.p, jin_type_name(one));
        holds = inside && touches(s, one.u.s, start);
    }
    return jin_bool(holds);
}

static jval strip(jmachine *m, jstr s, jstr name, const jval *a)
{
    jstr chars;
    bool given = a[0].t != J_ABSENT && a[0].t != J_NONE;

    if (given && !jin_words(m, a[0], "strip", "", &chars)) return jin_none();
    return jin_strip(s, given ? &chars : NULL, *name.p != 'r', *name.p != 'l');
}

static jval split(jmachine *m, jstr s, jstr name, const jval *a)
{
    jstr by;
    int64_t most;
    bool given = a[0].t != J_ABSENT && a[0].t != J_NONE;

    if ((given && !jin_words(m, a[0], "split", "", &by)) || !jin_whole(m, a[1], "split", -1, &most))
        return jin_none();
    return jin_split(m, s, given ? &by : NULL, most, *name.p == 'r');
}

static jval partition(jmachine *m, jstr s, jstr name, const jval *a)
{
    jval all = jin_list(m, J_TUPLE);
    jstr by, part[3] = { s, { "", 0 }, { "", 0 } };
    bool right = *name.p == 'r';
    size_t at;

    if (!jin_words(m, a[0], "partition", "", &by)) return all;
    if (!by.n) return jin_fail(m, "partition by an empty text");
    at = right ? jin_find_last(s, by) : jin_find(s, by, 0);
    if (at != SIZE_MAX) {
        part[0] = (jstr){ s.p, at };
        part[1] = by;
        part[2] = (jstr){ s.p + at + by.n, s.n - at - by.n };
    } else if (right) {
        part[2] = s;
        part[0] = part[1];
    }
    for (int i = 0; i < 3 && !m->status; i++) jin_push(m, all.u.l, text_of(part[i]));
    return all;
}

static jval replace(jmachine *m, jstr s, jstr name, const jval *a)
{
    jstr from, to;
    int64_t count;

    (void)name;
    if (!jin_words(m, a[0], "replace", "", &from) || !jin_words(m, a[1], "replace", "", &to) ||
        !jin_whole(m, a[2], "replace", -1, &count))
        return jin_none();
    return jin_replace(m, s, from, to, count);
}

static jval cased(jmachine *m, jstr s, jstr name, const jval *a)
{
    (void)a;
    return jin_case(m, s, jin_is(name, "casefold") ? 'f' : *name.p);
}

static jval lines(jmachine *m, jstr s, jstr name, const jval *a)
{
    (void)name;
    return jin_lines(m, s, jin_truth(jin_or(a[0], jin_bool(false))));
}

static jval join(jmachine *m, jstr s, jstr name, const jval *a)
{
    jbuf b = { 0 };
    jlist *l = jin_iterate(m, a[0]);

    (void)name;
    for (size_t i = 0; l && i < l->n && !m->status; i++) {
        if (l->v[i].t != J_STR) return jin_fail(m, "join of a %s", jin_type_name(l->v[i]));
        if (i) jin_write(m, &b, s.p, s.n);
        jin_write(m, &b, l->v[i].u.s.p, l->v[i].u.s.n);
    }
    return jin_take(&b);
}

static jval remove_end(jmachine *m, jstr s, jstr name, const jval *a)
{
    bool prefix = jin_is(name, "removeprefix");
    jstr end;

    if (!jin_words(m, a[0], "removeprefix or removesuffix", "", &end)) return jin_none();
    if (touches(s, end, prefix)) s.n -= end.n, s.p += prefix ? end.n : 0;
    return text_of(s);
}

static jval pad(jmachine *m, jstr s, jstr name, const jval *a)
{
    jstr fill;
    int64_t width;

    if (!jin_whole(m, a[0], "a width", 0, &width) || !jin_words(m, a[1], "padding", " ", &fill))
        return jin_none();
    return jin_pad(m, s, width, fill, *name.p);
}

static jval zfill(jmachine *m, jstr s, jstr name, const jval *a)
{
    bool sign = s.n && (*s.p == '-' || *s.p == '+');
    jbuf b = { 0 };
    int64_t width;
    jval digits;

    (void)name;
    if (!jin_whole(m, a[0], "zfill", 0, &width)) return jin_none();
    jin_write(m, &b, s.p, sign);
    digits = jin_pad(m, (jstr){ s.p + sign, s.n - sign }, width - sign, (jstr){ "0", 1 }, 'r');
    if (!m->status) jin_write(m, &b, digits.u.s.p, digits.u.s.n);
    return jin_take(&b);
}

static jval expand_tabs(jmachine *m, jstr s, jstr name, const jval *a)
{
    jbuf b = { 0 };
    int64_t size, column = 0;
    int32_t c;

    (void)name;
    if (!jin_whole(m, a[0], "expandtabs", 8, &size)) return jin_none();
    for (size_t i = 0, n; i < s.n && jin_step(m, 1); i += n) {
        n = jin_char(s.p + i, s.n - i, &c);
        if (c == '\t') {
            for (int64_t k = size > 0 ? size - column % size : 0; k > 0 && jin_step(m, 1);
                 k--, column++)
                jin_write(m, &b, " ", 1);
            continue;
        }
        jin_write(m, &b, s.p + i, n);
        column = c == '\n' || c == '\r' ? 0 : column + 1;
    }
    return jin_take(&b);
}

/* Characters that are digits to Python and not in category Nd: superscripts, circled ones, ... */
static bool is_other_digit(int32_t c)
{
    static const int32_t ranges[][2] = {
        { 0xb2, 0xb3 },       { 0xb9, 0xb9 },       { 0x1369, 0x1371 },   { 0x19da, 0x19da },
        { 0x2070, 0x2070 },   { 0x2074, 0x2079 },   { 0x2080, 0x2089 },   { 0x2460, 0x2468 },
        { 0x2474, 0x247c },   { 0x2488, 0x2490 },   { 0x24ea, 0x24ea },   { 0x24f5, 0x24fd },
        { 0x24ff, 0x24ff },   { 0x2776, 0x277e },   { 0x2780, 0x2788 },   { 0x278a, 0x2792 },
        { 0x10a40, 0x10a43 }, { 0x10e60, 0x10e68 }, { 0x11052, 0x1105a }, { 0x1f100, 0x1f10a }
    };

    for (size_t i = 0; i < NIB_COUNT(ranges); i++)
        if (c >= ranges[i][0] && c <= ranges[i][1]) return true;
    return false;
}

static bool is_of_kind(jstr name, int32_t c)
{
    utf8proc_category_t k = utf8proc_category(c);
    bool letter = k >= UTF8PROC_CATEGORY_LU && k <= UTF8PROC_CATEGORY_LO;

    if (jin_is(name, "isspace")) return jin_space(c);
    if (jin_is(name, "isascii")) return c < 128;
    if (jin_is(name, "isalpha")) return letter;
    if (jin_is(name, "isdecimal")) return k == UTF8PROC_CATEGORY_ND;
    if (jin_is(name, "isdigit")) return k == UTF8PROC_CATEGORY_ND || is_other_digit(c);
    return letter || (k >= UTF8PROC_CATEGORY_ND && k <= UTF8PROC_CATEGORY_NO); /* isalnum */
}

static jval all_of(jmachine *m, jstr s, jstr name, const jval *a)
{
    int32_t c;

    (void)m, (void)a;
    for (size_t i = 0; i < s.n;) {
        i += jin_char(s.p + i, s.n - i, &c);
        if (!is_of_kind(name, c)) return jin_bool(false);
    }
    return jin_bool(s.n > 0 || jin_is(name, "isascii"));
}

static jval is_cased(jmachine *m, jstr s, jstr name, const jval *a)
{
    bool wants_upper = jin_is(name, "isupper"), any = false;
    int32_t c;

    (void)m, (void)a;
    for (size_t i = 0; i < s.n;) {
        i += jin_char(s.p + i, s.n - i, &c);
        utf8proc_category_t k = utf8proc_category(c);
        bool up = k == UTF8PROC_CATEGORY_LU, low = k == UTF8PROC_CATEGORY_LL;
        if (k == UTF8PROC_CATEGORY_LT || (wants_upper ? low : up)) return jin_bool(false);
        any |= up || low;
    }
    return jin_bool(any);
}

static const struct {
    const char *name, *signature;
    string_method *run;
} of_strings[] = { { "split", "sep? maxsplit?", split },
                   { "rsplit", "sep? maxsplit?", split },
                   { "strip", "chars? /", strip },
                   { "lstrip", "chars? /", strip },
                   { "rstrip", "chars? /", strip },
                   { "startswith", "prefix start? end? /", ends },
                   { "endswith", "suffix start? end? /", ends },
                   { "replace", "old new / count?", replace },
                   { "find", "sub start? end? /", find },
                   { "rfind", "sub start? end? /", find },
                   { "index", "sub start? end? /", find },
                   { "rindex", "sub start? end? /", find },
                   { "count", "sub start? end? /", find },
                   { "partition", "sep /", partition },
                   { "rpartition", "sep /", partition },
                   { "upper", "", cased },
                   { "lower", "", cased },
                   { "title", "", cased },
                   { "capitalize", "", cased },
                   { "swapcase", "", cased },
                   { "casefold", "", cased },
                   { "join", "iterable /", join },
                   { "splitlines", "keepends?", lines },
                   { "removeprefix", "prefix /", remove_end },
                   { "removesuffix", "suffix /", remove_end },
                   { "ljust", "width fillchar? /", pad },
                   { "rjust", "width fillchar? /", pad },
                   { "center", "width fillchar? /", pad },
                   { "zfill", "width /", zfill },
                   { "expandtabs", "tabsize?", expand_tabs },
                   { "isdigit", "", all_of },
                   { "isdecimal", "", all_of },
                   { "isspace", "", all_of },
                   { "isalpha", "", all_of },
                   { "isalnum", "", all_of },
                   { "isascii", "", all_of },
                   { "islower", "", is_cased },
                   { "isupper", "", is_cased } };

static jval call_of_string(jmachine *m, jstr s, jstr name, const jargs *a)
{
    jval bound[NIB_JINJA_PARAMETERS];

    if (!jin_step(m, s.n / 8)) return jin_none();
    if (jin_is(name, "format")) return jin_format(m, s, a);
    for (size_t i = 0; i < NIB_COUNT(of_strings); i++)
        if (jin_is(name, of_strings[i].name))
            return jin_bind(m, a, of_strings[i].name, of_strings[i].signature, bound)
                       ? of_strings[i].run(m, s, name, bound)
                       : jin_none();
    return jin_fail(m, "a string has no method '%.*s'", (int)nib_min(name.n, 60), name.p);
}

/* --- mappings and lists --- */

static const char *const of_dicts[] = { "get", "items", "keys", "values", "copy", NULL };
static const char *const of_lists[] = { "index",  "count", "append",  "extend", "insert", "pop",
                                        "remove", "copy",  "reverse", "sort",   "clear",  NULL };
static const char *const of_tuples[] = { "index", "count", NULL };
static const char *const of_loops[] = { "cycle", "changed", NULL };

bool jin_has_method(jval self, jstr name)
{
    const char *const *list = self.t == J_DICT    ? of_dicts
                              : self.t == J_LIST  ? of_lists
                              : self.t == J_TUPLE ? of_tuples
                              : self.t == J_LOOP  ? of_loops
                                                  : NULL;

    for (size_t i = 0; self.t == J_STR && i < NIB_COUNT(of_strings); i++)
        if (jin_is(name, of_strings[i].name)) return true;
    if (self.t == J_STR) return jin_is(name, "format");
    for (; list && *list; list++)
        if (jin_is(name, *list)) return true;
    return false;
}

static jval call_of_dict(jmachine *m, jdict *d, jstr name, const jargs *a)
{
    jval bound[NIB_JINJA_PARAMETERS], l;
    bool get = jin_is(name, "get");

    if (!jin_bind(m, a, get ? "get" : "a method of a mapping", get ? "key default? /" : "", bound))
        return jin_none();
    if (get) {
        jval *found = jin_get(m, d, bound[0]);
        return found ? *found : jin_or(bound[1], jin_none());
    }
    if (jin_is(name, "copy")) {
        jval copy = jin_dict(m);
        for (size_t i = 0; i < d->n && !m->status; i++) jin_put(m, copy.u.d, d->k[i], d->v[i]);
        return copy;
    }
    l = jin_list(m, J_LIST);
    for (size_t i = 0; i < d->n && !m->status; i++) {
        jval pair = jin_is(name, "items")  ? jin_list(m, J_TUPLE)
                    : jin_is(name, "keys") ? d->k[i]
                                           : d->v[i];
        if (jin_is(name, "items") && !m->status)
            jin_push(m, pair.u.l, d->k[i]), jin_push(m, pair.u.l, d->v[i]);
        if (!m->status) jin_push(m, l.u.l, pair);
    }
    return l;
}

static jval call_of_list(jmachine *m, jval self, jstr name, const jargs *a)
{
    jval bound[NIB_JINJA_PARAMETERS], copy;
    jlist *l = self.u.l;
    int64_t from, to, n = (int64_t)l->n, count = 0;

    if (jin_is(name, "copy")) {
        copy = jin_list(m, J_LIST);
        if (!jin_bind(m, a, "copy", "", bound)) return copy;
        for (size_t i = 0; i < l->n && !m->status; i++) jin_push(m, copy.u.l, l->v[i]);
        return copy;
    }
    if (!jin_is(name, "index") && !jin_is(name, "count"))
        return jin_fail(m, "the sandbox forbids '%.*s': it changes a list", (int)name.n, name.p);
    if (!jin_bind(m, a, jin_is(name, "index") ? "index" : "count",
                  jin_is(name, "index") ? "value start? stop? /" : "value /", bound) ||
        !jin_whole(m, bound[1], "index", 0, &from) || !jin_whole(m, bound[2], "index", n, &to))
        return jin_none();
    if (from < 0) from = jin_most(from + n, 0);
    if (to < 0) to += n;
    for (int64_t i = from; i < jin_least(to, n); i++)
        if (jin_equal(m, l->v[i], bound[0], 0)) {
            if (jin_is(name, "index")) return jin_int(i);
            count++;
        }
    return jin_is(name, "index") ? jin_fail(m, "index: not in the list") : jin_int(count);
}

jval jin_method(jmachine *m, jval self, jstr name, const jargs *a)
{
    if (self.t == J_DICT) return call_of_dict(m, self.u.d, name, a);
    if (self.t == J_STR) return call_of_string(m, self.u.s, name, a);
    return call_of_list(m, self, name, a);
}
