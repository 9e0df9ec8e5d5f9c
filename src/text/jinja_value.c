/* jinja_value.c - the arena and the values of a template: making, comparing, truth. */
#include "text/jinja_parts.h"

#include <stdio.h>

struct jchunk { struct jchunk *next; size_t used, room; _Alignas(16) char bytes[]; };

jval jin_fail(jmachine *m, const char *format, ...)
{
    char text[400];
    va_list list;

    if (!m->status) {
        va_start(list, format);
        vsnprintf(text, sizeof text, format, list);
        va_end(list);
        m->status = nib_fail(m->err, NIB_E_INVALID, "%s: line %d: %s", m->name, m->line, text);
    }
    return (jval){ 0 };
}

void *jin_alloc(jmachine *m, size_t bytes)
{
    struct jchunk *c = m->arena.chunks;
    size_t room;
    void *p;

    if (m->status) return NULL;
    if (bytes > NIB_JINJA_MEMORY - m->arena.total) {
        jin_fail(m, "the template uses more than %d MiB of memory", NIB_JINJA_MEMORY >> 20);
        return NULL;
    }
    bytes = nib_round_up(nib_max(bytes, 1), 16);
    if (!c || bytes > c->room - c->used) {
        room = nib_max(bytes, 16384);
        c = nib_alloc(m->arena.ctx, sizeof *c + room);
        if (!c) {
            m->status = nib_fail(m->err, NIB_E_NOMEM, "%s: out of memory", m->name);
            return NULL;
        }
        *c = (struct jchunk){ .next = m->arena.chunks, .room = room };
        m->arena.chunks = c;
    }
    p = c->bytes + c->used;
    c->used += bytes;
    m->arena.total += bytes;
    memset(p, 0, bytes);
    return p;
}

void jin_arena_free(jarena *a)
{
    while (a->chunks) {
        struct jchunk *c = a->chunks;
        a->chunks = c->next;
        nib_free(a->ctx, c);
    }
}

void *jin_room(jmachine *m, void *old, size_t n, size_t *room, size_t each)
{
    size_t wanted = *room * 2 + 8;
    void *grown;

    if (m->status) return NULL;
    if (n < *room) return old;
    grown = jin_alloc(m, wanted * each);
    if (!grown) return NULL;
    if (n) memcpy(grown, old, n * each);
    *room = wanted;
    return grown;
}

bool jin_step(jmachine *m, uint64_t count)
{
    m->steps += count;
    if (m->steps > NIB_JINJA_STEPS)
        jin_fail(m, "the template takes more than %d steps", NIB_JINJA_STEPS);
    return !m->status;
}

jval jin_cstr(const char *p) { return (jval){ .t = J_STR, .u.s = { p, strlen(p) } }; }
jval jin_int(int64_t i) { return (jval){ .t = J_INT, .u.i = i }; }
jval jin_float(double f) { return (jval){ .t = J_FLOAT, .u.f = f }; }
jval jin_bool(bool b) { return (jval){ .t = J_BOOL, .u.b = b }; }
jval jin_none(void) { return (jval){ .t = J_NONE }; }
jval jin_undef(jstr name) { return (jval){ .t = J_UNDEF, .u.s = name }; }

jval jin_str(jmachine *m, const char *p, size_t n)
{
    char *copy = jin_alloc(m, n + 1);

    if (!copy) return (jval){ 0 };
    if (n) memcpy(copy, p, n);
    return (jval){ .t = J_STR, .u.s = { copy, n } };
}

jval jin_list(jmachine *m, jtype t)
{
    jval v = { .t = t };
    v.u.l = jin_alloc(m, sizeof *v.u.l);
    return v.u.l ? v : (jval){ 0 };
}

void jin_push(jmachine *m, jlist *l, jval v)
{
    jval *grown;

    if (m->status || !jin_step(m, 1)) return;
    grown = jin_room(m, l->v, l->n, &l->room, sizeof *l->v);
    if (!grown) return;
    l->v = grown;
    l->v[l->n++] = v;
}

jval jin_dict(jmachine *m)
{
    jval v = { .t = J_DICT };
    v.u.d = jin_alloc(m, sizeof *v.u.d);
    return v.u.d ? v : (jval){ 0 };
}

jval *jin_get(jmachine *m, const jdict *d, jval key)
{
    if (!jin_step(m, d->n / 8)) return NULL;
    for (size_t i = 0; i < d->n; i++)
        if (jin_equal(m, d->k[i], key, 0)) return &d->v[i];
    return NULL;
}

static void put_last(jmachine *m, jdict *d, jval key, jval v)
{
    size_t room = d->room;
    jval *k = jin_room(m, d->k, d->n, &room, sizeof *k), *values;

    if (!k) return;
    values = jin_room(m, d->v, d->n, &d->room, sizeof *values);
    if (!values) return;
    d->k = k;
    d->v = values;
    d->k[d->n] = key;
    d->v[d->n++] = v;
}

void jin_put(jmachine *m, jdict *d, jval key, jval v)
{
    jval *old = jin_get(m, d, key);

    if (key.t == J_LIST || key.t == J_DICT) jin_fail(m, "a %s cannot be a key", jin_type_name(key));
    if (old) *old = v;
    else put_last(m, d, key, v);
}

jval jin_from_json(jmachine *m, const json_t *j, int depth)
{
    jval v = { 0 };
    const char *key;
    json_t *member;

    if (depth > NIB_JINJA_VALUE_DEPTH)
        return jin_fail(m, "the data is nested more than %d deep", NIB_JINJA_VALUE_DEPTH);
    switch (json_typeof(j)) {
    case JSON_NULL: return jin_none();
    case JSON_TRUE: return jin_bool(true);
    case JSON_FALSE: return jin_bool(false);
    case JSON_INTEGER: return jin_int(json_integer_value(j));
    case JSON_REAL: return jin_float(json_real_value(j));
    case JSON_STRING: /* borrowed: the variables outlive the rendering */
        return (jval){ .t = J_STR, .u.s = { json_string_value(j), json_string_length(j) } };
    case JSON_ARRAY:
        v = jin_list(m, J_LIST);
        for (size_t i = 0; !m->status && i < json_array_size(j); i++)
            jin_push(m, v.u.l, jin_from_json(m, json_array_get(j, i), depth + 1));
        return v;
    case JSON_OBJECT:
        v = jin_dict(m);
        json_object_foreach((json_t *)(uintptr_t)j, key, member) {
            jval inner = jin_from_json(m, member, depth + 1);
            if (m->status) break;
            put_last(m, v.u.d, jin_cstr(key), inner); /* keys of JSON are distinct already */
        }
        return v;
    }
    return v;
}

bool jin_is(jstr s, const char *name) { return strlen(name) == s.n && !memcmp(s.p, name, s.n); }
bool jin_is_list(jval v) { return v.t == J_LIST || v.t == J_TUPLE || v.t == J_GEN; }
bool jin_is_number(jval v) { return v.t == J_INT || v.t == J_FLOAT || v.t == J_BOOL; }

bool jin_truth(jval v)
{
    switch (v.t) {
    case J_UNDEF: case J_NONE: return false;
    case J_BOOL: return v.u.b;
    case J_INT: return v.u.i != 0;
    case J_FLOAT: return v.u.f != 0;
    case J_STR: return v.u.s.n != 0;
    case J_LIST: case J_TUPLE: return v.u.l->n != 0;
    case J_DICT: return v.u.d->n != 0;
    default: return true;
    }
}

static double number(jval v)
{
    return v.t == J_FLOAT ? v.u.f : v.t == J_INT ? (double)v.u.i : v.u.b;
}
static int64_t whole(jval v) { return v.t == J_INT ? v.u.i : v.u.b; }

bool jin_equal(jmachine *m, jval a, jval b, int depth)
{
    if (depth > NIB_JINJA_VALUE_DEPTH) return jin_fail(m, "values nested too deep to compare").u.b;
    if (!jin_step(m, 1)) return false;
    if (jin_is_number(a) && jin_is_number(b))
        return a.t == J_FLOAT || b.t == J_FLOAT ? number(a) == number(b) : whole(a) == whole(b);
    if (a.t != b.t) return false;
    switch (a.t) {
    case J_UNDEF: case J_NONE: return true;
    case J_STR: return a.u.s.n == b.u.s.n && (!a.u.s.n || !memcmp(a.u.s.p, b.u.s.p, a.u.s.n));
    case J_LIST: case J_TUPLE:
        if (a.u.l->n != b.u.l->n) return false;
        for (size_t i = 0; i < a.u.l->n; i++)
            if (!jin_equal(m, a.u.l->v[i], b.u.l->v[i], depth + 1)) return false;
        return true;
    case J_DICT:
        if (a.u.d->n != b.u.d->n) return false;
        for (size_t i = 0; i < a.u.d->n; i++) {
            jval *other = jin_get(m, b.u.d, a.u.d->k[i]);
            if (!other || !jin_equal(m, a.u.d->v[i], *other, depth + 1)) return false;
        }
        return true;
    case J_MACRO: return a.u.macro == b.u.macro;
    case J_LOOP: return a.u.loop == b.u.loop;
    default: return a.u.d == b.u.d;
    }
}

int jin_compare(jmachine *m, jval a, jval b, int depth)
{
    if (!jin_step(m, 1) || depth > NIB_JINJA_VALUE_DEPTH) return 0;
    if (jin_is_number(a) && jin_is_number(b)) {
        if (a.t != J_FLOAT && b.t != J_FLOAT) return (whole(a) > whole(b)) - (whole(a) < whole(b));
        return (number(a) > number(b)) - (number(a) < number(b));
    }
    if (a.t == J_STR && b.t == J_STR) { /* UTF-8 sorts as its code points do */
        size_t n = nib_min(a.u.s.n, b.u.s.n);
        int c = n ? memcmp(a.u.s.p, b.u.s.p, n) : 0;
        return c ? c : (a.u.s.n > b.u.s.n) - (a.u.s.n < b.u.s.n);
    }
    if (a.t == b.t && (a.t == J_LIST || a.t == J_TUPLE)) {
        for (size_t i = 0; i < a.u.l->n && i < b.u.l->n; i++)
            if (!jin_equal(m, a.u.l->v[i], b.u.l->v[i], 0))
                return jin_compare(m, a.u.l->v[i], b.u.l->v[i], depth + 1);
        return (a.u.l->n > b.u.l->n) - (a.u.l->n < b.u.l->n);
    }
    jin_fail(m, "%s and %s have no order", jin_type_name(a), jin_type_name(b));
    return 0;
}

bool jin_contains(jmachine *m, jval in, jval what)
{
    if (in.t == J_STR && what.t == J_STR)
        return jin_step(m, in.u.s.n / 16) && jin_find(in.u.s, what.u.s, 0) != SIZE_MAX;
    if (in.t == J_DICT) return jin_get(m, in.u.d, what) != NULL;
    if (in.t == J_UNDEF) return false;
    if (!jin_is_list(in))
        return jin_fail(m, "'in' needs a text of text, a list or a mapping, not %s",
                        jin_type_name(in))
            .u.b;
    for (size_t i = 0; i < in.u.l->n; i++)
        if (jin_equal(m, in.u.l->v[i], what, 0)) return true;
    return false;
}

const char *jin_type_name(jval v)
{
    static const char *const names[] = { "undefined", "none",    "boolean",   "integer",
                                         "float",     "string",  "list",      "tuple",
                                         "generator", "mapping", "namespace", "macro",
                                         "function",  "method",  "loop",      "missing argument" };
    return names[v.t];
}

jlist *jin_iterate(jmachine *m, jval v)
{
    jval l;

    if (jin_is_list(v)) return v.u.l;
    if (v.t != J_DICT && v.t != J_STR && v.t != J_UNDEF) {
        jin_fail(m, "a %s cannot be iterated", jin_type_name(v));
        return NULL;
    }
    l = jin_list(m, J_LIST);
    if (v.t == J_DICT)
        for (size_t i = 0; !m->status && i < v.u.d->n; i++) jin_push(m, l.u.l, v.u.d->k[i]);
    if (v.t == J_STR)
        for (size_t i = 0, n; !m->status && i < v.u.s.n; i += n) {
            int32_t c;
            n = jin_char(v.u.s.p + i, v.u.s.n - i, &c);
            jin_push(m, l.u.l, (jval){ .t = J_STR, .u.s = { v.u.s.p + i, n } });
        }
    return m->status ? NULL : l.u.l;
}
