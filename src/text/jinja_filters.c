/* jinja_filters.c - what stands after "|". */
#include "text/jinja_parts.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

static jval to_json(jmachine *m, jval v, const jargs *a)
{
    jval indent = jin_arg(a, 1, "indent", jin_none()),
         ascii = jin_arg(a, 0, "ensure_ascii", jin_bool(false));
    jval pair = jin_arg(a, 2, "separators", jin_none()),
         sort = jin_arg(a, 3, "sort_keys", jin_bool(false));
    jstr item = { indent.t == J_NONE ? ", " : ",", indent.t == J_NONE ? 2 : 1 },
         colon = { ": ", 2 };
    char spaces[17] = "                ";
    jbuf b = { 0 };

    if (indent.t != J_NONE && (indent.t != J_INT || indent.u.i < 0 || indent.u.i > 16))
        return jin_fail(m, "tojson with an indent of another kind than 0 to 16");
    if (indent.t == J_INT) spaces[indent.u.i] = 0;
    if (jin_is_list(pair) && pair.u.l->n == 2 && pair.u.l->v[0].t == J_STR &&
        pair.u.l->v[1].t == J_STR) {
        item = pair.u.l->v[0].u.s;
        colon = pair.u.l->v[1].u.s;
    } else if (pair.t != J_NONE)
        return jin_fail(m, "tojson: separators are two texts");
    jin_json(m, &b, v, indent.t == J_INT ? spaces : NULL, jin_truth(sort), jin_truth(ascii), item,
             colon, 0);
    return jin_take(&b);
}

static jval path(jmachine *m, jval v, jval name) /* "a.b" */
{
    if (name.t != J_STR) return jin_item(m, v, name);
    for (jstr s = name.u.s; !m->status;) {
        size_t dot = jin_find(s, (jstr){ ".", 1 }, 0);
        v = jin_item(m, v, (jval){ .t = J_STR, .u.s = { s.p, dot == SIZE_MAX ? s.n : dot } });
        if (dot == SIZE_MAX) break;
        s.p += dot + 1;
        s.n -= dot + 1;
    }
    return v;
}

static jval choose(jmachine *m, jval v, const jargs *a, bool keep, bool attribute)
{
    jval out = jin_list(m, J_GEN);
    jlist *l;
    size_t skip = attribute;

    if (attribute && !a->n) return jin_fail(m, "selectattr and rejectattr need a name");
    if (!jin_truth(v)) return out; /* none too, though it cannot be iterated */
    l = jin_iterate(m, v);
    for (size_t i = 0; l && i < l->n && !m->status; i++) {
        jval x = attribute ? path(m, l->v[i], a->v[0]) : l->v[i];
        jargs rest = { .v = a->v + skip + 1, .n = a->n > skip + 1 ? a->n - skip - 1 : 0 };
        bool holds;
        if (m->status) break;
        holds = a->n > skip ? a->v[skip].t == J_STR && jin_test(m, a->v[skip].u.s, x, &rest)
                            : jin_truth(x);
        if (holds == keep) jin_push(m, out.u.l, l->v[i]);
    }
    return out;
}

static jval map(jmachine *m, jval v, const jargs *a)
{
    jval out = jin_list(m, J_GEN), name = jin_arg(a, 99, "attribute", jin_none()),
         otherwise = jin_arg(a, 99, "default", jin_undef((jstr){ "map", 3 }));
    jlist *l;

    if (!jin_truth(v)) return out;
    l = jin_iterate(m, v);
    if (name.t == J_NONE && (!a->n || a->v[0].t != J_STR))
        return jin_fail(m, "map needs a filter or attribute=");
    for (size_t i = 0; l && i < l->n && !m->status; i++) {
        jval x;
        if (name.t != J_NONE) {
            x = path(m, l->v[i], name);
            if (x.t == J_UNDEF && otherwise.t != J_UNDEF) x = otherwise;
        } else {
            jargs rest = *a;
            rest.v++;
            rest.n--;
            x = jin_filter(m, a->v[0].u.s, l->v[i], &rest);
        }
        if (!m->status) jin_push(m, out.u.l, x);
    }
    return out;
}

static jval join(jmachine *m, jval v, const jargs *a)
{
    jval between = jin_text(m, jin_arg(a, 0, "d", jin_cstr(""))),
         name = jin_arg(a, 1, "attribute", jin_none());
    jlist *l = jin_iterate(m, v);
    jbuf b = { 0 };

    for (size_t i = 0; l && i < l->n && !m->status; i++) {
        if (i) jin_write(m, &b, between.u.s.p, between.u.s.n);
        jin_print(m, &b, name.t == J_NONE ? l->v[i] : path(m, l->v[i], name));
    }
    return jin_take(&b);
}

/* sort, dictsort, unique: by insertion, stable, each comparison a step. */
static jval lowered(jmachine *m, jval v) { return v.t == J_STR ? jin_case(m, v.u.s, 'l') : v; }

static jval sorted(jmachine *m, jval v, bool reverse, bool exact, jval by)
{
    jval out = jin_list(m, J_LIST);
    jlist *l = jin_iterate(m, v);

    for (size_t i = 0; l && i < l->n && !m->status; i++) {
        size_t at = i;
        jval key = by.t == J_NONE ? l->v[i] : path(m, l->v[i], by);
        if (!exact) key = lowered(m, key);
        jin_push(m, out.u.l, l->v[i]);
        for (; at && !m->status; at--) {
            jval other = by.t == J_NONE ? out.u.l->v[at - 1] : path(m, out.u.l->v[at - 1], by);
            int c = jin_compare(m, key, exact ? other : lowered(m, other), 0);
            if (reverse ? c <= 0 : c >= 0) break;
            out.u.l->v[at] = out.u.l->v[at - 1];
        }
        if (!m->status) out.u.l->v[at] = l->v[i];
    }
    return out;
}

static jval extreme(jmachine *m, jstr name, jval v, const jargs *a)
{
    jval all = sorted(m, v, jin_is(name, "max"),
                      jin_truth(jin_arg(a, 0, "case_sensitive", jin_bool(false))),
                      jin_arg(a, 1, "attribute", jin_none()));
    return !m->status && all.u.l->n ? all.u.l->v[0] : jin_undef(name);
}

static jval items(jmachine *m, jval v, bool sort, const jargs *a)
{
    jargs none = { 0 };

    if (v.t == J_UNDEF && !sort) return jin_list(m, J_GEN);
    if (v.t != J_DICT) return jin_fail(m, "items of a %s", jin_type_name(v));
    v = jin_method(m, v, (jstr){ "items", 5 }, &none);
    if (m->status) return v;
    if (!sort) v.t = J_GEN;
    else
        v = sorted(
            m, v, jin_truth(jin_arg(a, 2, "reverse", jin_bool(false))),
            jin_truth(jin_arg(a, 0, "case_sensitive", jin_bool(false))),
            jin_int(jin_equal(m, jin_arg(a, 1, "by", jin_cstr("key")), jin_cstr("value"), 0)));
    return v;
}

static jval number(jmachine *m, jval v, const jargs *a, bool whole)
{
    char text[64], *end;
    jval otherwise = jin_arg(a, 0, "default", whole ? jin_int(0) : jin_float(0)),
         s = v.t == J_STR ? jin_strip(v.u.s, NULL, true, true) : v;
    double f;

    if (v.t == J_INT || v.t == J_BOOL)
        return whole ? jin_int(v.t == J_INT ? v.u.i : v.u.b)
                     : jin_float(v.t == J_INT ? (double)v.u.i : v.u.b);
    if (v.t == J_FLOAT)
        return whole ? (fabs(v.u.f) < 9e18 ? jin_int((int64_t)v.u.f) : otherwise) : v;
    if (v.t != J_STR || !s.u.s.n || s.u.s.n >= sizeof text) return otherwise;
    memcpy(text, s.u.s.p, s.u.s.n);
    text[s.u.s.n] = 0;
    if (strpbrk(text, "xXpP")) return otherwise; /* C reads these, Python does not */
    if (strchr(text, '_')) return jin_fail(m, "'%s' as a number is not supported", text);
    errno = 0;
    if (whole) {
        long long i = strtoll(text, &end, 10);
        if (!*end && !errno) return jin_int(i);
    }
    f = strtod(text, &end);
    if (*end) return otherwise;
    return whole ? (fabs(f) < 9e18 ? jin_int((int64_t)f) : otherwise) : jin_float(f);
}

static jval repeat_space(jmachine *m, jval count)
{
    jbuf b = { 0 };
    if (count.t != J_INT || count.u.i < 0 || count.u.i > 1000)
        return jin_fail(m, "indent by something else than 0 to 1000");
    for (int64_t i = 0; i < count.u.i; i++) jin_write(m, &b, " ", 1);
    return jin_take(&b);
}

static jval indented(jmachine *m, jval v, const jargs *a)
{
    jval width = jin_arg(a, 0, "width", jin_int(4)),
         first = jin_arg(a, 1, "first", jin_bool(false)),
         blank = jin_arg(a, 2, "blank", jin_bool(false));
    jval s = jin_text(m, v), by = width.t == J_STR ? width : repeat_space(m, width);
    jbuf b = { 0 };

    for (size_t at = 0; at <= s.u.s.n && !m->status;) {
        size_t end = jin_find(s.u.s, (jstr){ "\n", 1 }, at), n;
        n = (end == SIZE_MAX ? s.u.s.n : end) - at;
        if (at ? (n || jin_truth(blank)) : jin_truth(first)) jin_write(m, &b, by.u.s.p, by.u.s.n);
        jin_write(m, &b, s.u.s.p + at, n + (end != SIZE_MAX));
        if (end == SIZE_MAX) break;
        at = end + 1;
    }
    return jin_take(&b);
}

static jval length(jmachine *m, jval v)
{
    if (v.t == J_STR) return jin_int((int64_t)jin_length(v.u.s));
    if (v.t == J_LIST || v.t == J_TUPLE) return jin_int((int64_t)v.u.l->n);
    if (v.t == J_DICT) return jin_int((int64_t)v.u.d->n);
    return v.t == J_UNDEF ? jin_int(0) : jin_fail(m, "length of a %s", jin_type_name(v));
}

static jval listed(jmachine *m, jval v, bool backwards, jtype t)
{
    jval out = jin_list(m, t);
    jlist *l = jin_iterate(m, v);
    for (size_t i = 0; l && i < l->n && !m->status; i++)
        jin_push(m, out.u.l, l->v[backwards ? l->n - 1 - i : i]);
    return out;
}

static jval unique(jmachine *m, jval v)
{
    jval out = jin_list(m, J_GEN);
    jlist *l = jin_iterate(m, v);
    for (size_t i = 0; l && i < l->n && !m->status; i++) {
        bool seen = false;
        for (size_t k = 0; k < out.u.l->n && !seen; k++)
            seen = jin_equal(m, lowered(m, out.u.l->v[k]), lowered(m, l->v[i]), 0);
        if (!seen) jin_push(m, out.u.l, l->v[i]);
    }
    return out;
}

static jval text_filter(jmachine *m, jstr name, jval v, const jargs *a)
{
    jval s = jin_text(m, v), x = jin_arg(a, 0, NULL, jin_none()),
         y = jin_arg(a, 1, NULL, jin_none());

    if (m->status || !jin_step(m, s.u.s.n / 8)) return v;
    if (jin_is(name, "trim")) return jin_strip(s.u.s, x.t == J_STR ? &x.u.s : NULL, true, true);
    if (jin_is(name, "upper")) return jin_case(m, s.u.s, 'u');
    if (jin_is(name, "lower")) return jin_case(m, s.u.s, 'l');
    if (jin_is(name, "title")) return jin_case(m, s.u.s, 'T');
    if (jin_is(name, "capitalize")) return jin_case(m, s.u.s, 'c');
    if (jin_is(name, "string")) return s;
    if (jin_is(name, "safe")) { s.safe = true; return s; }
    if (x.t != J_STR || y.t != J_STR) return jin_fail(m, "replace needs two texts");
    x = jin_replace(m, s.u.s, x.u.s, y.u.s, -1);
    return x;
}

jval jin_filter(jmachine *m, jstr name, jval v, const jargs *a)
{
    static const char *const texts[] = { "trim",       "upper",  "lower", "title",
                                         "capitalize", "string", "safe",  "replace" };
    jlist *l;

    for (size_t i = 0; i < NIB_COUNT(texts); i++)
        if (jin_is(name, texts[i])) return text_filter(m, name, v, a);
    if (jin_is(name, "tojson")) return to_json(m, v, a);
    if (jin_is(name, "length") || jin_is(name, "count")) return length(m, v);
    if (jin_is(name, "default") || jin_is(name, "d")) {
        jval strict = jin_arg(a, 1, "boolean", jin_bool(false));
        return v.t == J_UNDEF || (jin_truth(strict) && !jin_truth(v))
                   ? jin_arg(a, 0, "default_value", jin_cstr(""))
                   : v;
    }
    if (jin_is(name, "join")) return join(m, v, a);
    if (jin_is(name, "first") || jin_is(name, "last")) {
        if (*name.p == 'l' && v.t == J_GEN) return jin_fail(m, "last of a generator");
        l = jin_iterate(m, v);
        return l && l->n ? l->v[*name.p == 'f' ? 0 : l->n - 1] : jin_undef(name);
    }
    if (jin_is(name, "list")) return listed(m, v, false, J_LIST);
    if (jin_is(name, "reverse"))
        return v.t == J_STR ? jin_substr(m, v.u.s, (int64_t)jin_length(v.u.s) - 1, -1, -1)
                            : listed(m, v, true, J_GEN);
    if (jin_is(name, "map")) return map(m, v, a);
    if (jin_is(name, "select")) return choose(m, v, a, true, false);
    if (jin_is(name, "reject")) return choose(m, v, a, false, false);
    if (jin_is(name, "selectattr")) return choose(m, v, a, true, true);
    if (jin_is(name, "rejectattr")) return choose(m, v, a, false, true);
    if (jin_is(name, "items")) return items(m, v, false, a);
    if (jin_is(name, "dictsort")) return items(m, v, true, a);
    if (jin_is(name, "sort"))
        return sorted(m, v, jin_truth(jin_arg(a, 0, "reverse", jin_bool(false))),
                      jin_truth(jin_arg(a, 1, "case_sensitive", jin_bool(false))),
                      jin_arg(a, 2, "attribute", jin_none()));
    if (jin_is(name, "min") || jin_is(name, "max")) return extreme(m, name, v, a);
    if (jin_is(name, "unique") && !a->n && !a->named_count) return unique(m, v);
    if (jin_is(name, "int")) return number(m, v, a, true);
    if (jin_is(name, "float")) return number(m, v, a, false);
    if (jin_is(name, "indent")) return indented(m, v, a);
    if (jin_is(name, "abs") && v.t == J_INT && v.u.i > INT64_MIN)
        return jin_int(v.u.i < 0 ? -v.u.i : v.u.i);
    return jin_fail(m, "the filter '%.*s' is not supported here", (int)nib_min(name.n, 60), name.p);
}
