/* jinja_print.c - values as text: Python's str and repr, and json.dumps. */
#include "text/jinja_parts.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <utf8proc.h>

static void put(jmachine *m, jbuf *b, const char *s)
{
    jin_write(m, b, s, strlen(s));
}

/* The shortest digits that read back the same, laid out as Python does. */
static void put_float(jmachine *m, jbuf *b, double f, bool json)
{
    char digits[40], text[64];
    int exponent, precision = 0;

    if (isnan(f)) { put(m, b, json ? "NaN" : "nan"); return; }
    if (isinf(f)) {
        put(m, b, json ? (f < 0 ? "-Infinity" : "Infinity") : f < 0 ? "-inf" : "inf");
        return;
    }
    do snprintf(digits, sizeof digits, "%.*e", precision, f);
    while (strtod(digits, NULL) != f && ++precision < 17);
    exponent = atoi(strchr(digits, 'e') + 1);
    if (exponent >= -4 && exponent < 16) {
        snprintf(text, sizeof text, "%.*f", precision > exponent ? precision - exponent : 0, f);
        if (!strchr(text, '.')) strcat(text, ".0");
    } else {
        snprintf(text, sizeof text, "%.*e", precision, f);
    }
    put(m, b, text);
}

static void put_repr(jmachine *m, jbuf *b, jstr s)
{
    bool one = s.n && memchr(s.p, '\'', s.n), two = s.n && memchr(s.p, '"', s.n);
    char quote = one && !two ? '"' : '\'', text[16];
    int32_t c;

    jin_write(m, b, &quote, 1);
    for (size_t i = 0, n; i < s.n && !m->status; i += n) {
        utf8proc_category_t kind;
        n = jin_char(s.p + i, s.n - i, &c);
        kind = utf8proc_category(c);
        if (c == quote || c == '\\') snprintf(text, sizeof text, "\\%c", (char)c);
        else if (c == '\n') strcpy(text, "\\n");
        else if (c == '\r') strcpy(text, "\\r");
        else if (c == '\t') strcpy(text, "\\t");
        else if (c != ' ' && (kind == UTF8PROC_CATEGORY_CN || kind >= UTF8PROC_CATEGORY_ZS))
            snprintf(text, sizeof text,
                     c < 256     ? "\\x%02x"
                     : c < 65536 ? "\\u%04x"
                                 : "\\U%08x",
                     (unsigned)c);
        else {
            jin_write(m, b, s.p + i, n);
            continue;
        }
        put(m, b, text);
    }
    jin_write(m, b, &quote, 1);
}

void jin_repr(jmachine *m, jbuf *b, jval v, int depth)
{
    char text[32];

    if (depth > NIB_JINJA_VALUE_DEPTH) { jin_fail(m, "a value nested too deep to print"); return; }
    if (!jin_step(m, 1)) return;
    switch (v.t) {
    case J_UNDEF: put(m, b, "Undefined"); break;
    case J_NONE: put(m, b, "None"); break;
    case J_BOOL: put(m, b, v.u.b ? "True" : "False"); break;
    case J_INT: snprintf(text, sizeof text, "%" PRId64, v.u.i); put(m, b, text); break;
    case J_FLOAT: put_float(m, b, v.u.f, false); break;
    case J_STR: put_repr(m, b, v.u.s); break;
    case J_LIST: case J_TUPLE:
        put(m, b, v.t == J_LIST ? "[" : "(");
        for (size_t i = 0; i < v.u.l->n && !m->status; i++) {
            if (i) put(m, b, ", ");
            jin_repr(m, b, v.u.l->v[i], depth + 1);
        }
        put(m, b, v.t == J_LIST ? "]" : v.u.l->n == 1 ? ",)" : ")");
        break;
    case J_DICT:
        put(m, b, "{");
        for (size_t i = 0; i < v.u.d->n && !m->status; i++) {
            if (i) put(m, b, ", ");
            jin_repr(m, b, v.u.d->k[i], depth + 1);
            put(m, b, ": ");
            jin_repr(m, b, v.u.d->v[i], depth + 1);
        }
        put(m, b, "}");
        break;
    default: jin_fail(m, "printing a %s is not supported", jin_type_name(v));
    }
}

void jin_print(jmachine *m, jbuf *b, jval v)
{
    if (v.t == J_STR) jin_write(m, b, v.u.s.p, v.u.s.n);
    else if (v.t != J_UNDEF) jin_repr(m, b, v, 0);
}

jval jin_text(jmachine *m, jval v)
{
    jbuf b = { 0 };
    if (v.t == J_STR) return v;
    jin_print(m, &b, v);
    return jin_take(&b);
}

static void put_json_string(jmachine *m, jbuf *b, jstr s, bool ascii)
{
    char text[16];
    int32_t c;

    put(m, b, "\"");
    for (size_t i = 0, n; i < s.n && !m->status; i += n) {
        n = jin_char(s.p + i, s.n - i, &c);
        if (c == '"' || c == '\\') snprintf(text, sizeof text, "\\%c", (char)c);
        else if (c == '\n') strcpy(text, "\\n");
        else if (c == '\r') strcpy(text, "\\r");
        else if (c == '\t') strcpy(text, "\\t");
        else if (c == '\b') strcpy(text, "\\b");
        else if (c == '\f') strcpy(text, "\\f");
        else if (c < 32 || (ascii && c > 126 && c < 65536))
            snprintf(text, sizeof text, "\\u%04x", (unsigned)c);
        else if (ascii && c > 65535)
            snprintf(text, sizeof text, "\\u%04x\\u%04x", 0xd800u + ((unsigned)(c - 65536) >> 10),
                     0xdc00u + ((unsigned)(c - 65536) & 1023));
        else {
            jin_write(m, b, s.p + i, n);
            continue;
        }
        put(m, b, text);
    }
    put(m, b, "\"");
}

static void new_line(jmachine *m, jbuf *b, const char *indent, int depth)
{
    if (!indent) return;
    put(m, b, "\n");
    for (int i = 0; i < depth; i++) put(m, b, indent);
}

/* Indices in the order of the keys: selection by hand, since dictionaries are small. */
static size_t next_key(jmachine *m, const jdict *d, const jval *after)
{
    size_t best = SIZE_MAX;
    for (size_t i = 0; i < d->n && !m->status; i++)
        if ((!after || jin_compare(m, d->k[i], *after, 0) > 0) &&
            (best == SIZE_MAX || jin_compare(m, d->k[i], d->k[best], 0) < 0))
            best = i;
    return best;
}

void jin_json(jmachine *m, jbuf *b, jval v, const char *indent, bool sort, bool ascii, jstr item,
              jstr colon, int depth)
{
    const jval *last = NULL;

    if (depth > NIB_JINJA_VALUE_DEPTH) {
        jin_fail(m, "a value nested too deep for tojson");
        return;
    }
    if (!jin_step(m, 1)) return;
    switch (v.t) {
    case J_NONE: put(m, b, "null"); break;
    case J_BOOL: put(m, b, v.u.b ? "true" : "false"); break;
    case J_INT: jin_repr(m, b, v, 0); break;
    case J_FLOAT: put_float(m, b, v.u.f, true); break;
    case J_STR: put_json_string(m, b, v.u.s, ascii); break;
    case J_LIST: case J_TUPLE:
        put(m, b, "[");
        for (size_t i = 0; i < v.u.l->n && !m->status; i++) {
            if (i) jin_write(m, b, item.p, item.n);
            new_line(m, b, indent, depth + 1);
            jin_json(m, b, v.u.l->v[i], indent, sort, ascii, item, colon, depth + 1);
        }
        if (v.u.l->n) new_line(m, b, indent, depth);
        put(m, b, "]");
        break;
    case J_DICT:
        put(m, b, "{");
        for (size_t i = 0; i < v.u.d->n && !m->status; i++) {
            size_t at = sort ? next_key(m, v.u.d, last) : i;
            if (m->status || at == SIZE_MAX) break;
            jval key = v.u.d->k[at];
            last = &v.u.d->k[at];
            if (i) jin_write(m, b, item.p, item.n);
            new_line(m, b, indent, depth + 1);
            if (key.t != J_STR) {
                jbuf text = { 0 };
                jin_json(m, &text, key, NULL, false, ascii, item, colon, depth + 1);
                key = jin_take(&text);
            }
            put_json_string(m, b, key.u.s, ascii);
            jin_write(m, b, colon.p, colon.n);
            jin_json(m, b, v.u.d->v[at], indent, sort, ascii, item, colon, depth + 1);
        }
        if (v.u.d->n) new_line(m, b, indent, depth);
        put(m, b, "}");
        break;
    default: jin_fail(m, "tojson of a value that is %s", jin_type_name(v));
    }
}
