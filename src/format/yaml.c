/* yaml.c - libyaml's events into the tree of yaml.h.
 *
 * The parser keeps a stack of the open lists and maps, no deeper than NIB_YAML_MOST_DEPTH, so
 * nothing here recurses.  libyaml has no hooks for its allocations; it reports a lack of memory. */
#include "format/yaml.h"

#include <stdio.h>
#include <yaml.h>

#include "base/filemap.h"

struct nib_yaml {
    nib_ctx *ctx;
    char *where;
    nib_yaml_node *root;
    struct block *blocks; /* all memory of the tree */
    size_t nodes;
};

struct block { struct block *next; };

typedef struct level { nib_yaml_node *node, *last; } level;

typedef struct builder {
    nib_yaml *y;
    level stack[NIB_YAML_MOST_DEPTH];
    size_t depth;
    const char *key;      /* read, its value due */
    unsigned key_line, key_column;
} builder;

static nib_status no_memory(const nib_yaml *y, nib_error *err)
{
    return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", y->where);
}

/* Memory that lives as long as the tree; zeroed. */
static void *take(nib_yaml *y, size_t bytes)
{
    struct block *b = nib_new(y->ctx, sizeof *b + bytes);

    if (!b) return NULL;
    b->next = y->blocks;
    y->blocks = b;
    return b + 1;
}

static nib_status NIB_PRINTF(4, 5)
    refuse(const builder *b, const yaml_mark_t *at, nib_error *err, const char *format, ...)
{
    char what[512];
    va_list args;

    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    return nib_fail(err, NIB_E_FORMAT, "%s:%zu:%zu: %s", b->y->where, at->line + 1, at->column + 1,
                    what);
}

/* What libyaml's words mean to somebody who wrote the file. */
static const char *explain(const char *problem)
{
    static const struct { const char *says, *means; } words[] = {
        { "mapping values are not allowed",
          "a ':' where none may stand: is the line indented wrongly, or a text with ': ' not "
          "quoted?" },
        { "could not find expected ':'", "a key without its ':'" },
        { "did not find expected key",
          "this line does not fit those above: is it indented wrongly?" },
        { "did not find expected '-'",
          "this line does not fit the list above: is it indented wrongly?" },
        { "did not find expected ',' or", "a list or map in brackets that is not closed" },
        { "did not find expected <document start>", "text behind the end of the document" },
        { "cannot start any token",
          "a character that no value begins with: put a text in quotes, indent with blanks" },
        { "violates indentation", "a tab, or indentation that does not fit" },
        { "unexpected end of stream", "the file ends inside a quoted text" },
        { "unknown escape", "a backslash in double quotes: use single quotes" },
        { "control characters", "control characters are not allowed" },
        { "UTF-8", "a byte that is not UTF-8 text" },
        { "UTF-16", "not UTF-8 text" },
    };

    for (size_t i = 0; problem && i < NIB_COUNT(words); i++)
        if (strstr(problem, words[i].says)) return words[i].means;
    return "it cannot be read from here on";
}

/* What libyaml found wrong itself. */
static nib_status parser_failure(const builder *b, const yaml_parser_t *p, const char *text,
                                 size_t bytes, nib_error *err)
{
    yaml_mark_t at = p->problem_mark;

    if (p->error == YAML_MEMORY_ERROR) return no_memory(b->y, err);
    if (p->error == YAML_READER_ERROR) { /* it gives an offset in bytes, not a mark */
        at = (yaml_mark_t){ 0 };
        for (size_t i = 0; i < p->problem_offset && i < bytes; i++) {
            if (text[i] == '\n') at.line++, at.column = 0;
            else if (((unsigned char)text[i] & 0xc0) != 0x80) at.column++;
        }
    }
    return refuse(b, &at, err, "not YAML: %s", explain(p->problem));
}

static nib_status make_node(builder *b, const yaml_event_t *e, nib_yaml_kind kind,
                            nib_yaml_node **out, nib_error *err)
{
    nib_yaml *y = b->y;
    nib_yaml_node *n;

    if (++y->nodes > NIB_YAML_MOST_NODES)
        return refuse(b, &e->start_mark, err, "more than %d values", NIB_YAML_MOST_NODES);
    n = take(y, sizeof *n);
    if (!n) return no_memory(y, err);
    *n = (nib_yaml_node){ .kind = kind, .line = (unsigned)e->start_mark.line + 1,
                          .column = (unsigned)e->start_mark.column + 1, .key = b->key,
                          .key_line = b->key_line, .key_column = b->key_column };
    b->key = NULL;
    b->key_line = b->key_column = 0;
    if (b->depth) {
        level *top = &b->stack[b->depth - 1];
        if (top->last) top->last->next = n;
        else top->node->first = n;
        top->last = n;
        top->node->count++;
    } else {
        y->root = n;
    }
    *out = n;
    return NIB_OK;
}

static bool key_is_due(const builder *b)
{
    return b->depth && b->stack[b->depth - 1].node->kind == NIB_YAML_MAP && !b->key;
}

static nib_status open_level(builder *b, const yaml_event_t *e, nib_yaml_kind kind, nib_error *err)
{
    nib_yaml_node *n = NULL;
    nib_status status;

    if (key_is_due(b))
        return refuse(b, &e->start_mark, err, "a key must be text, not a list or a map");
    if (b->depth == NIB_YAML_MOST_DEPTH)
        return refuse(b, &e->start_mark, err, "nested deeper than %d", NIB_YAML_MOST_DEPTH);
    status = make_node(b, e, kind, &n, err);
    if (!status) b->stack[b->depth++] = (level){ n, NULL };
    return status;
}

static nib_status take_key(builder *b, const yaml_event_t *e, const char *text, nib_error *err)
{
    const nib_yaml_node *map = b->stack[b->depth - 1].node;

    if (!*text) return refuse(b, &e->start_mark, err, "a key is empty");
    if (strcmp(text, "<<") == 0)
        return refuse(b, &e->start_mark, err,
                      "merge keys (<<) are not understood: write the keys out");
    for (const nib_yaml_node *n = map->first; n; n = n->next)
        if (strcmp(n->key, text) == 0)
            return refuse(b, &e->start_mark, err,
                          "%.100s is given a second time, the first is in line %u", text,
                          n->key_line);
    b->key = text;
    b->key_line = (unsigned)e->start_mark.line + 1;
    b->key_column = (unsigned)e->start_mark.column + 1;
    return NIB_OK;
}

static nib_status take_scalar(builder *b, const yaml_event_t *e, nib_error *err)
{
    const char *from = (const char *)e->data.scalar.value;
    size_t bytes = e->data.scalar.length;
    nib_yaml_node *n = NULL;
    nib_status status;
    char *text;

    if (memchr(from, 0, bytes)) return refuse(b, &e->start_mark, err, "a text holds a zero byte");
    text = take(b->y, bytes + 1);
    if (!text) return no_memory(b->y, err);
    memcpy(text, from, bytes);
    if (key_is_due(b)) return take_key(b, e, text, err);
    status = make_node(b, e, NIB_YAML_SCALAR, &n, err);
    if (status) return status;
    n->text = text;
    n->quoted = e->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
    return NIB_OK;
}

static nib_status no_extras(const builder *b, const yaml_event_t *e, const yaml_char_t *anchor,
                            const yaml_char_t *tag, nib_error *err)
{
    if (anchor)
        return refuse(b, &e->start_mark, err,
                      "anchors (&%.60s) are not understood: write the value out", anchor);
    if (tag)
        return refuse(b, &e->start_mark, err,
                      "tags (%.60s) are not understood: a value has the type its key asks for",
                      tag);
    return NIB_OK;
}

static nib_status take_event(builder *b, const yaml_event_t *e, nib_error *err)
{
    nib_status status = NIB_OK;

    switch (e->type) {
    case YAML_NO_EVENT:
    case YAML_STREAM_START_EVENT:
    case YAML_STREAM_END_EVENT:
    case YAML_DOCUMENT_END_EVENT: break;
    case YAML_DOCUMENT_START_EVENT:
        if (b->y->root)
            return refuse(b, &e->start_mark, err, "a second document begins; one is expected");
        if (e->data.document_start.tag_directives.start !=
            e->data.document_start.tag_directives.end)
            return refuse(b, &e->start_mark, err, "tag directives are not understood");
        break;
    case YAML_ALIAS_EVENT:
        return refuse(b, &e->start_mark, err,
                      "aliases (*%.60s) are not understood: write the value out",
                      e->data.alias.anchor);
    case YAML_SCALAR_EVENT:
        status = no_extras(b, e, e->data.scalar.anchor, e->data.scalar.tag, err);
        return status ? status : take_scalar(b, e, err);
    case YAML_SEQUENCE_START_EVENT:
        status = no_extras(b, e, e->data.sequence_start.anchor, e->data.sequence_start.tag, err);
        return status ? status : open_level(b, e, NIB_YAML_LIST, err);
    case YAML_MAPPING_START_EVENT:
        status = no_extras(b, e, e->data.mapping_start.anchor, e->data.mapping_start.tag, err);
        return status ? status : open_level(b, e, NIB_YAML_MAP, err);
    case YAML_SEQUENCE_END_EVENT: case YAML_MAPPING_END_EVENT: b->depth--; break;
    }
    return status;
}

static nib_status build(nib_yaml *y, const char *text, size_t bytes, nib_error *err)
{
    builder b = { .y = y };
    yaml_parser_t parser;
    nib_status status = NIB_OK;
    bool more = true;

    if (!yaml_parser_initialize(&parser)) return no_memory(y, err);
    yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING); /* and not what a byte order mark says */
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, bytes);
    while (!status && more) {
        yaml_event_t event;
        if (!yaml_parser_parse(&parser, &event)) {
            status = parser_failure(&b, &parser, text, bytes, err);
            break;
        }
        status = take_event(&b, &event, err);
        more = event.type != YAML_STREAM_END_EVENT;
        yaml_event_delete(&event);
    }
    yaml_parser_delete(&parser);
    return status;
}

nib_status nib_yaml_parse(nib_ctx *ctx, const char *text, size_t bytes, const char *where,
                          nib_yaml **out, nib_error *err)
{
    nib_yaml *y = nib_new(ctx, sizeof *y);
    nib_status status;

    if (!y) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", where);
    if (bytes >= 3 && !memcmp(text, "\xef\xbb\xbf", 3)) /* a byte order mark */
        text += 3, bytes -= 3;
    y->ctx = ctx;
    y->where = nib_strdup(ctx, where);
    if (!y->where) status = nib_fail(err, NIB_E_NOMEM, "%s: out of memory", where);
    else if (bytes > NIB_YAML_MOST_BYTES)
        status = nib_fail(err, NIB_E_FORMAT, "%s: %zu bytes, at most %d are read", where, bytes,
                          NIB_YAML_MOST_BYTES);
    else status = build(y, text, bytes, err);
    if (status) goto done;
    *out = y;
    y = NULL; /* handed over */
done:
    nib_yaml_close(y);
    return status;
}

nib_status nib_yaml_read(nib_ctx *ctx, const char *path, nib_yaml **out, nib_error *err)
{
    char *text = NULL;
    size_t bytes;
    nib_status status = nib_file_read(ctx, path, NIB_YAML_MOST_BYTES, &text, &bytes, err);

    if (!status) status = nib_yaml_parse(ctx, text, bytes, path, out, err);
    nib_free(ctx, text);
    return status;
}

void nib_yaml_close(nib_yaml *y)
{
    if (!y) return;
    for (struct block *b = y->blocks, *next; b; b = next) {
        next = b->next;
        nib_free(y->ctx, b);
    }
    nib_free(y->ctx, y->where);
    nib_free(y->ctx, y);
}

const nib_yaml_node *nib_yaml_root(const nib_yaml *y) { return y->root; }
const char *nib_yaml_where(const nib_yaml *y) { return y->where; }

bool nib_yaml_is_null(const nib_yaml_node *n)
{
    static const char *const nulls[] = { "", "~", "null", "Null", "NULL" };

    for (size_t i = 0; n->kind == NIB_YAML_SCALAR && !n->quoted && i < NIB_COUNT(nulls); i++)
        if (strcmp(n->text, nulls[i]) == 0) return true;
    return false;
}
