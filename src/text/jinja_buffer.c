/* jinja_buffer.c - text that grows while a template is rendered. */
#include "text/jinja_parts.h"

void jin_write(jmachine *m, jbuf *b, const char *p, size_t n)
{
    if (m->status || !n) return;
    if (n > NIB_JINJA_OUTPUT - b->n) {
        jin_fail(m, "the text passes %d MiB", NIB_JINJA_OUTPUT >> 20);
        return;
    }
    if (b->n + n > b->room) {
        size_t room = nib_max(b->room * 2, b->n + n + 32);
        char *grown = jin_alloc(m, room);
        if (!grown) return;
        if (b->n) memcpy(grown, b->p, b->n);
        b->p = grown;
        b->room = room;
    }
    memcpy(b->p + b->n, p, n);
    b->n += n;
}

jval jin_take(jbuf *b)
{
    return (jval){ .t = J_STR, .u.s = { b->p ? b->p : "", b->n } };
}
