/* jinja_template.c - the door of the template engine: parsing once, rendering often. */
#include "text/jinja_parts.h"

/* Python's newlines: \r\n and \r become \n. */
static size_t newlines(char *to, const char *text, size_t bytes)
{
    size_t n = 0;
    for (size_t i = 0; i < bytes; i++) {
        to[n++] = text[i] == '\r' ? '\n' : text[i];
        if (text[i] == '\r' && i + 1 < bytes && text[i + 1] == '\n') i++;
    }
    return n;
}

nib_status nib_jinja_create(nib_ctx *ctx, const char *name, const char *text, size_t bytes,
                            nib_jinja **out, nib_error *err)
{
    jmachine m = { .arena = { .ctx = ctx }, .name = name, .err = err, .line = 1 };
    nib_jinja *t = nib_new(ctx, sizeof *t);
    char *copy;

    if (!t || !(t->name = nib_strdup(ctx, name))) {
        nib_free(ctx, t);
        return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", name);
    }
    t->ctx = ctx;
    if (bytes > NIB_JINJA_OUTPUT / 4) jin_fail(&m, "a template of %zu bytes", bytes);
    copy = jin_alloc(&m, bytes + 1);
    if (copy) {
        jin_lex(&m, copy, newlines(copy, text, bytes));
        m.line = 1;
        if (!m.status) t->body = jin_parse(&m);
    }
    t->arena = m.arena;
    t->marks = m.marks;
    if (!m.status) *out = t;
    else nib_jinja_destroy(t);
    return m.status == NIB_E_INVALID ? NIB_E_FORMAT : m.status;
}

void nib_jinja_destroy(nib_jinja *t)
{
    if (!t) return;
    jin_arena_free(&t->arena);
    nib_free(t->ctx, t->name);
    nib_free(t->ctx, t);
}

bool nib_jinja_marks_generation(const nib_jinja *t) { return t->marks; }

nib_status nib_jinja_render(const nib_jinja *t, const json_t *variables, const struct tm *now,
                            nib_jinja_output *out, nib_error *err)
{
    jmachine m = { .arena = { .ctx = t->ctx }, .name = t->name, .err = err, .now = now };
    jscope root = { 0 };
    jval v = jin_from_json(&m, variables, 0);
    nib_jinja_output made = { 0 };

    for (size_t i = 0; !m.status && i < v.u.d->n; i++)
        jin_set(&m, &root, v.u.d->k[i].u.s, v.u.d->v[i]);
    if (!m.status) jin_run(&m, t->body, &root);
    if (!m.status) {
        made.bytes = m.main_out.n;
        made.span_count = m.span_count;
        made.text = nib_strndup(t->ctx, m.main_out.p ? m.main_out.p : "", made.bytes);
        made.spans = nib_new_array(t->ctx, nib_max(m.span_count, 1), sizeof *made.spans);
        if (!made.text || !made.spans)
            m.status = nib_fail(err, NIB_E_NOMEM, "%s: out of memory", t->name);
        else if (m.span_count) memcpy(made.spans, m.spans, m.span_count * sizeof *made.spans);
    }
    if (!m.status) *out = made;
    else nib_jinja_output_free(t->ctx, &made);
    jin_arena_free(&m.arena);
    return m.status;
}

void nib_jinja_output_free(nib_ctx *ctx, nib_jinja_output *out)
{
    nib_free(ctx, out->text);
    nib_free(ctx, out->spans);
    *out = (nib_jinja_output){ 0 };
}
