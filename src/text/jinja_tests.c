/* jinja_tests.c - what stands after "is". */
#include "text/jinja_parts.h"

#include <stdio.h>

typedef bool run_test(jmachine *m, jval v, jstr name, const jval *a);

static bool of_type(jmachine *m, jval v, jstr name, const jval *a)
{
    (void)m, (void)a;
    if (jin_is(name, "defined")) return v.t != J_UNDEF;
    if (jin_is(name, "undefined")) return v.t == J_UNDEF;
    if (jin_is(name, "none")) return v.t == J_NONE;
    if (jin_is(name, "string")) return v.t == J_STR;
    if (jin_is(name, "mapping")) return v.t == J_DICT;
    if (jin_is(name, "iterable"))
        return jin_is_list(v) || v.t == J_STR || v.t == J_DICT || v.t == J_UNDEF || v.t == J_LOOP;
    if (jin_is(name, "sequence"))
        return v.t == J_LIST || v.t == J_TUPLE || v.t == J_STR || v.t == J_DICT || v.t == J_UNDEF;
    if (jin_is(name, "number")) return jin_is_number(v);
    if (jin_is(name, "integer")) return v.t == J_INT;
    if (jin_is(name, "float")) return v.t == J_FLOAT;
    if (jin_is(name, "boolean")) return v.t == J_BOOL;
    if (jin_is(name, "true")) return v.t == J_BOOL && v.u.b;
    if (jin_is(name, "false")) return v.t == J_BOOL && !v.u.b;
    if (jin_is(name, "escaped")) return v.t == J_STR && v.safe;
    return v.t == J_MACRO || v.t == J_FUNC || v.t == J_METHOD || /* callable */
           (v.t == J_LOOP && v.u.loop->recursive);
}

static bool compares(jmachine *m, jval v, jstr name, const jval *a)
{
    static const struct {
        const char *name;
        jop op;
    } names[] = { { "==", JO_EQ },          { "eq", JO_EQ },       { "equalto", JO_EQ },
                  { "!=", JO_NE },          { "ne", JO_NE },       { "<", JO_LT },
                  { "lt", JO_LT },          { "lessthan", JO_LT }, { "<=", JO_LE },
                  { "le", JO_LE },          { ">", JO_GT },        { "gt", JO_GT },
                  { "greaterthan", JO_GT }, { ">=", JO_GE },       { "ge", JO_GE } };
    jop op = JO_NONE;

    for (size_t i = 0; i < NIB_COUNT(names); i++)
        if (jin_is(name, names[i].name)) op = names[i].op;
    switch (op) {
    case JO_EQ: return jin_equal(m, v, a[0], 0);
    case JO_NE: return !jin_equal(m, v, a[0], 0);
    case JO_LT: return jin_compare(m, v, a[0], 0) < 0;
    case JO_LE: return jin_compare(m, v, a[0], 0) <= 0;
    case JO_GT: return jin_compare(m, v, a[0], 0) > 0;
    default: return jin_compare(m, v, a[0], 0) >= 0;
    }
}

static bool divides(jmachine *m, jval v, jstr name, const jval *a)
{
    bool odd = jin_is(name, "odd"), given = jin_is(name, "divisibleby");

    if (!jin_is_number(v) || (given && !jin_is_number(a[0])))
        return jin_fail(m, "the test '%.*s' of a %s", (int)name.n, name.p, jin_type_name(v)).u.b;
    v = jin_arithmetic(m, JO_MOD, v, given ? a[0] : jin_int(2));
    return !m->status && jin_equal(m, v, jin_int(odd), 0);
}

/* "is": of strings and floats it depends on how Python keeps them. */
static bool same(jmachine *m, jval v, jstr name, const jval *a)
{
    (void)name;
    if (v.t != a[0].t) return false;
    if (v.t == J_STR || v.t == J_FLOAT)
        return jin_fail(m, "the test 'sameas' of a %s", jin_type_name(v)).u.b;
    if (v.t == J_NONE) return true;
    if (v.t == J_BOOL) return v.u.b == a[0].u.b;
    return v.t == J_INT ? v.u.i == a[0].u.i : v.u.d == a[0].u.d;
}

static bool is_in(jmachine *m, jval v, jstr name, const jval *a)
{
    (void)name;
    return jin_contains(m, a[0], v);
}

static bool is_cased(jmachine *m, jval v, jstr name, const jval *a)
{
    jargs none = { 0 };

    (void)a;
    v = jin_text(m, v);
    if (m->status) return false;
    v = jin_method(m, v, jin_is(name, "lower") ? (jstr){ "islower", 7 } : (jstr){ "isupper", 7 },
                   &none);
    return !m->status && v.u.b;
}

static bool is_known(jmachine *m, jval v, jstr name, const jval *a)
{
    (void)m, (void)a;
    if (v.t != J_STR) return false;
    return jin_is(name, "filter") ? jin_is_filter(v.u.s) : jin_is_test(v.u.s);
}

static const struct {
    const char *name, *signature;
    run_test *run;
} tests[] = { { "defined", "", of_type },
              { "undefined", "", of_type },
              { "none", "", of_type },
              { "string", "", of_type },
              { "mapping", "", of_type },
              { "iterable", "", of_type },
              { "sequence", "", of_type },
              { "number", "", of_type },
              { "integer", "", of_type },
              { "float", "", of_type },
              { "boolean", "", of_type },
              { "true", "", of_type },
              { "false", "", of_type },
              { "callable", "", of_type },
              { "escaped", "", of_type },
              { "==", "b /", compares },
              { "eq", "b /", compares },
              { "equalto", "b /", compares },
              { "!=", "b /", compares },
              { "ne", "b /", compares },
              { "<", "b /", compares },
              { "lt", "b /", compares },
              { "lessthan", "b /", compares },
              { "<=", "b /", compares },
              { "le", "b /", compares },
              { ">", "b /", compares },
              { "gt", "b /", compares },
              { "greaterthan", "b /", compares },
              { ">=", "b /", compares },
              { "ge", "b /", compares },
              { "in", "seq", is_in },
              { "sameas", "other", same },
              { "odd", "", divides },
              { "even", "", divides },
              { "divisibleby", "num", divides },
              { "lower", "", is_cased },
              { "upper", "", is_cased },
              { "filter", "", is_known },
              { "test", "", is_known } };

bool jin_is_test(jstr name)
{
    for (size_t i = 0; i < NIB_COUNT(tests); i++)
        if (jin_is(name, tests[i].name)) return true;
    return false;
}

bool jin_test(jmachine *m, jstr name, jval v, const jargs *a)
{
    jval bound[NIB_JINJA_PARAMETERS];
    char what[80];

    for (size_t i = 0; i < NIB_COUNT(tests); i++)
        if (jin_is(name, tests[i].name)) {
            snprintf(what, sizeof what, "the test '%s'", tests[i].name);
            return jin_bind(m, a, what, tests[i].signature, bound) &&
                   tests[i].run(m, v, name, bound);
        }
    return jin_fail(m, "the test '%.*s' is not supported here", (int)nib_min(name.n, 60), name.p)
        .u.b;
}
