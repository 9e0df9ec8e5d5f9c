/* jinja_parse.c - statements to nodes. */
#include "text/jinja_parts.h"

static jnode *body(jmachine *m, const char *const *ends, jstr *ended);

static const char *const end_for[] = { "else", "endfor", NULL }, *const end_if[] = { "elif", "else",
                                                                                     "endif",
                                                                                     NULL };

static jnode *block(jmachine *m, const char *end)
{
    const char *ends[] = { end, NULL };
    jstr ended;
    jnode *n;

    jin_want(m, JT_BLOCKEND, NULL);
    n = body(m, ends, &ended);
    return n;
}

static jnode *targets(jmachine *m);

/* A name, the attribute of a namespace, or (targets): what a value is unpacked into. */
static jnode *target(jmachine *m)
{
    jnode *n;

    if (jin_skip(m, JT_OP, "(")) {
        n = targets(m);
        jin_want(m, JT_OP, ")");
        return n;
    }
    n = jin_node(m, JN_NAME);
    jstr name = jin_want(m, JT_NAME, NULL);
    if (m->status) return n;
    n->s = name;
    if (jin_skip(m, JT_OP, ".")) {
        jnode *attribute = jin_node(m, JN_ATTR);
        name = jin_want(m, JT_NAME, NULL);
        if (m->status) return n;
        attribute->a = n;
        attribute->s = name;
        return attribute;
    }
    return n;
}

/* One target, or several with commas, each wrapped, since a node stands in one list only. */
static jnode *targets(jmachine *m)
{
    jnode *first, *all, **tail;

    if (++m->depth > NIB_JINJA_DEPTH) jin_fail(m, "nested more than %d deep", NIB_JINJA_DEPTH);
    first = target(m);
    all = jin_node(m, JN_TUPLE);
    tail = m->status ? NULL : &all->list;
    for (jnode *n = first; !m->status && (n != first || jin_next_is(m, JT_OP, ","));) {
        jnode *wrapped = jin_node(m, JN_KEYWORD);
        if (m->status) break;
        wrapped->a = n;
        *tail = wrapped;
        tail = &wrapped->next;
        if (!jin_skip(m, JT_OP, ",") || jin_next_is(m, JT_NAME, "in") ||
            jin_next_is(m, JT_OP, ")") || jin_next_is(m, JT_OP, "="))
            break;
        n = target(m);
    }
    m->depth--;
    return !m->status && all->list ? all : first;
}

static void parse_for(jmachine *m, jnode *n)
{
    jstr ended;

    n->a = targets(m);
    jin_want(m, JT_NAME, "in");
    n->b = jin_tuple(m, false);
    if (jin_skip(m, JT_NAME, "if")) n->c = jin_expression(m, true);
    n->op = jin_skip(m, JT_NAME, "recursive"); /* loop(...) renders it again */
    jin_want(m, JT_BLOCKEND, NULL);
    n->list = body(m, end_for, &ended);
    if (!m->status && jin_is(ended, "else")) n->other = block(m, "endfor");
}

static void parse_if(jmachine *m, jnode *n)
{
    jstr ended;

    for (;;) {
        n->a = jin_tuple(m, false);
        jin_want(m, JT_BLOCKEND, NULL);
        n->list = body(m, end_if, &ended);
        if (m->status || jin_is(ended, "endif")) return;
        if (jin_is(ended, "else")) {
            n->other = block(m, "endif");
            return;
        }
        jnode *more = jin_node(m, JN_IF); /* elif: the chain is walked, not recursed into */
        if (m->status) return;
        n->other = more;
        n->op = 1;
        n = more;
    }
}

static void parse_set(jmachine *m, jnode *n)
{
    n->a = targets(m);
    if (jin_skip(m, JT_OP, "=")) {
        n->b = jin_tuple(m, true);
        return;
    }
    n->kind = JN_SETBLOCK;
    jnode *input = jin_node(m, JN_CONST);
    jnode *filtered = jin_filters(m, input);
    if (m->status) return;
    n->b = filtered;
    n->c = input;
    n->list = block(m, "endset");
}

static void parameters(jmachine *m, jnode *n)
{
    jnode **tail = &n->other;

    jin_want(m, JT_OP, "(");
    while (!m->status && !jin_skip(m, JT_OP, ")")) {
        jnode *p = jin_node(m, JN_NAME);
        jstr name = jin_want(m, JT_NAME, NULL);
        jnode *value = jin_skip(m, JT_OP, "=") ? jin_expression(m, true) : NULL;
        if (m->status) return;
        p->s = name;
        p->a = value;
        *tail = p;
        tail = &p->next;
        if (!jin_skip(m, JT_OP, ",") && !jin_next_is(m, JT_OP, ")")) jin_want(m, JT_OP, ")");
    }
}

static void parse_with(jmachine *m, jnode *n)
{
    jnode **tail = &n->other;

    while (!m->status && !jin_next_is(m, JT_BLOCKEND, NULL)) {
        jnode *set = jin_node(m, JN_SET);
        jnode *names = target(m);
        jin_want(m, JT_OP, "=");
        jnode *v = jin_expression(m, true);
        if (m->status) return;
        set->a = names;
        set->b = v;
        *tail = set;
        tail = &set->next;
        if (!jin_skip(m, JT_OP, ",")) break;
    }
    n->list = block(m, "endwith");
}

static jnode *statement(jmachine *m)
{
    jnode *n = jin_node(m, JN_IF);
    jstr word = jin_want(m, JT_NAME, NULL);

    if (m->status) return n;
    if (jin_is(word, "if")) parse_if(m, n);
    else if (jin_is(word, "for")) n->kind = JN_FOR, parse_for(m, n);
    else if (jin_is(word, "set")) n->kind = JN_SET, parse_set(m, n);
    else if (jin_is(word, "macro")) {
        n->kind = JN_MACRO;
        n->s = jin_want(m, JT_NAME, NULL);
        parameters(m, n);
        n->list = block(m, "endmacro");
    } else if (jin_is(word, "call")) {
        n->kind = JN_CALLBLOCK;
        if (jin_next_is(m, JT_OP, "(")) parameters(m, n);
        n->a = jin_expression(m, true);
        n->list = block(m, "endcall");
    } else if (jin_is(word, "filter")) {
        jnode *input = jin_node(m, JN_CONST), *f = jin_node(m, JN_FILTER);
        jstr name = jin_want(m, JT_NAME, NULL);
        if (m->status) return n;
        n->kind = JN_FILTERBLOCK;
        f->a = n->c = input;
        f->s = name;
        if (jin_next_is(m, JT_OP, "(")) f->list = jin_arguments(m);
        n->b = jin_filters(m, f);
        n->list = block(m, "endfilter");
    } else if (jin_is(word, "with")) n->kind = JN_WITH, parse_with(m, n);
    else if (jin_is(word, "generation")) {
        n->kind = JN_GENERATION;
        m->marks = true;
        n->list = block(m, "endgeneration");
    } else if (jin_is(word, "break")) n->kind = JN_BREAK;
    else if (jin_is(word, "continue")) n->kind = JN_CONTINUE;
    else jin_fail(m, "the tag '%.*s' is not supported here", (int)nib_min(word.n, 40), word.p);
    jin_want(m, JT_BLOCKEND, NULL);
    return n;
}

/* Statements up to one of the words `ends` (NULL: the end of the template); takes that
 * word but not the end of its tag. */
static jnode *body(jmachine *m, const char *const *ends, jstr *ended)
{
    jnode *first = NULL, **tail = &first;

    if (++m->depth > NIB_JINJA_DEPTH) jin_fail(m, "nested more than %d deep", NIB_JINJA_DEPTH);
    while (!m->status) {
        jtoken *t = &m->tokens[m->at];
        jnode *n;
        m->line = t->line;
        if (t->t == JT_EOF) {
            if (ends) jin_fail(m, "the template ends where %s is expected", ends[0]);
            break;
        }
        m->at++;
        if (t->t == JT_DATA) {
            n = jin_node(m, JN_TEXT);
            if (!m->status) n->s = t->s;
        } else if (t->t == JT_VARBEGIN) {
            jnode *v = jin_tuple(m, true);
            n = jin_node(m, JN_PRINT);
            jin_want(m, JT_VAREND, NULL);
            if (!m->status) n->a = v;
        } else {
            bool end = false;
            for (size_t i = 0; ends && ends[i]; i++) end |= jin_next_is(m, JT_NAME, ends[i]);
            if (end) {
                *ended = jin_want(m, JT_NAME, NULL);
                break;
            }
            n = statement(m);
        }
        if (m->status) break;
        *tail = n;
        tail = &n->next;
    }
    m->depth--;
    return first;
}

jnode *jin_parse(jmachine *m) { return body(m, NULL, NULL); }
