/* jinja_expression.c - expressions to nodes, with jinja2's order of binding. */
#include "text/jinja_parts.h"

static jtoken *now(jmachine *m) { return &m->tokens[m->at]; }

bool jin_next_is(jmachine *m, jtok t, const char *s)
{
    return !m->status && now(m)->t == t && (!s || jin_is(now(m)->s, s));
}

bool jin_skip(jmachine *m, jtok t, const char *s)
{
    if (!jin_next_is(m, t, s)) return false;
    if (now(m)->t != JT_EOF) m->at++;
    m->line = now(m)->line;
    return true;
}

jstr jin_want(jmachine *m, jtok t, const char *s)
{
    static const char *const kinds[] = { "text",    "{{",     "}}",       "{%",
                                         "%}",      "a name", "a string", "an integer",
                                         "a float", "",       "the end" };
    jstr got = now(m)->s;

    m->line = now(m)->line;
    if (!jin_skip(m, t, s))
        jin_fail(m, "expected %s, found '%.*s'", s ? s : kinds[t], (int)nib_min(got.n, 40), got.p);
    return got;
}

jnode *jin_node(jmachine *m, jkind kind)
{
    static jnode nothing; /* what a failed parse continues with until it returns; never written */
    jnode *n = jin_alloc(m, sizeof *n);
    if (!n) return &nothing;
    n->kind = kind;
    n->line = m->line;
    return n;
}

static bool op(jmachine *m, const char *s) { return jin_skip(m, JT_OP, s); }
static bool word(jmachine *m, const char *s) { return jin_skip(m, JT_NAME, s); }

static jnode *make(jmachine *m, jkind kind, int which, jnode *a, jnode *b)
{
    jnode *n = jin_node(m, kind);
    if (m->status) return n;
    n->op = which;
    n->a = a;
    n->b = b;
    return n;
}

static jnode *constant(jmachine *m, jval v)
{
    jnode *n = jin_node(m, JN_CONST);
    if (!m->status) n->v = v;
    return n;
}

jnode *jin_arguments(jmachine *m)
{
    jnode *first = NULL, **tail = &first;

    jin_want(m, JT_OP, "(");
    while (!m->status && !op(m, ")")) {
        jnode *n;
        if (jin_next_is(m, JT_OP, "*") || jin_next_is(m, JT_OP, "**"))
            jin_fail(m, "arguments with * are not supported");
        if (jin_next_is(m, JT_NAME, NULL) && m->tokens[m->at + 1].t == JT_OP &&
            jin_is(m->tokens[m->at + 1].s, "=")) {
            n = jin_node(m, JN_KEYWORD);
            jstr name = jin_want(m, JT_NAME, NULL);
            jin_want(m, JT_OP, "=");
            jnode *v = jin_expression(m, true);
            if (!m->status) n->s = name, n->a = v;
        } else
            n = make(m, JN_KEYWORD, 0, jin_expression(m, true), NULL);
        if (m->status) break;
        *tail = n;
        tail = &n->next;
        if (!op(m, ",") && !jin_next_is(m, JT_OP, ")")) jin_want(m, JT_OP, ")");
    }
    return first;
}

/* Elements up to `close`; wrapped, since a node stands in one list only. */
static jnode *elements(jmachine *m, jkind kind, const char *close)
{
    jnode *all = jin_node(m, kind), *first = NULL, **tail = &first;

    while (!m->status && !op(m, close)) {
        jnode *n = make(m, JN_KEYWORD, 0, jin_expression(m, true), NULL);
        if (kind == JN_DICT) {
            jin_want(m, JT_OP, ":");
            jnode *v = jin_expression(m, true);
            if (!m->status) n->b = v;
        }
        if (m->status) break;
        *tail = n;
        tail = &n->next;
        if (!op(m, ",") && !jin_next_is(m, JT_OP, close)) jin_want(m, JT_OP, close);
    }
    if (!m->status) all->list = first;
    return all;
}

static bool tuple_ends(jmachine *m)
{
    return m->status || jin_next_is(m, JT_VAREND, NULL) || jin_next_is(m, JT_BLOCKEND, NULL) ||
           jin_next_is(m, JT_OP, ")") || jin_next_is(m, JT_NAME, "in") ||
           jin_next_is(m, JT_OP, "=") || jin_next_is(m, JT_NAME, "if");
}

jnode *jin_tuple(jmachine *m, bool cond)
{
    jnode *first = jin_expression(m, cond), *all, **tail;

    if (!jin_next_is(m, JT_OP, ",")) return first;
    all = jin_node(m, JN_TUPLE);
    first = make(m, JN_KEYWORD, 0, first, NULL);
    if (m->status) return all;
    all->list = first;
    tail = &first->next;
    while (op(m, ",") && !tuple_ends(m)) {
        jnode *n = make(m, JN_KEYWORD, 0, jin_expression(m, cond), NULL);
        if (m->status) break;
        *tail = n;
        tail = &n->next;
    }
    return all;
}

static jnode *primary(jmachine *m)
{
    jtoken *t = now(m);
    jnode *n;

    if (m->status) return jin_node(m, JN_CONST);
    m->line = t->line;
    if (t->t == JT_INT || t->t == JT_FLOAT) return m->at++, constant(m, t->v);
    if (t->t == JT_STRING) {
        jbuf b = { 0 };
        for (; now(m)->t == JT_STRING && !m->status; m->at++)
            jin_write(m, &b, now(m)->v.u.s.p, now(m)->v.u.s.n);
        return constant(m, jin_take(&b));
    }
    if (t->t == JT_NAME) {
        m->at++;
        if (jin_is(t->s, "true") || jin_is(t->s, "True")) return constant(m, jin_bool(true));
        if (jin_is(t->s, "false") || jin_is(t->s, "False")) return constant(m, jin_bool(false));
        if (jin_is(t->s, "none") || jin_is(t->s, "None")) return constant(m, jin_none());
        n = jin_node(m, JN_NAME);
        if (!m->status) n->s = t->s;
        return n;
    }
    if (op(m, "(")) {
        if (op(m, ")")) return jin_node(m, JN_TUPLE);
        n = jin_tuple(m, true);
        jin_want(m, JT_OP, ")");
        return n;
    }
    if (op(m, "[")) return elements(m, JN_LIST, "]");
    if (op(m, "{")) return elements(m, JN_DICT, "}");
    jin_fail(m, "unexpected '%.*s'", (int)nib_min(t->s.n, 40), t->s.p);
    return jin_node(m, JN_CONST);
}

static jnode *subscript(jmachine *m, jnode *of)
{
    jnode *part[3] = { NULL, NULL, NULL }, *n;
    int colons = 0;

    while (!m->status && !jin_next_is(m, JT_OP, "]")) {
        if (op(m, ":")) {
            if (++colons > 2) jin_fail(m, "a slice with more than two colons");
        } else if (part[colons]) jin_want(m, JT_OP, "]");
        else part[colons] = jin_expression(m, true);
    }
    jin_want(m, JT_OP, "]");
    if (!colons && !part[0]) jin_fail(m, "nothing between [ and ]");
    n = make(m, colons ? JN_SLICE : JN_ITEM, 0, of, part[0]);
    if (m->status) return n;
    n->c = part[1];
    n->other = part[2];
    return n;
}

static jnode *postfix(jmachine *m, jnode *n)
{
    while (!m->status) {
        if (op(m, ".")) {
            if (jin_next_is(m, JT_INT, NULL)) {
                jnode *key = primary(m);
                n = make(m, JN_ITEM, 0, n, key);
            } else {
                jstr name = jin_want(m, JT_NAME, NULL);
                n = make(m, JN_ATTR, 0, n, NULL);
                if (!m->status) n->s = name;
            }
        } else if (op(m, "[")) n = subscript(m, n);
        else if (jin_next_is(m, JT_OP, "(")) {
            jnode *args = jin_arguments(m);
            n = make(m, JN_CALL, 0, n, NULL);
            if (!m->status) n->list = args;
        } else break;
    }
    return n;
}

static jnode *one_test(jmachine *m, jnode *n)
{
    bool negated = word(m, "not");
    jstr name = jin_want(m, JT_NAME, NULL);
    jnode *args = NULL;

    if (jin_next_is(m, JT_OP, "(")) args = jin_arguments(m);
    else if (!m->status &&
             (now(m)->t == JT_STRING || now(m)->t == JT_INT || now(m)->t == JT_FLOAT ||
              jin_next_is(m, JT_OP, "[") || jin_next_is(m, JT_OP, "{") ||
              (now(m)->t == JT_NAME && !jin_next_is(m, JT_NAME, "else") &&
               !jin_next_is(m, JT_NAME, "or") && !jin_next_is(m, JT_NAME, "and") &&
               !jin_next_is(m, JT_NAME, "is") && !jin_next_is(m, JT_NAME, "if"))))
        args = make(m, JN_KEYWORD, 0, postfix(m, primary(m)), NULL);
    n = make(m, JN_TEST, negated, n, NULL);
    if (!m->status) n->s = name, n->list = args;
    return n;
}

jnode *jin_filters(jmachine *m, jnode *n)
{
    while (!m->status) {
        if (op(m, "|")) {
            jstr name = jin_want(m, JT_NAME, NULL);
            jnode *args = jin_next_is(m, JT_OP, "(") ? jin_arguments(m) : NULL;
            n = make(m, JN_FILTER, 0, n, NULL);
            if (!m->status) n->s = name, n->list = args;
        } else if (word(m, "is")) n = one_test(m, n);
        else if (jin_next_is(m, JT_OP, "(")) n = postfix(m, n);
        else break;
    }
    return n;
}

static jnode *unary(jmachine *m, bool filters)
{
    jnode *n;

    if (++m->depth > NIB_JINJA_DEPTH) jin_fail(m, "nested more than %d deep", NIB_JINJA_DEPTH);
    if (op(m, "-")) n = make(m, JN_NEG, 0, unary(m, false), NULL);
    else if (op(m, "+")) n = make(m, JN_POS, 0, unary(m, false), NULL);
    else n = primary(m);
    n = postfix(m, n);
    if (filters) n = jin_filters(m, n);
    m->depth--;
    return n;
}

typedef struct level { const char *word; jop op; int level; } level;
static const level binary[] = { { "+", JO_ADD, 0 }, { "-", JO_SUB, 0 },       { "~", JO_NONE, 1 },
                                { "*", JO_MUL, 2 }, { "//", JO_FLOORDIV, 2 }, { "/", JO_DIV, 2 },
                                { "%", JO_MOD, 2 }, { "**", JO_POW, 3 } };

static jnode *arithmetic(jmachine *m, int at) /* at most four calls deep */
{
    jnode *n = at == 4 ? unary(m, true) : arithmetic(m, at + 1);

    for (size_t i = 0; at < 4 && i < NIB_COUNT(binary) && !m->status;) {
        if (binary[i].level == at && op(m, binary[i].word)) {
            n = make(m, at == 1 ? JN_CONCAT : JN_BINARY, (int)binary[i].op, n,
                     arithmetic(m, at + 1));
            i = 0;
        } else i++;
    }
    return n;
}

static jop comparison(jmachine *m)
{
    static const level ops[] = { { "==", JO_EQ, 0 }, { "!=", JO_NE, 0 }, { "<=", JO_LE, 0 },
                                 { "<", JO_LT, 0 },  { ">=", JO_GE, 0 }, { ">", JO_GT, 0 } };

    for (size_t i = 0; i < NIB_COUNT(ops); i++)
        if (op(m, ops[i].word)) return ops[i].op;
    if (word(m, "in")) return JO_IN;
    if (jin_next_is(m, JT_NAME, "not") && m->tokens[m->at + 1].t == JT_NAME &&
        jin_is(m->tokens[m->at + 1].s, "in")) {
        m->at += 2;
        return JO_NOTIN;
    }
    return JO_NONE;
}

static jnode *compare(jmachine *m)
{
    jnode *n = arithmetic(m, 0), **tail = NULL;

    for (jop which; !m->status && (which = comparison(m));) {
        jnode *part = make(m, JN_KEYWORD, (int)which, arithmetic(m, 0), NULL);
        if (!tail) {
            n = make(m, JN_COMPARE, 0, n, NULL);
            tail = &n->list;
        }
        if (m->status) break;
        *tail = part;
        tail = &part->next;
    }
    return n;
}

static jnode *negation(jmachine *m)
{
    bool odd = false, any = false;
    jnode *n;

    for (; word(m, "not"); any = true) odd = !odd;
    n = compare(m);
    if (any) n = make(m, JN_NOT, 0, n, NULL);
    if (any && !odd) n = make(m, JN_NOT, 0, n, NULL);
    return n;
}

static jnode *conjunction(jmachine *m)
{
    jnode *n = negation(m);
    while (word(m, "and")) n = make(m, JN_AND, 0, n, negation(m));
    return n;
}

jnode *jin_expression(jmachine *m, bool cond)
{
    jnode *n;

    if (++m->depth > NIB_JINJA_DEPTH) jin_fail(m, "nested more than %d deep", NIB_JINJA_DEPTH);
    n = conjunction(m);
    while (word(m, "or")) n = make(m, JN_OR, 0, n, conjunction(m));
    while (cond && word(m, "if")) {
        jnode *test = conjunction(m), *otherwise = NULL;
        while (word(m, "or")) test = make(m, JN_OR, 0, test, conjunction(m));
        if (word(m, "else")) otherwise = jin_expression(m, true);
        n = make(m, JN_COND, 0, n, test);
        if (!m->status) n->c = otherwise;
    }
    m->depth--;
    return n;
}
