/* jinja_lists.c - filters over sequences whose arguments are values: join, sort, groupby, ... */
#include "text/jinja_parts.h"

jval jin_path(jmachine *m, jval v, jval name)
{
    if (name.t != J_STR) return jin_item(m, v, name);
    for (jstr s = name.u.s; !m->status;) {
        size_t dot = jin_find(s, (jstr){ ".", 1 }, 0), n = dot == SIZE_MAX ? s.n : dot;
        bool digits = n > 0 && n < 10;
        int64_t at = 0;
        for (size_t i = 0; i < n && digits; i++) {
            digits = s.p[i] >= '0' && s.p[i] <= '9';
            at = at * 10 + (s.p[i] - '0');
        }
        v = jin_item(m, v, digits ? jin_int(at) : (jval){ .t = J_STR, .u.s = { s.p, n } });
        if (dot == SIZE_MAX) break;
        s.p += dot + 1;
        s.n -= dot + 1;
    }
    return v;
}

static jval lowered(jmachine *m, jval v)
{
    return v.t == J_STR ? jin_case(m, v.u.s, 'l') : v;
}

/* --- keys --- */

typedef struct order {
    bool exact;
    jval by, otherwise;
    bool many;
} order; /* how elements are compared */

static jval one_key(jmachine *m, const order *o, jval v, jval by)
{
    v = by.t == J_NONE ? v : jin_path(m, v, by);
    if (v.t == J_UNDEF && o->otherwise.t != J_ABSENT && by.t != J_NONE) v = o->otherwise;
    return o->exact || m->status ? v : lowered(m, v);
}

/* "a,b" are two keys, the first counts more. */
static jval key_of(jmachine *m, const order *o, jval v)
{
    jval names, all;

    if (!o->many || o->by.t != J_STR || jin_find(o->by.u.s, (jstr){ ",", 1 }, 0) == SIZE_MAX)
        return one_key(m, o, v, o->by);
    all = jin_list(m, J_LIST);
    names = jin_split(m, o->by.u.s, &(jstr){ ",", 1 }, -1, false);
    for (size_t i = 0; !m->status && i < names.u.l->n; i++) {
        jval key = one_key(m, o, v, names.u.l->v[i]);
        if (!m->status) jin_push(m, all.u.l, key);
    }
    return all;
}

typedef struct pair {
    jval key, v;
} pair;

/* Merges in[from, middle) and in[middle, to), each in order; equal ones keep their order. */
static void merge(jmachine *m, const pair *in, pair *out, size_t from, size_t middle, size_t to,
                  bool reverse)
{
    size_t a = from, b = middle;

    for (size_t i = from; i < to && !m->status; i++) {
        bool second = a == middle;
        if (!second && b < to) {
            int c = jin_compare(m, in[a].key, in[b].key, 0);
            second = reverse ? c < 0 : c > 0;
        }
        out[i] = in[second ? b++ : a++];
    }
}

static pair *sorted_pairs(jmachine *m, jlist *l, const order *o, bool reverse)
{
    size_t n = l ? l->n : 0;
    pair *p = jin_alloc(m, n * sizeof *p), *q = jin_alloc(m, n * sizeof *q), *swap;

    for (size_t i = 0; i < n && !m->status; i++) p[i] = (pair){ key_of(m, o, l->v[i]), l->v[i] };
    for (size_t width = 1; width < n && !m->status; width *= 2) {
        for (size_t from = 0; from < n; from += 2 * width)
            merge(m, p, q, from, nib_min(from + width, n), nib_min(from + 2 * width, n), reverse);
        swap = p, p = q, q = swap;
    }
    return p;
}

static jval sorted(jmachine *m, jval v, const order *o, bool reverse)
{
    jval out = jin_list(m, J_LIST);
    jlist *l = jin_iterate(m, v);
    pair *p = m->status ? NULL : sorted_pairs(m, l, o, reverse);

    for (size_t i = 0; !m->status && i < l->n; i++) jin_push(m, out.u.l, p[i].v);
    return out;
}

static bool flag(jval v)
{
    return v.t != J_ABSENT && jin_truth(v);
}
static order by_key(jval exact, jval by)
{
    return (order){ .exact = flag(exact),
                    .by = jin_or(by, jin_none()),
                    .otherwise = { .t = J_ABSENT } };
}

/* --- the filters --- */

static jval sort(jmachine *m, jval v, jstr name, const jval *a)
{
    order o = by_key(a[1], a[2]);

    (void)name;
    o.many = true;
    return sorted(m, v, &o, flag(a[0]));
}

static jval dictsort(jmachine *m, jval v, jstr name, const jval *a)
{
    jargs none = { 0 };
    jstr by;
    order o = by_key(a[0], jin_none());

    (void)name;
    if (!jin_words(m, a[1], "dictsort", "key", &by)) return v;
    if (!jin_is(by, "key") && !jin_is(by, "value"))
        return jin_fail(m, "dictsort: by is key or value");
    if (v.t != J_DICT) return jin_fail(m, "dictsort of a %s", jin_type_name(v));
    o.by = jin_int(jin_is(by, "value"));
    return sorted(m, jin_method(m, v, (jstr){ "items", 5 }, &none), &o, flag(a[2]));
}

static jval items(jmachine *m, jval v, jstr name, const jval *a)
{
    jargs none = { 0 };

    (void)name, (void)a;
    if (v.t == J_UNDEF) return jin_list(m, J_GEN);
    if (v.t != J_DICT) return jin_fail(m, "items of a %s", jin_type_name(v));
    v = jin_method(m, v, (jstr){ "items", 5 }, &none);
    if (!m->status) v.t = J_GEN;
    return v;
}

static jval extreme(jmachine *m, jval v, jstr name, const jval *a)
{
    order o = by_key(a[0], a[1]);
    jval all = sorted(m, v, &o, jin_is(name, "max"));
    return !m->status && all.u.l->n ? all.u.l->v[0] : jin_undef(name);
}

static jval unique(jmachine *m, jval v, jstr name, const jval *a)
{
    order o = by_key(a[0], a[1]);
    jval out = jin_list(m, J_GEN), seen = jin_dict(m);
    jlist *l = jin_iterate(m, v);

    (void)name;
    for (size_t i = 0; l && i < l->n && !m->status; i++) {
        jval key = key_of(m, &o, l->v[i]);
        if (m->status || jin_get(m, seen.u.d, key)) continue;
        jin_put(m, seen.u.d, key, jin_none());
        jin_push(m, out.u.l, l->v[i]);
    }
    return out;
}

static jval make_group(jmachine *m, jval key)
{
    jval group = jin_list(m, J_TUPLE), list = jin_list(m, J_LIST);

    if (m->status) return group;
    jin_push(m, group.u.l, key);
    jin_push(m, group.u.l, list);
    group.u.l->group = true;
    return group;
}

static jval groupby(jmachine *m, jval v, jstr name, const jval *a)
{
    order o = { .exact = flag(a[2]), .by = a[0], .otherwise = jin_or(a[1], jin_none()) }, shown = o;
    jval out = jin_list(m, J_LIST), group = { 0 };
    jlist *l = jin_iterate(m, v);
    pair *p = m->status ? NULL : sorted_pairs(m, l, &o, false);

    (void)name;
    if (o.otherwise.t == J_NONE) o.otherwise.t = shown.otherwise.t = J_ABSENT;
    shown.exact = true; /* a group is named by its first member's own value */
    for (size_t i = 0; !m->status && i < l->n; i++) {
        if (!i || !jin_equal(m, p[i].key, p[i - 1].key, 0)) {
            group = make_group(m, key_of(m, &shown, p[i].v));
            if (!m->status) jin_push(m, out.u.l, group);
        }
        if (!m->status) jin_push(m, group.u.l->v[1].u.l, p[i].v);
    }
    return out;
}

static jval join(jmachine *m, jval v, jstr name, const jval *a)
{
    jval between = jin_text(m, jin_or(a[0], jin_cstr(""))), by = jin_or(a[1], jin_none());
    jlist *l = jin_iterate(m, v);
    jbuf b = { 0 };

    (void)name;
    for (size_t i = 0; l && i < l->n && !m->status; i++) {
        if (i) jin_write(m, &b, between.u.s.p, between.u.s.n);
        jin_print(m, &b, by.t == J_NONE ? l->v[i] : jin_path(m, l->v[i], by));
    }
    return jin_take(&b);
}

static jval sum(jmachine *m, jval v, jstr name, const jval *a)
{
    jval by = jin_or(a[0], jin_none()), total = jin_or(a[1], jin_int(0));
    jlist *l = jin_iterate(m, v);

    (void)name;
    if (total.t == J_STR) return jin_fail(m, "sum of strings");
    for (size_t i = 0; l && i < l->n && !m->status; i++) {
        jval one = by.t == J_NONE ? l->v[i] : jin_path(m, l->v[i], by);
        if (!m->status) total = jin_arithmetic(m, JO_ADD, total, one);
    }
    return total;
}

/* batch: rows of so many; slice: so many columns, the first ones longer. */
static jval rows(jmachine *m, jval v, jstr name, const jval *a)
{
    jval out = jin_list(m, J_GEN), fill = jin_or(a[1], jin_none());
    bool batch = jin_is(name, "batch");
    jlist *l = jin_iterate(m, v);
    int64_t count, n = l ? (int64_t)l->n : 0, at = 0, made;

    if (!jin_whole(m, a[0], "batch or slice", 0, &count)) return out;
    if (count < 1) return jin_fail(m, "%.*s by %" PRId64, (int)name.n, name.p, count);
    made = batch ? (n + count - 1) / count : count;
    for (int64_t i = 0; i < made && jin_step(m, 1); i++) {
        int64_t size = batch ? jin_least(count, n - at) : n / count + (i < n % count);
        int64_t pad = fill.t == J_NONE ? 0 : batch ? count - size : i >= n % count;
        jval row = jin_list(m, J_LIST);
        for (int64_t k = 0; k < size && !m->status; k++) jin_push(m, row.u.l, l->v[at++]);
        for (; pad > 0 && !m->status; pad--) jin_push(m, row.u.l, fill);
        if (!m->status) jin_push(m, out.u.l, row);
    }
    return out;
}

static jval end(jmachine *m, jval v, jstr name, const jval *a)
{
    bool last = jin_is(name, "last");
    jlist *l;

    (void)a;
    if (last && v.t == J_GEN) return jin_fail(m, "last of a generator");
    l = jin_iterate(m, v);
    return l && l->n ? l->v[last ? l->n - 1 : 0] : jin_undef(name);
}

static jval listed(jmachine *m, jval v, jstr name, const jval *a)
{
    bool backwards = jin_is(name, "reverse");
    jval out = jin_list(m, backwards ? J_GEN : J_LIST);
    jlist *l;

    (void)a;
    if (backwards && v.t == J_STR)
        return jin_substr(m, v.u.s, (int64_t)jin_length(v.u.s) - 1, -1, -1);
    l = jin_iterate(m, v);
    for (size_t i = 0; l && i < l->n && !m->status; i++)
        jin_push(m, out.u.l, l->v[backwards ? l->n - 1 - i : i]);
    return out;
}

static jval length(jmachine *m, jval v, jstr name, const jval *a)
{
    (void)name, (void)a;
    if (v.t == J_STR) return jin_int((int64_t)jin_length(v.u.s));
    if (v.t == J_LIST || v.t == J_TUPLE) return jin_int((int64_t)v.u.l->n);
    if (v.t == J_DICT) return jin_int((int64_t)v.u.d->n);
    return v.t == J_UNDEF ? jin_int(0) : jin_fail(m, "length of a %s", jin_type_name(v));
}

static const struct {
    const char *name, *signature;
    jfilter *run;
} filters[] = { { "join", "d? attribute?", join },
                { "length", "", length },
                { "count", "", length },
                { "first", "", end },
                { "last", "", end },
                { "list", "", listed },
                { "reverse", "", listed },
                { "sort", "reverse? case_sensitive? attribute?", sort },
                { "dictsort", "case_sensitive? by? reverse?", dictsort },
                { "items", "", items },
                { "min", "case_sensitive? attribute?", extreme },
                { "max", "case_sensitive? attribute?", extreme },
                { "unique", "case_sensitive? attribute?", unique },
                { "groupby", "attribute default? case_sensitive?", groupby },
                { "sum", "attribute? start?", sum },
                { "batch", "linecount fill_with?", rows },
                { "slice", "slices fill_with?", rows } };

jfilter *jin_list_filter(jstr name, const char **signature)
{
    for (size_t i = 0; i < NIB_COUNT(filters); i++)
        if (jin_is(name, filters[i].name)) {
            *signature = filters[i].signature;
            return filters[i].run;
        }
    return NULL;
}
