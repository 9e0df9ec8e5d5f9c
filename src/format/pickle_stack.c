/* pickle_stack.c - the stack of pickle.c, and its errors. */
#include "format/pickle_machine.h"

enum { MOST_MARKS = 64 };

nib_status nib_pickle_broken(const nib_pickler *m, const char *what)
{
    return nib_fail(m->err, NIB_E_FORMAT, "%s: byte %zu of its pickle: %s", m->where, m->at, what);
}

nib_status nib_pickle_no_memory(const nib_pickler *m)
{
    return nib_fail(m->err, NIB_E_NOMEM, "%s: out of memory", m->where);
}

nib_status nib_pickle_push(nib_pickler *m, nib_pickled v)
{
    if (!nib_grow(m->ctx, &m->stack, &m->stack_room, m->depth + 1, sizeof *m->stack))
        return nib_pickle_no_memory(m);
    if (v.kind == MARK && ++m->marks > MOST_MARKS)
        return nib_pickle_broken(m, "nested deeper than 64");
    m->stack[m->depth++] = v;
    return NIB_OK;
}

nib_status nib_pickle_pop(nib_pickler *m, nib_pickled *out)
{
    if (!m->depth || m->stack[m->depth - 1].kind == MARK)
        return nib_pickle_broken(m, "takes a value where there is none");
    *out = m->stack[--m->depth];
    return NIB_OK;
}

const nib_pickled *nib_pickle_items(const nib_pickler *m, const nib_pickled *v)
{
    return v->kind == TUPLE && v->count ? m->pool + v->first : NULL;
}
