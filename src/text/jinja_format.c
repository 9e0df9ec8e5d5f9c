/* jinja_format.c - Python's `text % values` and text.format(...), with the conversions that print
 * strings and numbers; others are refused by name. */
#include "text/jinja_parts.h"

#include <math.h>
#include <stdio.h>

typedef struct spec { /* of one value */
    jstr fill;        /* one character */
    char align;       /* '<', '>', '^', '=' after the sign; 0: as the type has it */
    char sign;        /* '+', ' ', or 0: of negative numbers only */
    bool alternate, comma;
    int64_t width, precision; /* -1: none */
    char type;                /* 's', 'd', 'f', ...; 0: as str() has it */
} spec;

enum { MOST_DIGITS = 400 };

/* --- one value --- */

/* 1,234,567.5: commas into the digits before the point. */
static void group_digits(char *text, size_t room)
{
    size_t digits = strspn(text, "0123456789"), n = strlen(text);

    for (size_t at = digits; at > 3 && n + 1 < room; n++) {
        at -= 3;
        memmove(text + at + 1, text + at, n - at + 1);
        text[at] = ',';
    }
}

static bool is_float_type(char type)
{
    return type && strchr("fFeEgG%", type);
}

/* The magnitude of an integer. */
static void print_whole(const spec *s, uint64_t value, char *out, size_t room)
{
    char *p = out + room - 1;
    unsigned base = s->type == 'x' || s->type == 'X' ? 16
                    : s->type == 'o'                 ? 8
                    : s->type == 'b'                 ? 2
                                                     : 10;
    const char *digits = s->type == 'X' ? "0123456789ABCDEF" : "0123456789abcdef";
    int64_t least = jin_most(s->precision, 1);

    *p = 0;
    for (int64_t n = 0; (value || n < least) && p > out + 4; n++, value /= base)
        *--p = digits[value % base];
    if (s->alternate && base != 10) {
        *--p = base == 16 ? s->type : base == 8 ? 'o' : 'b';
        *--p = '0';
    }
    memmove(out, p, strlen(p) + 1);
}

static void print_real(const spec *s, double value, char *out, size_t room)
{
    char format[16];
    bool share = s->type == '%';

    snprintf(format, sizeof format, "%%%s.*%c", s->alternate ? "#" : "", share ? 'f' : s->type);
    snprintf(out, room, format, (int)(s->precision < 0 ? 6 : s->precision),
             share ? value * 100 : value);
    if (share && strlen(out) + 1 < room) strcat(out, "%");
}

/* sign and digits; false: failed. */
static bool number_text(jmachine *m, const spec *s, jval v, char *sign, char *digits)
{
    bool real = is_float_type(s->type), negative;
    double f;

    if (s->precision > 100 || (!jin_is_number(v)) || (v.t == J_FLOAT && !real)) {
        jin_fail(m, "the conversion '%c' of a %s, or with too many digits", s->type,
                 jin_type_name(v));
        return false;
    }
    f = v.t == J_FLOAT ? v.u.f : v.t == J_INT ? (double)v.u.i : v.u.b;
    if (real) {
        negative = signbit(f) != 0;
        print_real(s, fabs(f), digits, MOST_DIGITS);
    } else {
        int64_t i = v.t == J_INT ? v.u.i : v.u.b;
        negative = i < 0;
        print_whole(s, negative ? 0 - (uint64_t)i : (uint64_t)i, digits, MOST_DIGITS);
    }
    if (s->comma) group_digits(digits, MOST_DIGITS);
    sign[0] = negative ? '-' : s->sign;
    sign[1] = 0;
    return true;
}

static void put_value(jmachine *m, jbuf *out, const spec *s, jval v)
{
    char digits[MOST_DIGITS], sign[2] = "";
    jbuf made = { 0 };
    bool number = s->type && s->type != 's';
    jval text = { 0 };
    char align = s->align                                                    ? s->align
                 : number || (!s->type && jin_is_number(v) && v.t != J_BOOL) ? '>'
                                                                             : '<';

    if (number) {
        if (!number_text(m, s, v, sign, digits)) return;
        text = jin_cstr(digits);
    } else {
        text = jin_text(m, v);
        if (m->status) return;
        if (s->precision >= 0) text.u.s.n = jin_offset(text.u.s, s->precision);
    }
    if (align == '=') { /* zeros between sign and digits */
        text = jin_pad(m, text.u.s, s->width - (int64_t)strlen(sign), s->fill, 'r');
        jin_write(m, out, sign, strlen(sign));
        if (!m->status) jin_write(m, out, text.u.s.p, text.u.s.n);
        return;
    }
    jin_write(m, &made, sign, strlen(sign));
    jin_write(m, &made, text.u.s.p, text.u.s.n);
    text = jin_take(&made);
    if (align == '^') { /* format() has the odd blank on the right, str.center not always */
        int64_t pad = s->width - (int64_t)jin_length(text.u.s);
        if (pad > 0)
            text = jin_pad(m, text.u.s, (int64_t)jin_length(text.u.s) + pad / 2, s->fill, 'r');
        align = '<';
    }
    if (!m->status) text = jin_pad(m, text.u.s, s->width, s->fill, align == '<' ? 'l' : 'r');
    if (!m->status) jin_write(m, out, text.u.s.p, text.u.s.n);
}

static int64_t read_number(const char **p, const char *end)
{
    int64_t n = 0;
    while (*p < end && **p >= '0' && **p <= '9' && n < 1000000) n = n * 10 + (*(*p)++ - '0');
    return n;
}

/* --- percent --- */

typedef struct values {
    jval all;
    size_t at;
    bool mapping;
} values;

static jval next_value(jmachine *m, values *v)
{
    if (v->all.t != J_TUPLE) {
        if (v->at++) return jin_fail(m, "not enough arguments for the %% of a text");
        return v->all;
    }
    if (v->at >= v->all.u.l->n) return jin_fail(m, "not enough arguments for the %% of a text");
    return v->all.u.l->v[v->at++];
}

static int64_t star_or_number(jmachine *m, values *v, const char **p, const char *end)
{
    int64_t n;

    if (*p == end || **p != '*') return read_number(p, end);
    ++*p;
    jin_whole(m, next_value(m, v), "a width", 0, &n);
    return n;
}

/* What stands between '%' and its letter; *named: the value a name in parentheses chose. */
static spec read_percent(jmachine *m, values *v, const char **p, const char *end, jval *named)
{
    spec s = { .fill = { " ", 1 }, .precision = -1, .align = '>' };
    bool left = false, zero = false;

    if (*p < end && **p == '(') {
        const char *close = memchr(*p, ')', (size_t)(end - *p));
        jval *found = close && v->all.t == J_DICT
                          ? jin_get(
                                m, v->all.u.d,
                                (jval){ .t = J_STR, .u.s = { *p + 1, (size_t)(close - *p - 1) } })
                          : NULL;
        if (!found) {
            jin_fail(m, "the %% of a text: no mapping, or not with that name");
            return s;
        }
        *named = *found;
        v->mapping = true;
        *p = close + 1;
    }
    for (; *p < end && **p && strchr("-0+ #", **p); ++*p) {
        left |= **p == '-';
        zero |= **p == '0';
        s.alternate |= **p == '#';
        if (**p == '+' || (**p == ' ' && !s.sign)) s.sign = **p;
    }
    s.width = star_or_number(m, v, p, end);
    if (*p < end && **p == '.') {
        ++*p;
        s.precision = star_or_number(m, v, p, end);
    }
    if (left)
        s.align = '<';
    else if (zero)
        s.align = '=', s.fill = (jstr){ "0", 1 };
    return s;
}

/* One conversion; *p stands behind the '%'. */
static void convert(jmachine *m, jbuf *out, values *v, const char **p, const char *end)
{
    jval named = { .t = J_ABSENT }, value;
    spec s = read_percent(m, v, p, end, &named);
    jbuf repr = { 0 };
    char type;

    if (m->status) return;
    if (*p == end) {
        jin_fail(m, "the %% of a text ends in a lone %%");
        return;
    }
    type = *(*p)++;
    if (type == '%') {
        jin_write(m, out, "%", 1);
        return;
    }
    value = named.t != J_ABSENT ? named : next_value(m, v);
    if (m->status) return;
    if (!strchr("srdiufFeEgGxXo", type)) {
        jin_fail(m, "the %% of a text: '%%%c' is not supported",
                 type >= 32 && type < 127 ? type : '?');
        return;
    }
    if (type == 'r') {
        jin_repr(m, &repr, value, 0);
        value = jin_take(&repr);
    }
    if (type == 's' || type == 'r') {
        if (s.align == '=') s.align = '>', s.fill = (jstr){ " ", 1 };
        s.type = 's';
    } else
        s.type = strchr("iu", type) ? 'd' : type;
    if (s.type == 'd' && value.t == J_FLOAT) { /* as int() has it */
        if (!(fabs(value.u.f) < 9e18)) {
            jin_fail(m, "%%d of %g", value.u.f);
            return;
        }
        value = jin_int((int64_t)value.u.f);
    }
    put_value(m, out, &s, value);
}

jval jin_percent(jmachine *m, jstr text, jval v)
{
    const char *p = text.p, *end = text.p + text.n;
    values use = { .all = v };
    jbuf out = { 0 };

    while (p < end && jin_step(m, 1)) {
        const char *sign = memchr(p, '%', (size_t)(end - p));
        jin_write(m, &out, p, (size_t)((sign ? sign : end) - p));
        if (!sign) break;
        p = sign + 1;
        convert(m, &out, &use, &p, end);
    }
    if (!m->status && !use.mapping && v.t != J_DICT && use.at < (v.t == J_TUPLE ? v.u.l->n : 1))
        return jin_fail(m, "not all arguments of the %% of a text are used");
    return jin_take(&out);
}

/* --- format --- */

static spec read_spec(jmachine *m, const char *p, const char *end)
{
    spec s = { .fill = { " ", 1 }, .precision = -1 };
    int32_t c;
    size_t n = p < end ? jin_char(p, (size_t)(end - p), &c) : 0;

    if (n && p + n < end && strchr("<>^=", p[n])) {
        s.fill = (jstr){ p, n };
        s.align = p[n];
        p += n + 1;
    } else if (n && strchr("<>^=", *p) && *p)
        s.align = *p++;
    if (p < end && (*p == '+' || *p == ' ' || *p == '-')) {
        s.sign = *p == '-' ? 0 : *p;
        p++;
    }
    if (p < end && *p == '#') s.alternate = true, p++;
    if (p < end && *p == '0') {
        if (!s.align) s.align = '=', s.fill = (jstr){ "0", 1 };
        p++;
    }
    s.width = read_number(&p, end);
    if (p < end && *p == ',') s.comma = true, p++;
    if (p < end && *p == '.') {
        p++;
        s.precision = read_number(&p, end);
    }
    if (p < end && strchr("sdfFeEgGxXob%", *p) && *p) s.type = *p++;
    if (p != end)
        jin_fail(m, "format: '%.*s' is not supported", (int)nib_min((size_t)(end - p), 40), p);
    return s;
}

/* {}, {0}, {name}, each with .attribute and [key]. */
static jval field_value(jmachine *m, jstr field, const jargs *a, size_t *next)
{
    size_t n = 0;
    jval v = { .t = J_ABSENT };

    while (n < field.n && field.p[n] != '.' && field.p[n] != '[') n++;
    jstr head = { field.p, n };
    if (!n || (*head.p >= '0' && *head.p <= '9')) {
        const char *p = head.p;
        size_t at = n ? (size_t)read_number(&p, head.p + n) : (*next)++;
        if (at < a->n) v = a->v[at];
    }
    for (size_t i = 0; n && i < a->named_count; i++)
        if (a->names[i].n == n && !memcmp(a->names[i].p, head.p, n)) v = a->named[i];
    if (v.t == J_ABSENT)
        return jin_fail(m, "format without a value for '{%.*s}'", (int)nib_min(n, 40), head.p);
    for (const char *p = field.p + n, *end = field.p + field.n; p < end && !m->status;) {
        bool item = *p++ == '[';
        const char *stop = p;
        while (stop < end && (item ? *stop != ']' : *stop != '.' && *stop != '[')) stop++;
        jstr key = { p, (size_t)(stop - p) };
        bool number = item && key.n && strspn(key.p, "0123456789") >= key.n;
        const char *digits = key.p;
        v = !item    ? jin_attribute(m, v, key)
            : number ? jin_item(m, v, jin_int(read_number(&digits, stop)))
                     : jin_item(m, v, (jval){ .t = J_STR, .u.s = key });
        p = stop + item;
    }
    return v;
}

/* One {...}; *p stands behind the brace. */
static void put_field(jmachine *m, jbuf *out, const char **p, const char *end, const jargs *a,
                      size_t *next)
{
    const char *close = memchr(*p, '}', (size_t)(end - *p)), *colon, *mark;
    jbuf repr = { 0 };
    spec s;
    jval v;

    if (!close) {
        jin_fail(m, "format: '{' without '}'");
        return;
    }
    colon = memchr(*p, ':', (size_t)(close - *p));
    mark = memchr(*p, '!', (size_t)((colon ? colon : close) - *p));
    v = field_value(m, (jstr){ *p, (size_t)((mark ? mark : colon ? colon : close) - *p) }, a, next);
    s = read_spec(m, colon ? colon + 1 : close, close);
    if (mark && !m->status) {
        if (mark[1] == 'r') {
            jin_repr(m, &repr, v, 0);
            v = jin_take(&repr);
        } else if (mark[1] == 's')
            v = jin_text(m, v);
        else
            jin_fail(m, "format: '!%c' is not supported", mark[1]);
    }
    if (!m->status && !s.type && s.precision >= 0 && v.t == J_FLOAT)
        jin_fail(m, "format: a precision without a type");
    if (!m->status && !s.type && (v.t == J_INT || (v.t == J_BOOL && colon && colon + 1 < close)))
        s.type = 'd'; /* a bool is a number as soon as there is something to lay out */
    if (!m->status && s.type == 's' && v.t != J_STR)
        jin_fail(m, "format: 's' of a %s", jin_type_name(v));
    if (!m->status && s.type != 's' && s.type && !jin_is_number(v))
        jin_fail(m, "format: '%c' of a %s", s.type, jin_type_name(v));
    if (!m->status) put_value(m, out, &s, v);
    *p = close + 1;
}

jval jin_format(jmachine *m, jstr text, const jargs *a)
{
    const char *p = text.p, *end = text.p + text.n;
    jbuf out = { 0 };
    size_t next = 0;

    while (p < end && jin_step(m, 1)) {
        size_t n = 0;
        while (p + n < end && p[n] != '{' && p[n] != '}') n++;
        jin_write(m, &out, p, n);
        p += n;
        if (p == end) break;
        if (p + 1 < end && p[1] == *p) { /* {{ and }} */
            jin_write(m, &out, p, 1);
            p += 2;
        } else if (*p++ == '{')
            put_field(m, &out, &p, end, a, &next);
        else
            jin_fail(m, "format: a single '}'");
    }
    return jin_take(&out);
}
