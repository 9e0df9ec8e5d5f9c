/* jinja_tests.c - what stands after "is". */
#include "text/jinja_parts.h"

bool jin_test(jmachine *m, jstr name, jval v, const jargs *a)
{
    jval x = jin_arg(a, 0, NULL, jin_none());

    if (jin_is(name, "defined")) return v.t != J_UNDEF;
    if (jin_is(name, "undefined")) return v.t == J_UNDEF;
    if (jin_is(name, "none")) return v.t == J_NONE;
    if (jin_is(name, "string")) return v.t == J_STR;
    if (jin_is(name, "mapping")) return v.t == J_DICT;
    if (jin_is(name, "iterable"))
        return jin_is_list(v) || v.t == J_STR || v.t == J_DICT || v.t == J_UNDEF;
    if (jin_is(name, "sequence"))
        return v.t == J_LIST || v.t == J_TUPLE || v.t == J_STR || v.t == J_DICT || v.t == J_UNDEF;
    if (jin_is(name, "number")) return jin_is_number(v);
    if (jin_is(name, "integer")) return v.t == J_INT;
    if (jin_is(name, "float")) return v.t == J_FLOAT;
    if (jin_is(name, "boolean")) return v.t == J_BOOL;
    if (jin_is(name, "true")) return v.t == J_BOOL && v.u.b;
    if (jin_is(name, "false")) return v.t == J_BOOL && !v.u.b;
    if (jin_is(name, "callable")) return v.t == J_MACRO || v.t == J_FUNC || v.t == J_METHOD;
    if (jin_is(name, "equalto") || jin_is(name, "eq")) return jin_equal(m, v, x, 0);
    if (jin_is(name, "ne")) return !jin_equal(m, v, x, 0);
    if (jin_is(name, "in")) return jin_contains(m, x, v);
    if (jin_is(name, "lt") || jin_is(name, "lessthan")) return jin_compare(m, v, x, 0) < 0;
    if (jin_is(name, "gt") || jin_is(name, "greaterthan")) return jin_compare(m, v, x, 0) > 0;
    if (jin_is(name, "le")) return jin_compare(m, v, x, 0) <= 0;
    if (jin_is(name, "ge")) return jin_compare(m, v, x, 0) >= 0;
    if (jin_is(name, "odd") && v.t == J_INT) return v.u.i % 2 != 0;
    if (jin_is(name, "even") && v.t == J_INT) return v.u.i % 2 == 0;
    if (jin_is(name, "divisibleby") && v.t == J_INT && x.t == J_INT && x.u.i > 0)
        return v.u.i % x.u.i == 0;
    return jin_fail(m, "the test '%.*s' is not supported here", (int)nib_min(name.n, 60), name.p)
        .u.b;
}
