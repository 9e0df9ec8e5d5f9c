/* jinja_methods.c - the methods of texts, mappings and lists that do not change them. */
#include "text/jinja_parts.h"

static const char *const of_strings[] = {
    "split",        "rsplit",       "strip",   "lstrip",  "rstrip",     "startswith",
    "endswith",     "replace",      "upper",   "lower",   "title",      "capitalize",
    "find",         "count",        "join",    "isdigit", "splitlines", "index",
    "removeprefix", "removesuffix", "isspace", NULL
};
static const char *const of_dicts[] = { "get", "items", "keys", "values", "copy", NULL };
static const char *const of_lists[] = { "index",  "count", "append", "extend",
                                        "insert", "pop",   "remove", NULL };
static const char *const of_loops[] = { "cycle", "changed", NULL };

bool jin_has_method(jval self, jstr name)
{
    const char *const *list = self.t == J_STR                         ? of_strings
                              : self.t == J_DICT                      ? of_dicts
                              : self.t == J_LIST || self.t == J_TUPLE ? of_lists
                              : self.t == J_LOOP                      ? of_loops
                                                                      : NULL;
    for (; list && *list; list++)
        if (jin_is(name, *list)) return true;
    return false;
}

static bool ends(jmachine *m, jstr s, jval with, bool start)
{
    if (with.t == J_TUPLE) {
        for (size_t i = 0; i < with.u.l->n; i++)
            if (with.u.l->v[i].t == J_STR && ends(m, s, with.u.l->v[i], start)) return true;
        return false;
    }
    if (with.t != J_STR)
        return jin_fail(m, "startswith or endswith of a %s", jin_type_name(with)).u.b;
    if (with.u.s.n > s.n) return false;
    return !with.u.s.n || !memcmp(start ? s.p : s.p + s.n - with.u.s.n, with.u.s.p, with.u.s.n);
}

static jval dict_method(jmachine *m, jdict *d, jstr name, const jargs *a)
{
    jval l;

    if (jin_is(name, "get")) {
        if (!jin_arguments_fit(m, a, "get", 1, 2)) return jin_none();
        jval *found = jin_get(m, d, a->n ? a->v[0] : jin_none());
        return found ? *found : jin_arg(a, 1, "default", jin_none());
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

static jval list_method(jmachine *m, jlist *l, jstr name, const jargs *a)
{
    int64_t count = 0;

    if (!jin_is(name, "index") && !jin_is(name, "count"))
        return jin_fail(m, "the sandbox forbids '%.*s': it changes a list", (int)name.n, name.p);
    if (!jin_arguments_fit(m, a, "index or count", 1, 1) || !a->n) return jin_none();
    for (size_t i = 0; i < l->n; i++)
        if (jin_equal(m, l->v[i], a->v[0], 0)) {
            if (jin_is(name, "index")) return jin_int((int64_t)i);
            count++;
        }
    return jin_is(name, "index") ? jin_fail(m, "index: not in the list") : jin_int(count);
}

static jval lines(jmachine *m, jstr s)
{
    jval l = jin_list(m, J_LIST);
    size_t from = 0;

    for (size_t i = 0; i < s.n && !m->status; i++) {
        if (s.p[i] != '\n' && s.p[i] != '\r') continue;
        jin_push(m, l.u.l, (jval){ .t = J_STR, .u.s = { s.p + from, i - from } });
        if (s.p[i] == '\r' && i + 1 < s.n && s.p[i + 1] == '\n') i++;
        from = i + 1;
    }
    if (from < s.n && !m->status) jin_push(m, l.u.l, (jval){ .t = J_STR, .u.s = { s.p + from, s.n - from } });
    return l;
}

static jval find(jmachine *m, jstr s, jstr name, jval what)
{
    size_t at, count = 0;

    if (what.t != J_STR)
        return jin_fail(m, "'%.*s' of a %s", (int)name.n, name.p, jin_type_name(what));
    if (jin_is(name, "count")) {
        if (!what.u.s.n) return jin_int((int64_t)jin_length(s) + 1);
        for (at = 0; (at = jin_find(s, what.u.s, at)) != SIZE_MAX; at += what.u.s.n) count++;
        return jin_int((int64_t)count);
    }
    at = jin_find(s, what.u.s, 0);
    if (at == SIZE_MAX)
        return jin_is(name, "index") ? jin_fail(m, "index: not in the text") : jin_int(-1);
    return jin_int((int64_t)jin_length((jstr){ s.p, at }));
}

static bool all_of(jstr s, bool digits)
{
    int32_t c;
    for (size_t i = 0; i < s.n;) {
        i += jin_char(s.p + i, s.n - i, &c);
        if (digits ? c < '0' || c > '9' : !jin_space(c)) return false;
    }
    return s.n > 0;
}

static jval string_method(jmachine *m, jstr s, jstr name, const jargs *a)
{
    jval x = jin_arg(a, 0, jin_is(name, "split") || jin_is(name, "rsplit") ? "sep" : NULL,
                     jin_none());
    bool strips = jin_is(name, "strip"), left = jin_is(name, "lstrip"),
         right = jin_is(name, "rstrip");

    if (strips || left || right) {
        if (x.t != J_NONE && x.t != J_STR) return jin_fail(m, "strip of a %s", jin_type_name(x));
        return jin_strip(s, x.t == J_STR ? &x.u.s : NULL, strips || left, strips || right);
    }
    if (jin_is(name, "split") || jin_is(name, "rsplit")) {
        jval max = jin_arg(a, 1, "maxsplit", jin_int(-1));
        if ((x.t != J_NONE && x.t != J_STR) || max.t != J_INT)
            return jin_fail(m, "split by a %s", jin_type_name(x));
        return jin_split(m, s, x.t == J_STR ? &x.u.s : NULL, max.u.i, *name.p == 'r');
    }
    if (jin_is(name, "startswith") || jin_is(name, "endswith"))
        return jin_bool(ends(m, s, x, *name.p == 's'));
    if (jin_is(name, "upper")) return jin_case(m, s, 'u');
    if (jin_is(name, "lower")) return jin_case(m, s, 'l');
    if (jin_is(name, "title")) return jin_case(m, s, 't');
    if (jin_is(name, "capitalize")) return jin_case(m, s, 'c');
    if (jin_is(name, "isdigit")) return jin_bool(all_of(s, true));
    if (jin_is(name, "isspace")) return jin_bool(all_of(s, false));
    if (jin_is(name, "splitlines")) return lines(m, s);
    if (jin_is(name, "replace")) {
        jval to = jin_arg(a, 1, NULL, jin_none()), count = jin_arg(a, 2, "count", jin_int(-1));
        if (x.t != J_STR || to.t != J_STR || count.t != J_INT)
            return jin_fail(m, "replace needs two texts");
        return jin_replace(m, s, x.u.s, to.u.s, count.u.i);
    }
    if (jin_is(name, "removeprefix") || jin_is(name, "removesuffix")) {
        bool prefix = jin_is(name, "removeprefix");
        if (ends(m, s, x, prefix) && x.t == J_STR) s.n -= x.u.s.n, s.p += prefix ? x.u.s.n : 0;
        return (jval){ .t = J_STR, .u.s = s };
    }
    if (jin_is(name, "join")) {
        jbuf b = { 0 };
        jlist *l = jin_iterate(m, x);
        for (size_t i = 0; l && i < l->n && !m->status; i++) {
            if (l->v[i].t != J_STR) return jin_fail(m, "join of a %s", jin_type_name(l->v[i]));
            if (i) jin_write(m, &b, s.p, s.n);
            jin_write(m, &b, l->v[i].u.s.p, l->v[i].u.s.n);
        }
        return jin_take(&b);
    }
    return find(m, s, name, x);
}

jval jin_method(jmachine *m, jval self, jstr name, const jargs *a)
{
    if (self.t == J_DICT) return dict_method(m, self.u.d, name, a);
    if (self.t == J_STR)
        return jin_step(m, self.u.s.n / 8) ? string_method(m, self.u.s, name, a) : self;
    return list_method(m, self.u.l, name, a);
}
