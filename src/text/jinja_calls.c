/* jinja_calls.c - calls: arguments, the functions every template has, macros, methods. */
#include "text/jinja_parts.h"

#include <stdio.h>

static const char *const globals[] = { "raise_exception", "strftime_now", "namespace", "range",
                                       "dict" };

bool jin_is_global(jstr name)
{
    for (size_t i = 0; i < NIB_COUNT(globals); i++)
        if (jin_is(name, globals[i])) return true;
    return false;
}

/* dict([[key, value], ...]) */
static void put_pairs(jmachine *m, jval to, jval pairs)
{
    jlist *l = jin_iterate(m, pairs);

    for (size_t i = 0; l && i < l->n && !m->status; i++) {
        jval one = l->v[i];
        if (!jin_is_list(one) || one.u.l->n != 2)
            jin_fail(m, "namespace and dict take pairs");
        else
            jin_put(m, to.u.d, one.u.l->v[0], one.u.l->v[1]);
    }
}

static jval make_dict(jmachine *m, const jargs *a, jtype t)
{
    jval v = jin_dict(m);

    if (a->n > 1)
        jin_fail(m, "namespace and dict take one mapping, and names");
    else if (a->n && (a->v[0].t == J_DICT || a->v[0].t == J_NAMESPACE))
        for (size_t i = 0; !m->status && i < a->v[0].u.d->n; i++)
            jin_put(m, v.u.d, a->v[0].u.d->k[i], a->v[0].u.d->v[i]);
    else if (a->n)
        put_pairs(m, v, a->v[0]);
    for (size_t i = 0; i < a->named_count && !m->status; i++)
        jin_put(m, v.u.d, (jval){ .t = J_STR, .u.s = a->names[i] }, a->named[i]);
    v.t = m->status ? J_UNDEF : t;
    return v;
}

static jval range(jmachine *m, const jargs *a)
{
    int64_t n[3] = { 0, 0, 1 };
    jval l = jin_list(m, J_LIST);

    if (a->named_count || !a->n || a->n > 3)
        return jin_fail(m, "range takes one to three integers and no names");
    for (size_t i = 0; i < a->n; i++) {
        if (a->v[i].t != J_INT || a->v[i].u.i > INT32_MAX || a->v[i].u.i < INT32_MIN)
            return jin_fail(m, "range of a %s, or too far", jin_type_name(a->v[i]));
        n[i] = a->v[i].u.i;
    }
    if (a->n == 1) n[1] = n[0], n[0] = 0;
    if (!n[2]) return jin_fail(m, "range with step 0");
    /* jinja2's own limit */
    if ((n[1] - n[0]) / n[2] > 100000) return jin_fail(m, "range of more than 100000");
    for (int64_t i = n[0]; !m->status && (n[2] > 0 ? i < n[1] : i > n[1]); i += n[2])
        jin_push(m, l.u.l, jin_int(i));
    return l;
}

jval jin_call_global(jmachine *m, jstr name, const jargs *a)
{
    jval bound[NIB_JINJA_PARAMETERS], v;
    char text[512], format[256];

    if (jin_is(name, "namespace")) return make_dict(m, a, J_NAMESPACE);
    if (jin_is(name, "dict")) return make_dict(m, a, J_DICT);
    if (jin_is(name, "range")) return range(m, a);
    if (jin_is(name, "raise_exception")) {
        if (!jin_bind(m, a, "raise_exception", "message", bound)) return jin_none();
        v = jin_text(m, bound[0]);
        return jin_fail(m, "the template raises: %.*s", (int)nib_min(v.u.s.n, 300),
                        v.u.s.p ? v.u.s.p : "");
    }
    if (!jin_bind(m, a, "strftime_now", "format", bound)) return jin_none();
    v = bound[0];
    if (v.t != J_STR || v.u.s.n >= sizeof format) return jin_fail(m, "strftime_now needs a format");
    if (!m->now) return jin_fail(m, "strftime_now is used, but no time was given");
    memcpy(format, v.u.s.p, v.u.s.n);
    format[v.u.s.n] = 0;
    return jin_str(m, text, strftime(text, sizeof text, format, m->now));
}

static jval call_loop(jmachine *m, jloop *l, jstr name, const jargs *a)
{
    if (a->named_count) return jin_fail(m, "loop.%.*s takes no names", (int)name.n, name.p);
    if (jin_is(name, "cycle") && !a->n) return jin_fail(m, "loop.cycle without a value");
    if (jin_is(name, "cycle")) return a->v[l->at % a->n];
    jval list = jin_list(m, J_LIST), before = { .t = J_LIST, .u.l = l->changed };
    for (size_t i = 0; i < a->n && !m->status; i++) jin_push(m, list.u.l, a->v[i]);
    if (m->status) return list;
    bool same = l->changed && jin_equal(m, before, list, 0);
    l->changed = list.u.l;
    return jin_bool(!same);
}

jval jin_call(jmachine *m, jval f, const jargs *a)
{
    if (f.t == J_MACRO) return jin_call_macro(m, f.u.macro, a);
    if (f.t == J_LOOP && f.u.loop->recursive) {
        jval bound[NIB_JINJA_PARAMETERS];
        return jin_bind(m, a, "loop", "iterable", bound) ? jin_call_loop(m, f.u.loop, bound[0]) : f;
    }
    if (f.t == J_FUNC) return jin_call_global(m, f.u.s, a);
    if (f.t == J_METHOD && f.u.m->self->t == J_LOOP)
        return call_loop(m, f.u.m->self->u.loop, f.u.m->name, a);
    if (f.t == J_METHOD) return jin_method(m, *f.u.m->self, f.u.m->name, a);
    if (f.t == J_UNDEF)
        return jin_fail(m, "'%.*s' is not a known function or method", (int)nib_min(f.u.s.n, 60),
                        f.u.s.p ? f.u.s.p : "");
    return jin_fail(m, "a %s cannot be called", jin_type_name(f));
}
