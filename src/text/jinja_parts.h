/* jinja_parts.h - what the files of the template engine share: values, nodes, the machine.
 *
 * Everything lives in an arena that goes with the template or with one rendering.
 * The first failure is kept in the machine (`status`); after it every function returns
 * undefined at once, so that callers check at loops and not at every call. */
#ifndef NIB_TEXT_JINJA_PARTS_H
#define NIB_TEXT_JINJA_PARTS_H

#include "text/jinja_template.h"

enum {
    NIB_JINJA_DEPTH = 64,        /* nesting of the source */
    NIB_JINJA_EVAL_DEPTH = 400,  /* nested evaluations, calls included */
    NIB_JINJA_PARAMETERS = 6,    /* of a function, filter, test or method */
    NIB_JINJA_VALUE_DEPTH = 100, /* lists in lists that are printed or compared */
    NIB_JINJA_LOOPS = 1000000,
    NIB_JINJA_STEPS = 50000000,
    NIB_JINJA_OUTPUT = 16 << 20,
    NIB_JINJA_MEMORY = 256 << 20
};

typedef struct jarena { nib_ctx *ctx; struct jchunk *chunks; size_t total; } jarena;
typedef struct jstr { const char *p; size_t n; } jstr;
typedef enum jtype {
    J_UNDEF,
    J_NONE,
    J_BOOL,
    J_INT,
    J_FLOAT,
    J_STR,
    J_LIST,
    J_TUPLE,
    J_GEN,
    J_DICT,
    J_NAMESPACE,
    J_MACRO,
    J_FUNC,
    J_METHOD,
    J_LOOP,
    J_ABSENT /* an argument that was not given: jin_bind() */
} jtype;
typedef struct jval jval;
typedef struct jlist {
    jval *v;
    size_t n, room;
    bool group; /* a pair of the filter groupby: its members have names too */
} jlist;
typedef struct jdict { jval *k, *v; size_t n, room; } jdict;
typedef struct jnode jnode;
typedef struct jscope jscope;
typedef struct jloop {
    jlist *items;
    size_t at;
    jlist *changed;
    int level;
    const jnode *recursive; /* what loop(...) renders; NULL: the loop is not recursive */
    jscope *scope;          /* around it */
} jloop;
typedef struct jmacro { const jnode *node; jscope *scope; jval *defaults; } jmacro;
typedef struct jmethod { jval *self; jstr name; } jmethod;
struct jval {
    jtype t;
    bool safe; /* a string that went through |safe */
    union {
        bool b;
        int64_t i;
        double f;
        jstr s;
        jlist *l;
        jdict *d;
        jmacro *macro;
        jmethod *m;
        jloop *loop;
    } u;
};

typedef enum jkind { /* expressions, then statements */
                     JN_CONST,
                     JN_NAME,
                     JN_LIST,
                     JN_TUPLE,
                     JN_DICT,
                     JN_ATTR,
                     JN_ITEM,
                     JN_SLICE,
                     JN_CALL,
                     JN_FILTER,
                     JN_TEST,
                     JN_NOT,
                     JN_NEG,
                     JN_POS,
                     JN_AND,
                     JN_OR,
                     JN_COND,
                     JN_COMPARE,
                     JN_BINARY,
                     JN_CONCAT,
                     JN_KEYWORD,
                     JN_TEXT,
                     JN_PRINT,
                     JN_IF,
                     JN_FOR,
                     JN_SET,
                     JN_SETBLOCK,
                     JN_MACRO,
                     JN_CALLBLOCK,
                     JN_FILTERBLOCK,
                     JN_WITH,
                     JN_GENERATION,
                     JN_BREAK,
                     JN_CONTINUE
} jkind;
struct jnode {
    jkind kind;
    int line, op;    /* op: a jop, or 1 for "is not" */
    jstr s;          /* name or text */
    jval v;          /* constant */
    jnode *a, *b, *c;
    jnode *list;     /* arguments, elements, body */
    jnode *other;    /* else branch, macro parameters */
    jnode *next;     /* in the list this node stands in */
};
typedef enum jop {
    JO_NONE,
    JO_ADD,
    JO_SUB,
    JO_MUL,
    JO_DIV,
    JO_FLOORDIV,
    JO_MOD,
    JO_POW,
    JO_EQ,
    JO_NE,
    JO_LT,
    JO_LE,
    JO_GT,
    JO_GE,
    JO_IN,
    JO_NOTIN
} jop;
typedef enum jtok {
    JT_DATA,
    JT_VARBEGIN,
    JT_VAREND,
    JT_BLOCKBEGIN,
    JT_BLOCKEND,
    JT_NAME,
    JT_STRING,
    JT_INT,
    JT_FLOAT,
    JT_OP,
    JT_EOF
} jtok;
typedef struct jtoken { jtok t; jstr s; int line; jval v; } jtoken;

typedef struct jbuf { char *p; size_t n, room; } jbuf;
typedef struct jvar { jstr name; jval v; } jvar;
struct jscope { jscope *parent; jvar *vars; size_t n, room; };

/* One parse or one rendering under way. */
typedef struct jmachine {
    jarena arena;
    const char *name;
    nib_status status;
    nib_error *err;
    int line, depth, loop_level;
    uint64_t steps, loops;
    const struct tm *now;
    jscope *scope;
    jbuf *out, main_out;
    nib_text_span *spans;
    size_t span_count, span_room;
    jtoken *tokens; /* parsing */
    size_t token_count, token_room, at;
    bool marks;
} jmachine;
typedef struct jargs { jval *v; size_t n; jstr *names; jval *named; size_t named_count; } jargs;

struct nib_jinja { nib_ctx *ctx; char *name; jarena arena; jnode *body; bool marks; };

/* jinja_value.c */
void *jin_alloc(jmachine *m, size_t bytes);
void *jin_room(jmachine *m, void *old, size_t n, size_t *room,
               size_t each); /* for one more; NULL: failed */
void jin_arena_free(jarena *a);
jval jin_fail(jmachine *m, const char *format, ...) NIB_PRINTF(2, 3);
bool jin_step(jmachine *m, uint64_t count);
jval jin_str(jmachine *m, const char *p, size_t n); /* copies */
jval jin_cstr(const char *p);                        /* borrows */
jval jin_int(int64_t i);
jval jin_float(double f);
jval jin_bool(bool b);
jval jin_none(void);
jval jin_undef(jstr name);
jval jin_list(jmachine *m, jtype t);
void jin_push(jmachine *m, jlist *l, jval v);
jval jin_dict(jmachine *m);
void jin_put(jmachine *m, jdict *d, jval key, jval v);
jval *jin_get(jmachine *m, const jdict *d, jval key);
jval jin_from_json(jmachine *m, const json_t *j, int depth);
bool jin_is(jstr s, const char *name);
bool jin_truth(jval v);
bool jin_is_list(jval v);
bool jin_is_number(jval v);
bool jin_equal(jmachine *m, jval a, jval b, int depth);
int jin_compare(jmachine *m, jval a, jval b, int depth);
bool jin_contains(jmachine *m, jval in, jval what);
const char *jin_type_name(jval v);
jlist *jin_iterate(jmachine *m, jval v);
/* jinja_buffer.c */
void jin_write(jmachine *m, jbuf *b, const char *p, size_t n);
jval jin_take(jbuf *b);
/* jinja_print.c */
void jin_print(jmachine *m, jbuf *b, jval v);
void jin_repr(jmachine *m, jbuf *b, jval v, int depth);
jval jin_text(jmachine *m, jval v); /* str(v) */
void jin_json(jmachine *m, jbuf *b, jval v, const char *indent, bool sort, bool ascii, jstr item,
              jstr colon, int depth);
/* jinja_utf8.c */
size_t jin_char(const char *p, size_t n, int32_t *c); /* bytes of the first code point */
size_t jin_length(jstr s);                            /* in code points */
size_t jin_offset(jstr s, int64_t at); /* bytes before code point `at`, which may be the end */
bool jin_space(int32_t c);
size_t jin_find(jstr s, jstr what, size_t from); /* in bytes; SIZE_MAX: not there */
size_t jin_find_last(jstr s, jstr what);
/* jinja_strings.c: positions are code points */
jval jin_strip(jstr s, const jstr *chars, bool left, bool right);
jval jin_case(jmachine *m, jstr s, int how); /* 'u', 'l', 'c' capitalize, 't' str.title, 'T' the
                                                filter title, 's' swapcase, 'f' casefold */
jval jin_replace(jmachine *m, jstr s, jstr from, jstr to, int64_t count);
jval jin_split(jmachine *m, jstr s, const jstr *by, int64_t max, bool right);
jval jin_substr(jmachine *m, jstr s, int64_t from, int64_t to, int64_t step);
jval jin_lines(jmachine *m, jstr s, bool keep_ends); /* str.splitlines */
/* Padded to `width` code points: 'l' the text stands left, 'r' right, 'c' as str.center does. */
jval jin_pad(jmachine *m, jstr s, int64_t width, jstr fill, char side);
void jin_write_escaped(jmachine *m, jbuf *out, jstr s, bool escape);
jval jin_escape(jmachine *m, jval v); /* markupsafe.escape */
/* jinja_lex.c, jinja_parse.c, jinja_expression.c */
void jin_lex(jmachine *m, const char *text, size_t n);
jnode *jin_parse(jmachine *m);
jnode *jin_node(jmachine *m, jkind kind);
jnode *jin_expression(jmachine *m, bool cond);
jnode *jin_tuple(jmachine *m, bool cond);
jnode *jin_arguments(jmachine *m);
jnode *jin_filters(jmachine *m, jnode *node);
bool jin_next_is(jmachine *m, jtok t, const char *s);
bool jin_skip(jmachine *m, jtok t, const char *s);
jstr jin_want(jmachine *m, jtok t, const char *s);
/* jinja_args.c: arguments by a signature, out[NIB_JINJA_PARAMETERS]; then single ones; false:
 * failed */
bool jin_bind(jmachine *m, const jargs *a, const char *what, const char *signature, jval *out);
bool jin_whole(jmachine *m, jval v, const char *what, int64_t otherwise, int64_t *out);
bool jin_words(jmachine *m, jval v, const char *what, const char *otherwise, jstr *out);
jval jin_or(jval v, jval otherwise); /* v, unless it is absent */
static inline int64_t jin_least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}
static inline int64_t jin_most(int64_t a, int64_t b)
{
    return a > b ? a : b;
}
/* jinja_format.c: `text % v`, and text.format(...) */
jval jin_percent(jmachine *m, jstr text, jval v);
jval jin_format(jmachine *m, jstr text, const jargs *a);
/* jinja_numbers.c: the filters int, float, round; arguments as bound */
jval jin_to_int(jmachine *m, jval v, const jval *a);
jval jin_to_float(jmachine *m, jval v, const jval *a);
jval jin_round(jmachine *m, jval v, const jval *a);
/* jinja_lists.c: filters of sequences; NULL: there is none of that name */
typedef jval jfilter(jmachine *m, jval v, jstr name, const jval *a);
jfilter *jin_list_filter(jstr name, const char **signature);
jval jin_path(jmachine *m, jval v, jval name); /* an attribute, or "a.0.b" */
/* jinja_eval.c, jinja_run.c, jinja_calls.c, jinja_filters.c, jinja_tests.c, jinja_methods.c */
jval jin_eval(jmachine *m, const jnode *n);
void jin_run(jmachine *m, const jnode *body, jscope *root);
jval jin_attribute(jmachine *m, jval v, jstr name);
jval jin_item(jmachine *m, jval v, jval key);
jval jin_arithmetic(jmachine *m, int op, jval a, jval b);
jval jin_call(jmachine *m, jval f, const jargs *a);
jval jin_call_macro(jmachine *m, jmacro *macro, const jargs *a);
jval jin_call_loop(jmachine *m, jloop *loop, jval items); /* of a recursive one */
jval jin_call_global(jmachine *m, jstr name, const jargs *a);
bool jin_is_global(jstr name);
jval jin_filter(jmachine *m, jstr name, jval v, const jargs *a);
bool jin_is_filter(jstr name);
bool jin_test(jmachine *m, jstr name, jval v, const jargs *a);
bool jin_is_test(jstr name);
jval jin_method(jmachine *m, jval self, jstr name, const jargs *a);
bool jin_has_method(jval self, jstr name);
void jin_set(jmachine *m, jscope *s, jstr name, jval v);
jval *jin_lookup(jmachine *m, jstr name);

#endif
