/* jinja_args.c - arguments of a call, put where the callee's signature wants them.
 *
 * Every function, filter, test and method takes its arguments through jin_bind(), so that one
 * it does not understand is an error and never ignored.
 *
 * A signature is a list of names as Python's, without values: "old new count?".  A name that ends
 * in '?' may be left out; those before a '/' go by position only, those after a '*' by name only.
 */
#include "text/jinja_parts.h"

typedef struct parameter {
    jstr name;
    bool optional, by_position, by_name;
} parameter;

static size_t read_signature(const char *s, parameter *out)
{
    size_t n = 0, positional = 0;
    bool only_named = false;

    while (*s) {
        size_t length = strcspn(s, " ");
        assert(n < NIB_JINJA_PARAMETERS);
        if (*s == '/')
            positional = n;
        else if (*s == '*')
            only_named = true;
        else {
            bool optional = s[length - 1] == '?';
            out[n++] = (parameter){ { s, length - optional }, optional, !only_named, true };
        }
        s += length;
        s += strspn(s, " ");
    }
    for (size_t i = 0; i < positional; i++) out[i].by_name = false;
    return n;
}

bool jin_bind(jmachine *m, const jargs *a, const char *what, const char *signature, jval *out)
{
    parameter p[NIB_JINJA_PARAMETERS];
    size_t n = read_signature(signature, p), at = 0;

    for (size_t i = 0; i < NIB_JINJA_PARAMETERS; i++) out[i] = (jval){ .t = J_ABSENT };
    for (size_t i = 0; i < a->n && !m->status; i++, at++) {
        if (at == n || !p[at].by_position)
            jin_fail(m, "%s with %zu arguments, at most %zu", what, a->n, at);
        else
            out[at] = a->v[i];
    }
    for (size_t i = 0; i < a->named_count && !m->status; i++) {
        jstr name = a->names[i];
        for (at = 0; at < n; at++)
            if (p[at].by_name && p[at].name.n == name.n && !memcmp(p[at].name.p, name.p, name.n))
                break;
        if (at == n)
            jin_fail(m, "%s does not know the argument '%.*s'", what, (int)nib_min(name.n, 60),
                     name.p);
        else if (out[at].t != J_ABSENT)
            jin_fail(m, "%s with two values for '%.*s'", what, (int)name.n, name.p);
        else
            out[at] = a->named[i];
    }
    for (size_t i = 0; i < n && !m->status; i++)
        if (out[i].t == J_ABSENT && !p[i].optional)
            jin_fail(m, "%s without the argument '%.*s'", what, (int)p[i].name.n, p[i].name.p);
    return !m->status;
}

bool jin_whole(jmachine *m, jval v, const char *what, int64_t otherwise, int64_t *out)
{
    *out = otherwise;
    if (v.t == J_ABSENT || m->status) return !m->status;
    if (v.t != J_INT && v.t != J_BOOL) {
        jin_fail(m, "%s of a %s, it needs an integer", what, jin_type_name(v));
        return false;
    }
    *out = v.t == J_INT ? v.u.i : v.u.b;
    return true;
}

bool jin_words(jmachine *m, jval v, const char *what, const char *otherwise, jstr *out)
{
    *out = (jstr){ otherwise, otherwise ? strlen(otherwise) : 0 };
    if (v.t == J_ABSENT || m->status) return !m->status;
    if (v.t != J_STR) {
        jin_fail(m, "%s of a %s, it needs a string", what, jin_type_name(v));
        return false;
    }
    *out = v.u.s;
    return true;
}

jval jin_or(jval v, jval otherwise)
{
    return v.t == J_ABSENT ? otherwise : v;
}
