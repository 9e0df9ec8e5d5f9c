/* jinja_eval.c - expressions to values. */
#include "text/jinja_parts.h"

#include <math.h>

static jval negate(jmachine *m, jval v)
{
    if (v.t == J_INT && v.u.i != INT64_MIN) return jin_int(-v.u.i);
    if (v.t == J_BOOL) return jin_int(-(int64_t)v.u.b);
    if (v.t == J_FLOAT) return jin_float(-v.u.f);
    return jin_fail(m, "minus a %s", jin_type_name(v));
}

static double real(jval v) { return v.t == J_FLOAT ? v.u.f : v.t == J_INT ? (double)v.u.i : v.u.b; }
static int64_t whole(jval v) { return v.t == J_INT ? v.u.i : v.u.b; }

static jval repeat(jmachine *m, jval a, int64_t count)
{
    jbuf b = { 0 };
    jval l;

    if (a.t == J_STR) {
        for (int64_t i = 0; i < count && a.u.s.n && jin_step(m, 1); i++)
            jin_write(m, &b, a.u.s.p, a.u.s.n);
        return jin_take(&b);
    }
    l = jin_list(m, a.t);
    for (int64_t i = 0; i < count && a.u.l->n && !m->status; i++)
        for (size_t k = 0; k < a.u.l->n && !m->status; k++) jin_push(m, l.u.l, a.u.l->v[k]);
    return l;
}

static jval whole_numbers(jmachine *m, int op, int64_t a, int64_t b)
{
    int64_t r = 0;
    bool over = false;

    switch (op) {
    case JO_ADD: over = __builtin_add_overflow(a, b, &r); break;
    case JO_SUB: over = __builtin_sub_overflow(a, b, &r); break;
    case JO_MUL: over = __builtin_mul_overflow(a, b, &r); break;
    case JO_POW:
        for (r = 1; b > 0 && !over && jin_step(m, 1); b--) over = __builtin_mul_overflow(r, a, &r);
        break;
    default:
        if (!b) return jin_fail(m, "division by zero");
        if (a == INT64_MIN && b == -1) over = true;
        else if (op == JO_MOD) r = a % b + ((a % b != 0 && (a % b < 0) != (b < 0)) ? b : 0);
        else r = a / b - (a % b != 0 && (a < 0) != (b < 0));
    }
    return over ? jin_fail(m, "a whole number passes 64 bits") : jin_int(r);
}

static jval join(jmachine *m, jval a, jval b)
{
    jbuf out = { 0 };
    jval l;

    if (a.t == J_STR) {
        jin_write_escaped(m, &out, a.u.s, !a.safe && b.safe);
        jin_write_escaped(m, &out, b.u.s, a.safe && !b.safe);
        l = jin_take(&out);
        l.safe = a.safe || b.safe;
        return l;
    }
    l = jin_list(m, a.t);
    for (size_t i = 0; !m->status && i < a.u.l->n; i++) jin_push(m, l.u.l, a.u.l->v[i]);
    for (size_t i = 0; !m->status && i < b.u.l->n; i++) jin_push(m, l.u.l, b.u.l->v[i]);
    return l;
}

jval jin_arithmetic(jmachine *m, int op, jval a, jval b)
{
    static const char *const signs[] = { "", "+", "-", "*", "/", "//", "%", "**" };

    if (m->status) return a;
    if (jin_is_number(a) && jin_is_number(b)) {
        if (op == JO_DIV)
            return real(b) != 0 ? jin_float(real(a) / real(b)) : jin_fail(m, "division by zero");
        if (a.t != J_FLOAT && b.t != J_FLOAT && !(op == JO_POW && whole(b) < 0))
            return whole_numbers(m, op, whole(a), whole(b));
        double x = real(a), y = real(b);
        if ((op == JO_MOD || op == JO_FLOORDIV) && y == 0) return jin_fail(m, "division by zero");
        double rest = op == JO_MOD || op == JO_FLOORDIV ? fmod(x, y) : 0;
        if (rest != 0 && (rest < 0) != (y < 0)) rest += y;
        return jin_float(op == JO_ADD   ? x + y
                         : op == JO_SUB ? x - y
                         : op == JO_MUL ? x * y
                         : op == JO_POW ? pow(x, y)
                         : op == JO_MOD ? rest
                                        : floor((x - rest) / y + 0.5));
    }
    if (op == JO_MOD && a.t == J_STR) return jin_percent(m, a.u.s, b);
    if (op == JO_ADD && a.t == b.t && (a.t == J_STR || a.t == J_LIST || a.t == J_TUPLE))
        return join(m, a, b);
    if (op == JO_MUL && (a.t == J_STR || a.t == J_LIST || a.t == J_TUPLE) &&
        (b.t == J_INT || b.t == J_BOOL))
        return repeat(m, a, whole(b));
    if (op == JO_MUL && (b.t == J_STR || b.t == J_LIST || b.t == J_TUPLE) &&
        (a.t == J_INT || a.t == J_BOOL))
        return repeat(m, b, whole(a));
    return jin_fail(m, "%s %s %s is not supported", jin_type_name(a), signs[op], jin_type_name(b));
}

static jval compare(jmachine *m, const jnode *n)
{
    jval left = jin_eval(m, n->a);

    for (const jnode *part = n->list; part && !m->status; part = part->next) {
        jval right = jin_eval(m, part->a);
        bool holds = false;
        if (m->status) break;
        switch (part->op) {
        case JO_EQ: holds = jin_equal(m, left, right, 0); break;
        case JO_NE: holds = !jin_equal(m, left, right, 0); break;
        case JO_LT: holds = jin_compare(m, left, right, 0) < 0; break;
        case JO_LE: holds = jin_compare(m, left, right, 0) <= 0; break;
        case JO_GT: holds = jin_compare(m, left, right, 0) > 0; break;
        case JO_GE: holds = jin_compare(m, left, right, 0) >= 0; break;
        case JO_IN: holds = jin_contains(m, right, left); break;
        default: holds = !jin_contains(m, right, left); break;
        }
        if (!holds) return jin_bool(false);
        left = right;
    }
    return jin_bool(!m->status);
}

jval jin_attribute(jmachine *m, jval v, jstr name)
{
    jval *found = NULL;

    if (m->status) return v;
    if (v.t == J_UNDEF)
        return jin_fail(m, "'%.*s' is undefined, it has no '%.*s'", (int)nib_min(v.u.s.n, 60),
                        v.u.s.p ? v.u.s.p : "", (int)nib_min(name.n, 60), name.p);
    if (v.t == J_LOOP) {
        jloop *l = v.u.loop;
        int64_t at = (int64_t)l->at, n = (int64_t)l->items->n;
        if (jin_is(name, "index")) return jin_int(at + 1);
        if (jin_is(name, "index0")) return jin_int(at);
        if (jin_is(name, "revindex")) return jin_int(n - at);
        if (jin_is(name, "revindex0")) return jin_int(n - at - 1);
        if (jin_is(name, "first")) return jin_bool(!at);
        if (jin_is(name, "last")) return jin_bool(at == n - 1);
        if (jin_is(name, "length")) return jin_int(n);
        if (jin_is(name, "depth")) return jin_int(l->level);
        if (jin_is(name, "depth0")) return jin_int(l->level - 1);
        if (jin_is(name, "previtem")) return at ? l->items->v[at - 1] : jin_undef(name);
        if (jin_is(name, "nextitem")) return at + 1 < n ? l->items->v[at + 1] : jin_undef(name);
    }
    if (v.t == J_TUPLE && v.u.l->group && jin_is(name, "grouper")) return v.u.l->v[0];
    if (v.t == J_TUPLE && v.u.l->group && jin_is(name, "list")) return v.u.l->v[1];
    if (v.t == J_NAMESPACE) found = jin_get(m, v.u.d, (jval){ .t = J_STR, .u.s = name });
    else if (jin_has_method(v, name)) {
        jval bound = { .t = J_METHOD };
        bound.u.m = jin_alloc(m, sizeof *bound.u.m);
        if (!bound.u.m || !(bound.u.m->self = jin_alloc(m, sizeof v))) return v;
        *bound.u.m->self = v;
        bound.u.m->name = name;
        return bound;
    }
    if (v.t == J_DICT) found = jin_get(m, v.u.d, (jval){ .t = J_STR, .u.s = name });
    return found ? *found : jin_undef(name);
}

jval jin_item(jmachine *m, jval v, jval key)
{
    jval *found;

    if (m->status) return v;
    if (v.t == J_UNDEF)
        return jin_fail(m, "'%.*s' is undefined, it has no elements", (int)nib_min(v.u.s.n, 60),
                        v.u.s.p ? v.u.s.p : "");
    if (v.t == J_DICT && (found = jin_get(m, v.u.d, key))) return *found;
    if ((v.t == J_LIST || v.t == J_TUPLE || v.t == J_STR) && (key.t == J_INT || key.t == J_BOOL)) {
        jlist *l = jin_iterate(m, v);
        int64_t at = whole(key), n = l ? (int64_t)l->n : 0;
        if (at < 0) at += n;
        return at >= 0 && at < n ? l->v[at] : jin_undef((jstr){ "element", 7 });
    }
    if (key.t == J_STR) return jin_attribute(m, v, key.u.s);
    return jin_undef((jstr){ "element", 7 });
}

static jval slice(jmachine *m, const jnode *n)
{
    jval of = jin_eval(m, n->a), made;
    jval part[3] = { { .t = J_NONE }, { .t = J_NONE }, { .t = J_NONE } };
    const jnode *parts[3] = { n->b, n->c, n->other };
    int64_t size, step, at[2];

    for (int i = 0; i < 3; i++) {
        if (parts[i]) part[i] = jin_eval(m, parts[i]);
        if (m->status) return of;
        if (part[i].t != J_NONE && part[i].t != J_INT && part[i].t != J_BOOL)
            return jin_fail(m, "a slice by a %s", jin_type_name(part[i]));
    }
    if (of.t == J_UNDEF) return jin_fail(m, "a slice of something undefined");
    if (of.t != J_STR && of.t != J_LIST && of.t != J_TUPLE) return jin_undef((jstr){ "slice", 5 });
    size = of.t == J_STR ? (int64_t)jin_length(of.u.s) : (int64_t)of.u.l->n;
    step = part[2].t == J_NONE ? 1 : whole(part[2]);
    if (!step) return jin_fail(m, "a slice with step 0");
    if (step > size + 1) step = size + 1;
    if (step < -size - 1) step = -size - 1;
    for (int i = 0; i < 2; i++) {
        int64_t low = step > 0 ? 0 : -1, high = step > 0 ? size : size - 1;
        at[i] = part[i].t == J_NONE ? ((step > 0) == (i == 0) ? low : high) : whole(part[i]);
        if (part[i].t != J_NONE && at[i] < 0) at[i] = at[i] < -size ? low : at[i] + size;
        if (at[i] > high) at[i] = high;
    }
    if (of.t == J_STR) return jin_substr(m, of.u.s, at[0], at[1], step);
    made = jin_list(m, of.t);
    for (int64_t i = at[0]; !m->status && (step > 0 ? i < at[1] : i > at[1]); i += step)
        jin_push(m, made.u.l, of.u.l->v[i]);
    return made;
}

static void arguments(jmachine *m, const jnode *list, jargs *a)
{
    size_t n = 0;
    for (const jnode *p = list; p; p = p->next) n++;
    *a = (jargs){ .v = jin_alloc(m, n * sizeof(jval)), .names = jin_alloc(m, n * sizeof(jstr)),
                  .named = jin_alloc(m, n * sizeof(jval)) };
    for (const jnode *p = list; p && !m->status; p = p->next) {
        jval v = jin_eval(m, p->a);
        if (m->status) return;
        if (p->s.p) {
            a->names[a->named_count] = p->s;
            a->named[a->named_count++] = v;
        } else a->v[a->n++] = v;
    }
}

static jval elements(jmachine *m, const jnode *n)
{
    jval made = n->kind == JN_DICT ? jin_dict(m)
                                   : jin_list(m, n->kind == JN_LIST ? J_LIST : J_TUPLE);

    for (const jnode *p = n->list; p && !m->status; p = p->next) {
        jval v = jin_eval(m, p->a);
        if (n->kind == JN_DICT) {
            jval value = jin_eval(m, p->b);
            if (!m->status) jin_put(m, made.u.d, v, value);
        } else if (!m->status) jin_push(m, made.u.l, v);
    }
    return made;
}

static jval name_value(jmachine *m, jstr name)
{
    jval *v = jin_lookup(m, name);
    if (v) return *v;
    return jin_is_global(name) ? (jval){ .t = J_FUNC, .u.s = name } : jin_undef(name);
}

static jval eval(jmachine *m, const jnode *n)
{
    jval a, b;
    jargs args;
    jbuf text = { 0 };

    switch (n->kind) {
    case JN_CONST: return n->v;
    case JN_NAME: return name_value(m, n->s);
    case JN_LIST: case JN_TUPLE: case JN_DICT: return elements(m, n);
    case JN_ATTR: return jin_attribute(m, jin_eval(m, n->a), n->s);
    case JN_ITEM: a = jin_eval(m, n->a); b = jin_eval(m, n->b); return jin_item(m, a, b);
    case JN_SLICE: return slice(m, n);
    case JN_CALL:
        a = jin_eval(m, n->a);
        arguments(m, n->list, &args);
        return m->status ? a : jin_call(m, a, &args);
    case JN_FILTER:
        a = jin_eval(m, n->a);
        arguments(m, n->list, &args);
        return m->status ? a : jin_filter(m, n->s, a, &args);
    case JN_TEST:
        a = jin_eval(m, n->a);
        arguments(m, n->list, &args);
        return m->status ? a : jin_bool(jin_test(m, n->s, a, &args) != (n->op == 1));
    case JN_NOT: return jin_bool(!jin_truth(jin_eval(m, n->a)));
    case JN_NEG: a = jin_eval(m, n->a); return m->status ? a : negate(m, a);
    case JN_POS:
        a = jin_eval(m, n->a);
        return m->status || jin_is_number(a) ? a : jin_fail(m, "plus a %s", jin_type_name(a));
    case JN_AND: a = jin_eval(m, n->a); return m->status || !jin_truth(a) ? a : jin_eval(m, n->b);
    case JN_OR: a = jin_eval(m, n->a); return m->status || jin_truth(a) ? a : jin_eval(m, n->b);
    case JN_COND:
        a = jin_eval(m, n->b);
        if (m->status) return a;
        return jin_truth(a) ? jin_eval(m, n->a)
               : n->c       ? jin_eval(m, n->c)
                            : jin_undef((jstr){ "if without else", 15 });
    case JN_COMPARE: return compare(m, n);
    case JN_BINARY:
        a = jin_eval(m, n->a);
        b = jin_eval(m, n->b);
        return jin_arithmetic(m, n->op, a, b);
    case JN_CONCAT:
        a = jin_eval(m, n->a);
        b = jin_eval(m, n->b);
        jin_print(m, &text, a);
        jin_print(m, &text, b);
        return jin_take(&text);
    default: return jin_fail(m, "an expression that is none");
    }
}

jval jin_eval(jmachine *m, const jnode *n)
{
    jval v;

    if (m->status || !jin_step(m, 1)) return (jval){ 0 };
    if (++m->depth > NIB_JINJA_EVAL_DEPTH)
        return jin_fail(m, "calls and expressions nested more than %d deep", NIB_JINJA_EVAL_DEPTH);
    if (n->line) m->line = n->line;
    v = eval(m, n);
    m->depth--;
    return m->status ? (jval){ 0 } : v;
}
