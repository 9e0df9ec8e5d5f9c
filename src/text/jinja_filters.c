/* jinja_filters.c - what stands after "|"; filters of sequences are in jinja_lists.c. */
#include "text/jinja_parts.h"

#include <stdio.h>
#include <utf8proc.h>

/* transformers' own tojson: json.dumps without escaping for HTML. */
static jval to_json(jmachine *m, jval v, jstr name, const jval *a)
{
    jval indent = jin_or(a[1], jin_none()), pair = jin_or(a[2], jin_none());
    jstr item = { indent.t == J_NONE ? ", " : ",", indent.t == J_NONE ? 2 : 1 },
         colon = { ": ", 2 };
    char spaces[17] = "                ";
    jbuf b = { 0 };

    (void)name;
    if (indent.t != J_NONE && (indent.t != J_INT || indent.u.i < 0 || indent.u.i > 16))
        return jin_fail(m, "tojson with an indent of another kind than 0 to 16");
    if (indent.t == J_INT) spaces[indent.u.i] = 0;
    if (jin_is_list(pair) && pair.u.l->n == 2 && pair.u.l->v[0].t == J_STR &&
        pair.u.l->v[1].t == J_STR) {
        item = pair.u.l->v[0].u.s;
        colon = pair.u.l->v[1].u.s;
    } else if (pair.t != J_NONE)
        return jin_fail(m, "tojson: separators are two texts");
    jin_json(m, &b, v, indent.t == J_INT ? spaces : NULL, jin_truth(jin_or(a[3], jin_bool(false))),
             jin_truth(jin_or(a[0], jin_bool(false))), item, colon, 0);
    return jin_take(&b);
}

/* --- filters that call filters and tests by name --- */

static bool has_named(const jargs *a, const char *name, jval *out)
{
    for (size_t i = 0; i < a->named_count; i++)
        if (jin_is(a->names[i], name)) return *out = a->named[i], true;
    return false;
}

static jval choose(jmachine *m, jval v, const jargs *a, bool keep, bool attribute)
{
    jval out = jin_list(m, J_GEN);
    jlist *l;
    size_t skip = attribute;

    if (attribute && !a->n) return jin_fail(m, "selectattr and rejectattr need a name");
    if (a->n > skip && a->v[skip].t != J_STR)
        return jin_fail(m, "a %s is no name of a test", jin_type_name(a->v[skip]));
    if (a->n <= skip && a->named_count) return jin_fail(m, "named arguments without a test");
    if (!jin_truth(v)) return out; /* none too, though it cannot be iterated */
    l = jin_iterate(m, v);
    for (size_t i = 0; l && i < l->n && !m->status; i++) {
        jval x = attribute ? jin_path(m, l->v[i], a->v[0]) : l->v[i];
        jargs rest = *a;
        bool holds;
        if (m->status) break;
        if (a->n > skip) {
            rest.v = a->v + skip + 1;
            rest.n = a->n - skip - 1;
            holds = jin_test(m, a->v[skip].u.s, x, &rest);
        } else
            holds = jin_truth(x);
        if (holds == keep && !m->status) jin_push(m, out.u.l, l->v[i]);
    }
    return out;
}

static jval map(jmachine *m, jval v, const jargs *a)
{
    jval out = jin_list(m, J_GEN), name = jin_none(), otherwise = { .t = J_ABSENT };
    bool by = !a->n && has_named(a, "attribute", &name);
    size_t known = by ? 1u + has_named(a, "default", &otherwise) : 0;
    jlist *l;

    if (!jin_truth(v)) return out;
    l = jin_iterate(m, v);
    if (by && a->named_count > known)
        return jin_fail(m,
                        "map does not know all of its arguments; attribute and default are known");
    if (!by && (!a->n || a->v[0].t != J_STR))
        return jin_fail(m, "map needs a filter or attribute=");
    for (size_t i = 0; l && i < l->n && !m->status; i++) {
        jval x;
        if (by) {
            x = jin_path(m, l->v[i], name);
            if (x.t == J_UNDEF && otherwise.t != J_ABSENT) x = otherwise;
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

/* --- texts: what is none is made one --- */

static jval trim(jmachine *m, jval v, jstr name, const jval *a)
{
    jval s = jin_text(m, v);
    jstr chars;
    bool given = a[0].t != J_ABSENT && a[0].t != J_NONE;

    (void)name;
    if (m->status || (given && !jin_words(m, a[0], "trim", "", &chars))) return v;
    return jin_strip(s.u.s, given ? &chars : NULL, true, true);
}

static jval cased(jmachine *m, jval v, jstr name, const jval *a)
{
    jval s = jin_text(m, v);

    (void)a;
    return m->status ? v : jin_case(m, s.u.s, jin_is(name, "title") ? 'T' : *name.p);
}

static jval as_text(jmachine *m, jval v, jstr name, const jval *a)
{
    (void)a;
    if (jin_is(name, "escape") || jin_is(name, "e")) return jin_escape(m, v);
    if (jin_is(name, "forceescape")) {
        v = jin_text(m, v);
        v.safe = false;
        return jin_escape(m, v);
    }
    v = jin_text(m, v);
    if (jin_is(name, "safe")) v.safe = true;
    return v;
}

static jval replace(jmachine *m, jval v, jstr name, const jval *a)
{
    jval s = jin_text(m, v), from = jin_text(m, a[0]), to = jin_text(m, a[1]), most = a[2];
    int64_t count;

    (void)name;
    if (most.t == J_NONE) most.t = J_ABSENT;
    if (m->status || !jin_whole(m, most, "replace", -1, &count)) return v;
    return jin_replace(m, s.u.s, from.u.s, to.u.s, count);
}

static jval indented(jmachine *m, jval v, jstr name, const jval *a)
{
    bool first = jin_truth(jin_or(a[1], jin_bool(false))),
         blank = jin_truth(jin_or(a[2], jin_bool(false)));
    jbuf b = { 0 };
    jval by = a[0], lines, text;
    int64_t width = 4;

    (void)name;
    if (v.t != J_STR) return jin_fail(m, "indent of a %s", jin_type_name(v));
    if (by.t != J_STR) {
        if (!jin_whole(m, by, "indent", 4, &width)) return v;
        by = jin_pad(m, (jstr){ "", 0 }, width, (jstr){ " ", 1 }, 'l');
    }
    jin_write(m, &b, v.u.s.p, v.u.s.n);
    jin_write(m, &b, "\n", 1);
    text = jin_take(&b);
    lines = m->status ? v : jin_lines(m, text.u.s, false);
    b = (jbuf){ 0 };
    for (size_t i = 0; !m->status && i < lines.u.l->n; i++) {
        jstr line = lines.u.l->v[i].u.s;
        if (i) jin_write(m, &b, "\n", 1);
        if (i ? line.n || blank : first) jin_write(m, &b, by.u.s.p, by.u.s.n);
        jin_write(m, &b, line.p, line.n);
    }
    return jin_take(&b);
}

static jval center(jmachine *m, jval v, jstr name, const jval *a)
{
    jval s = jin_text(m, v);
    int64_t width;

    (void)name;
    if (m->status || !jin_whole(m, a[0], "center", 80, &width)) return v;
    return jin_pad(m, s.u.s, width, (jstr){ " ", 1 }, 'c');
}

static jval truncate(jmachine *m, jval v, jstr name, const jval *a)
{
    int64_t length, leeway, keep;
    jval slack = a[3];
    jstr end;
    jbuf b = { 0 };

    (void)name;
    if (v.t != J_STR) return jin_fail(m, "truncate of a %s", jin_type_name(v));
    if (slack.t == J_NONE) slack.t = J_ABSENT;
    if (!jin_whole(m, a[0], "truncate", 255, &length) ||
        !jin_words(m, a[2], "truncate", "...", &end) ||
        !jin_whole(m, slack, "truncate", 5, &leeway))
        return v;
    keep = length - (int64_t)jin_length(end);
    if (keep < 0 || leeway < 0)
        return jin_fail(m, "truncate to %" PRId64 ", shorter than its end", length);
    if ((int64_t)jin_length(v.u.s) <= length + leeway) return v;
    v.u.s.n = jin_offset(v.u.s, keep);
    if (!jin_truth(jin_or(a[1], jin_bool(false)))) {
        size_t space = jin_find_last(v.u.s, (jstr){ " ", 1 });
        if (space != SIZE_MAX) v.u.s.n = space;
    }
    jin_write(m, &b, v.u.s.p, v.u.s.n);
    jin_write(m, &b, end.p, end.n);
    return jin_take(&b);
}

static jval wordcount(jmachine *m, jval v, jstr name, const jval *a)
{
    jval s = jin_text(m, v);
    bool inside = false;
    int64_t count = 0;
    int32_t c;

    (void)name, (void)a;
    for (size_t i = 0; !m->status && i < s.u.s.n;) {
        i += jin_char(s.u.s.p + i, s.u.s.n - i, &c);
        utf8proc_category_t k = utf8proc_category(c);
        bool word = c == '_' || (k >= UTF8PROC_CATEGORY_LU && k <= UTF8PROC_CATEGORY_LO) ||
                    (k >= UTF8PROC_CATEGORY_ND && k <= UTF8PROC_CATEGORY_NO);
        count += word && !inside;
        inside = word;
    }
    return jin_int(count);
}

/* --- single values --- */

static jval fallback(jmachine *m, jval v, jstr name, const jval *a)
{
    bool strict = jin_truth(jin_or(a[1], jin_bool(false)));

    (void)m, (void)name;
    return v.t == J_UNDEF || (strict && !jin_truth(v)) ? jin_or(a[0], jin_cstr("")) : v;
}

static jval number(jmachine *m, jval v, jstr name, const jval *a)
{
    if (jin_is(name, "int")) return jin_to_int(m, v, a);
    return jin_is(name, "float") ? jin_to_float(m, v, a) : jin_round(m, v, a);
}

static jval magnitude(jmachine *m, jval v, jstr name, const jval *a)
{
    (void)name, (void)a;
    if (v.t == J_FLOAT) return jin_float(v.u.f < 0 ? -v.u.f : v.u.f);
    if (v.t == J_BOOL) return jin_int(v.u.b);
    if (v.t != J_INT || v.u.i == INT64_MIN) return jin_fail(m, "abs of a %s", jin_type_name(v));
    return jin_int(v.u.i < 0 ? -v.u.i : v.u.i);
}

/* An attribute and never a member. */
static jval attribute(jmachine *m, jval v, jstr name, const jval *a)
{
    (void)name;
    if (a[0].t != J_STR) return jin_fail(m, "attr of a %s", jin_type_name(a[0]));
    return v.t == J_DICT && !jin_has_method(v, a[0].u.s) ? jin_undef(a[0].u.s)
                                                         : jin_attribute(m, v, a[0].u.s);
}

static const struct {
    const char *name, *signature;
    jfilter *run;
} filters[] = { { "tojson", "ensure_ascii? indent? separators? sort_keys?", to_json },
                { "trim", "chars?", trim },
                { "upper", "", cased },
                { "lower", "", cased },
                { "title", "", cased },
                { "capitalize", "", cased },
                { "string", "", as_text },
                { "safe", "", as_text },
                { "escape", "", as_text },
                { "e", "", as_text },
                { "forceescape", "", as_text },
                { "replace", "old new count?", replace },
                { "indent", "width? first? blank?", indented },
                { "center", "width?", center },
                { "truncate", "length? killwords? end? leeway?", truncate },
                { "wordcount", "", wordcount },
                { "default", "default_value? boolean?", fallback },
                { "d", "default_value? boolean?", fallback },
                { "int", "default? base?", number },
                { "float", "default?", number },
                { "round", "precision? method?", number },
                { "abs", "", magnitude },
                { "attr", "name", attribute } };
static const char *const by_name[] = { "map",        "select",     "reject",
                                       "selectattr", "rejectattr", "format" };

static jfilter *look_up(jstr name, const char **signature)
{
    for (size_t i = 0; i < NIB_COUNT(filters); i++)
        if (jin_is(name, filters[i].name)) {
            *signature = filters[i].signature;
            return filters[i].run;
        }
    return jin_list_filter(name, signature);
}

bool jin_is_filter(jstr name)
{
    const char *signature;

    for (size_t i = 0; i < NIB_COUNT(by_name); i++)
        if (jin_is(name, by_name[i])) return true;
    return look_up(name, &signature) != NULL;
}

/* text | format(values): by % */
static jval format(jmachine *m, jval v, const jargs *a)
{
    jval all = jin_list(m, J_TUPLE), named = jin_dict(m), s = jin_text(m, v);

    if (a->n && a->named_count) return jin_fail(m, "format with values and names at once");
    for (size_t i = 0; i < a->n && !m->status; i++) jin_push(m, all.u.l, a->v[i]);
    for (size_t i = 0; i < a->named_count && !m->status; i++)
        jin_put(m, named.u.d, (jval){ .t = J_STR, .u.s = a->names[i] }, a->named[i]);
    return m->status ? v : jin_percent(m, s.u.s, a->named_count ? named : all);
}

jval jin_filter(jmachine *m, jstr name, jval v, const jargs *a)
{
    jval bound[NIB_JINJA_PARAMETERS];
    const char *signature = NULL;
    char what[80];
    jfilter *run = look_up(name, &signature);

    if (run) {
        snprintf(what, sizeof what, "the filter '%.*s'", (int)nib_min(name.n, 40), name.p);
        if (!jin_bind(m, a, what, signature, bound)) return v;
        return jin_step(m, v.t == J_STR ? v.u.s.n / 8 : 1) ? run(m, v, name, bound) : v;
    }
    if (jin_is(name, "map")) return map(m, v, a);
    if (jin_is(name, "select")) return choose(m, v, a, true, false);
    if (jin_is(name, "reject")) return choose(m, v, a, false, false);
    if (jin_is(name, "selectattr")) return choose(m, v, a, true, true);
    if (jin_is(name, "rejectattr")) return choose(m, v, a, false, true);
    if (jin_is(name, "format")) return format(m, v, a);
    return jin_fail(m, "the filter '%.*s' is not supported here", (int)nib_min(name.n, 60), name.p);
}
