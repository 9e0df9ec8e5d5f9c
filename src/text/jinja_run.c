/* jinja_run.c - statements: scopes, loops, macros, captured blocks. */
#include "text/jinja_parts.h"

typedef enum flow { GO_ON, BREAK, CONTINUE } flow;
static flow run(jmachine *m, const jnode *list);

jval *jin_lookup(jmachine *m, jstr name)
{
    for (jscope *s = m->scope; s; s = s->parent)
        for (size_t i = s->n; i-- > 0;)
            if (s->vars[i].name.n == name.n && !memcmp(s->vars[i].name.p, name.p, name.n))
                return &s->vars[i].v;
    return NULL;
}

void jin_set(jmachine *m, jscope *s, jstr name, jval v)
{
    jvar *grown;

    if (m->status || !jin_step(m, 1 + s->n / 8)) return;
    for (size_t i = 0; i < s->n; i++)
        if (s->vars[i].name.n == name.n && !memcmp(s->vars[i].name.p, name.p, name.n)) {
            s->vars[i].v = v;
            return;
        }
    grown = jin_room(m, s->vars, s->n, &s->room, sizeof *grown);
    if (!grown) return;
    s->vars = grown;
    grown[s->n++] = (jvar){ name, v };
}

static void assign(jmachine *m, const jnode *to, jval v)
{
    if (m->status) return;
    if (to->kind == JN_NAME) jin_set(m, m->scope, to->s, v);
    else if (to->kind == JN_ATTR) {
        jval *space = to->a->kind == JN_NAME ? jin_lookup(m, to->a->s) : NULL;
        if (!space || space->t != J_NAMESPACE)
            jin_fail(m, "only a namespace can be given an attribute ('%.*s')",
                     (int)nib_min(to->s.n, 60), to->s.p);
        else jin_put(m, space->u.d, (jval){ .t = J_STR, .u.s = to->s }, v);
    } else {
        jlist *l = jin_iterate(m, v);
        size_t at = 0, want = 0;
        for (const jnode *n = to->list; n; n = n->next) want++;
        if (l && l->n != want) { jin_fail(m, "%zu names for %zu values", want, l->n); return; }
        for (const jnode *n = to->list; l && n; n = n->next) assign(m, n->a, l->v[at++]);
    }
}

static flow in_scope(jmachine *m, const jnode *list, jscope *s)
{
    flow f;
    s->parent = m->scope;
    m->scope = s;
    f = run(m, list);
    m->scope = s->parent;
    return f;
}

static jval capture(jmachine *m, const jnode *list)
{
    jbuf b = { 0 }, *outer = m->out;
    jscope s = { 0 };

    m->out = &b;
    in_scope(m, list, &s);
    m->out = outer;
    return jin_take(&b);
}

static void run_for(jmachine *m, const jnode *n, jval items, jscope *outer)
{
    jlist *all = jin_iterate(m, items);
    jval kept = jin_list(m, J_LIST);
    jloop loop = { .items = all, .level = m->loop_level + 1, .scope = outer };
    jloop *shared;
    flow f = GO_ON;

    if (m->status || !all) return;
    if (n->op) loop.recursive = n;
    if (n->c) {
        for (size_t i = 0; i < all->n && !m->status; i++) {
            jscope s = { .parent = outer };
            m->scope = &s;
            assign(m, n->a, all->v[i]);
            if (jin_truth(jin_eval(m, n->c))) jin_push(m, kept.u.l, all->v[i]);
            m->scope = outer;
        }
        loop.items = kept.u.l;
    }
    shared = jin_alloc(m, sizeof *shared); /* a template may keep the loop in a namespace */
    if (m->status) return;
    *shared = loop;
    if (!shared->items->n) {
        jscope s = { 0 };
        in_scope(m, n->other, &s);
        return;
    }
    m->loop_level++;
    for (size_t i = 0; i < shared->items->n && !m->status && f != BREAK; i++) {
        jscope s = { .parent = outer };
        if (++m->loops > NIB_JINJA_LOOPS) jin_fail(m, "the loops pass %d rounds", NIB_JINJA_LOOPS);
        shared->at = i;
        m->scope = &s;
        jin_set(m, &s, (jstr){ "loop", 4 }, (jval){ .t = J_LOOP, .u.loop = shared });
        assign(m, n->a, shared->items->v[i]);
        f = run(m, n->list);
        m->scope = outer;
    }
    m->loop_level--;
    shared->recursive = NULL; /* the scopes around it end: a kept loop cannot be called any more */
}

jval jin_call_loop(jmachine *m, jloop *loop, jval items)
{
    jbuf b = { 0 }, *out = m->out;
    jscope *scope = m->scope;
    int level = m->loop_level;

    if (++m->depth > NIB_JINJA_EVAL_DEPTH)
        return jin_fail(m, "calls and blocks nested more than %d deep", NIB_JINJA_EVAL_DEPTH);
    m->out = &b;
    m->scope = loop->scope;
    m->loop_level = loop->level;
    run_for(m, loop->recursive, items, loop->scope);
    m->loop_level = level;
    m->scope = scope;
    m->out = out;
    m->depth--;
    return jin_take(&b);
}

static jval make_macro(jmachine *m, const jnode *n)
{
    jval v = { .t = J_MACRO };
    jscope *kept = m->scope;
    size_t count = 0;

    /* a loop's scope ends before the macro may */
    for (jscope *s = m->scope; s->parent; s = s->parent)
        if (s == m->scope) {
            kept = jin_alloc(m, sizeof *kept);
            if (!kept) return v;
            *kept = *s;
        } else {
            jscope *copy = jin_alloc(m, sizeof *copy), *at = kept;
            if (!copy) return v;
            *copy = *s;
            while (at->parent != s) at = at->parent;
            at->parent = copy;
        }
    for (const jnode *p = n->other; p; p = p->next) count++;
    v.u.macro = jin_alloc(m, sizeof *v.u.macro);
    if (!v.u.macro) return v;
    *v.u.macro = (jmacro){ n, kept, NULL };
    return v;
}

jval jin_call_macro(jmachine *m, jmacro *macro, const jargs *a)
{
    jscope s = { .parent = macro->scope }, *outer = m->scope;
    size_t at = 0, used = 0;
    jval made;

    m->scope = &s;
    for (const jnode *p = macro->node->other; p && !m->status; p = p->next, at++) {
        jval none = { .t = J_MACRO }, v = at < a->n ? a->v[at] : none;
        bool given = at < a->n;
        for (size_t i = 0; i < a->named_count; i++)
            if (a->names[i].n == p->s.n && !memcmp(a->names[i].p, p->s.p, p->s.n)) {
                if (given)
                    jin_fail(m, "two values for the argument '%.*s' of a macro", (int)p->s.n,
                             p->s.p);
                v = a->named[i], given = true, used++;
            }
        if (!given) v = p->a ? jin_eval(m, p->a) : jin_undef(p->s);
        jin_set(m, &s, p->s, v);
    }
    for (size_t i = 0; i < a->named_count; i++)
        if (jin_is(a->names[i], "caller")) jin_set(m, &s, a->names[i], a->named[i]), used++;
    if (!m->status && (a->n > at || used < a->named_count))
        jin_fail(m, "too many or unknown arguments for the macro '%.*s'",
                 (int)nib_min(macro->node->s.n, 60), macro->node->s.p ? macro->node->s.p : "");
    made = m->status ? (jval){ 0 } : capture(m, macro->node->list);
    m->scope = outer;
    return made;
}

static void run_call_block(jmachine *m, const jnode *n)
{
    jval caller = make_macro(m, n), *named = jin_alloc(m, 16 * sizeof *named), callee;
    jstr *names = jin_alloc(m, 16 * sizeof *names);
    jargs a = { .v = jin_alloc(m, 16 * sizeof(jval)), .names = names, .named = named };

    if (!m->status && n->a->kind != JN_CALL) jin_fail(m, "call needs a call");
    if (m->status) return;
    callee = jin_eval(m, n->a->a);
    for (const jnode *p = n->a->list; p && !m->status; p = p->next) {
        jval v = jin_eval(m, p->a);
        if (a.n + a.named_count >= 15) jin_fail(m, "more than 15 arguments");
        else if (p->s.p) names[a.named_count] = p->s, named[a.named_count++] = v;
        else a.v[a.n++] = v;
    }
    names[a.named_count] = (jstr){ "caller", 6 };
    named[a.named_count++] = caller;
    if (!m->status) jin_print(m, m->out, jin_call(m, callee, &a));
}

static void run_generation(jmachine *m, const jnode *n)
{
    jscope s = { 0 };
    nib_text_span span = { .begin = m->main_out.n };
    nib_text_span *grown;

    if (m->out != &m->main_out) {
        jin_fail(m, "a generation block inside a macro or a captured block is not supported");
        return;
    }
    in_scope(m, n->list, &s);
    span.end = m->main_out.n;
    grown = jin_room(m, m->spans, m->span_count, &m->span_room, sizeof *grown);
    if (!grown) return;
    m->spans = grown;
    grown[m->span_count++] = span;
}

/* set and filter blocks: what was captured goes through the filters, whose innermost
 * operand is the placeholder n->c; its value is put in by a copy of the chain's head. */
static jval filtered(jmachine *m, const jnode *f, const jnode *input, jval text)
{
    const jnode *chain[NIB_JINJA_DEPTH];
    jnode held = *input, one;
    size_t n = 0;

    for (; f != input && n < NIB_COUNT(chain); f = f->a) chain[n++] = f;
    if (f != input) return jin_fail(m, "more than %d filters", NIB_JINJA_DEPTH);
    held.kind = JN_CONST;
    while (n && !m->status) {
        one = *chain[--n];
        held.v = text;
        one.a = &held;
        text = jin_eval(m, &one);
    }
    return text;
}

static flow run_one(jmachine *m, const jnode *n)
{
    jscope s = { 0 };
    flow f = GO_ON;

    switch (n->kind) {
    case JN_TEXT: jin_write(m, m->out, n->s.p, n->s.n); break;
    case JN_PRINT: jin_print(m, m->out, jin_eval(m, n->a)); break;
    case JN_IF:
        for (; !m->status; n = n->other) {
            if (jin_truth(jin_eval(m, n->a))) return run(m, n->list);
            if (n->op != 1) return run(m, n->other); /* op 1: what follows is an elif */
        }
        break;
    case JN_FOR: run_for(m, n, jin_eval(m, n->b), m->scope); break;
    case JN_SET: assign(m, n->a, jin_eval(m, n->b)); break;
    case JN_SETBLOCK: assign(m, n->a, filtered(m, n->b, n->c, capture(m, n->list))); break;
    case JN_MACRO: jin_set(m, m->scope, n->s, make_macro(m, n)); break;
    case JN_CALLBLOCK: run_call_block(m, n); break;
    case JN_FILTERBLOCK: jin_print(m, m->out, filtered(m, n->b, n->c, capture(m, n->list))); break;
    case JN_WITH:
        for (const jnode *p = n->other; p && !m->status; p = p->next) {
            jval v = jin_eval(m, p->b);
            jscope *outer = m->scope;
            m->scope = &s;
            assign(m, p->a, v);
            m->scope = outer;
        }
        f = in_scope(m, n->list, &s);
        break;
    case JN_GENERATION: run_generation(m, n); break;
    case JN_BREAK: return BREAK;
    case JN_CONTINUE: return CONTINUE;
    default: jin_fail(m, "a statement that is none");
    }
    return f;
}

static flow run(jmachine *m, const jnode *list)
{
    flow f = GO_ON;

    if (++m->depth > NIB_JINJA_EVAL_DEPTH)
        jin_fail(m, "calls and blocks nested more than %d deep", NIB_JINJA_EVAL_DEPTH);
    for (; list && !m->status && f == GO_ON && jin_step(m, 1); list = list->next) {
        m->line = list->line;
        f = run_one(m, list);
    }
    m->depth--;
    return f;
}

void jin_run(jmachine *m, const jnode *list, jscope *root)
{
    m->scope = root;
    m->out = &m->main_out;
    run(m, list);
}
