/* yaml_flow.c - see yaml_flow.h. */
#include "recipe/yaml_flow.h"

#include <stdio.h>

void nib_flow_put(nib_flow *f, const char *text, size_t bytes)
{
    if (f->failed || !nib_grow(f->ctx, &f->text, &f->capacity, f->used + bytes + 1, 1)) {
        f->failed = true;
        return;
    }
    memcpy(f->text + f->used, text, bytes);
    f->used += bytes;
    f->text[f->used] = 0;
}

void nib_flow_printf(nib_flow *f, const char *format, ...)
{
    va_list args, again;
    int n;

    va_start(args, format);
    va_copy(again, args);
    n = vsnprintf(NULL, 0, format, args);
    if (f->failed || n < 0 ||
        !nib_grow(f->ctx, &f->text, &f->capacity, f->used + (size_t)n + 1, 1)) {
        f->failed = true;
    } else {
        vsnprintf(f->text + f->used, (size_t)n + 1, format, again);
        f->used += (size_t)n;
    }
    va_end(again);
    va_end(args);
}

/* Letters that mean nothing to YAML anywhere in a value; above ASCII it is quoted to be sure. */
static bool is_plain(const char *text)
{
    return *text && text[strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                      "0123456789_./+-^$()")] == 0 &&
           !strchr("-?", *text);
}

static bool is_number(const char *text)
{
    return (*text == '-' || *text == '.') && text[1] &&
           text[strspn(text, "0123456789.eE+-")] == 0;
}

void nib_flow_text(nib_flow *f, const char *text, bool quoted)
{
    if (!quoted && (is_plain(text) || is_number(text))) {
        nib_flow_put(f, text, strlen(text));
        return;
    }
    nib_flow_put(f, "\"", 1);
    for (const char *p = text; *p; p++) {
        unsigned char c = (unsigned char)*p;
        if (c == '"' || c == '\\') nib_flow_printf(f, "\\%c", c);
        else if (c == '\n') nib_flow_put(f, "\\n", 2);
        else if (c < 32 || c == 127) nib_flow_printf(f, "\\x%02x", c);
        else nib_flow_put(f, p, 1);
    }
    nib_flow_put(f, "\"", 1);
}

void nib_flow_node(nib_flow *f, const nib_yaml_node *n) /* as deep as yaml.h allows */
{
    bool list = n->kind == NIB_YAML_LIST;

    if (n->kind == NIB_YAML_SCALAR) {
        if (nib_yaml_is_null(n)) nib_flow_put(f, "null", 4);
        else nib_flow_text(f, n->text, n->quoted);
        return;
    }
    nib_flow_put(f, list ? "[" : "{", 1);
    for (const nib_yaml_node *c = n->first; c; c = c->next) {
        if (c != n->first) nib_flow_put(f, ", ", 2);
        if (!list) {
            nib_flow_text(f, c->key, false);
            nib_flow_put(f, ": ", 2);
        }
        nib_flow_node(f, c);
    }
    nib_flow_put(f, list ? "]" : "}", 1);
}
