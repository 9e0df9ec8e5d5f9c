/* jinja_lex.c - a template cut into texts, tags and the tokens inside tags.
 *
 * Whitespace goes as trim_blocks and lstrip_blocks say: the newline after a block or a
 * comment, and the blanks before one that starts a line; "-" takes all, "+" keeps. */
#include "text/jinja_parts.h"

#include <stdlib.h>
#include <utf8proc.h>

typedef struct lexer { jmachine *m; const char *p, *end; bool line_start; } lexer;

static void push(lexer *x, jtok t, const char *p, size_t n, jval v)
{
    jmachine *m = x->m;
    jtoken *grown = jin_room(m, m->tokens, m->token_count, &m->token_room, sizeof *grown);
    if (!grown) return;
    m->tokens = grown;
    grown[m->token_count++] = (jtoken){ .t = t, .s = { p, n }, .line = m->line, .v = v };
}

static void advance(lexer *x, const char *to)
{
    for (; x->p < to; x->p++) x->m->line += *x->p == '\n';
}

static const char *skip_space(const char *p, const char *end)
{
    return jin_strip((jstr){ p, (size_t)(end - p) }, NULL, true, false).u.s.p;
}

static bool digit(char c) { return c >= '0' && c <= '9'; }
static bool letter(char c)
{
    return ((c | 32) >= 'a' && (c | 32) <= 'z') || c == '_' || (unsigned char)c >= 128;
}

/* After a tag: the newline or all blanks, as its sign and the environment say. */
static void after_tag(lexer *x, bool minus, bool trims)
{
    const char *to = x->p;
    if (minus) to = skip_space(to, x->end);
    else if (trims && to < x->end && *to == '\n') to++;
    x->line_start = to > x->p && to[-1] == '\n';
    advance(x, to);
}

static void escape(lexer *x, jbuf *b, const char **p, const char *end)
{
    static const char from[] = "ntrabfv\\'\"", to[] = "\n\t\r\a\b\f\v\\'\"";
    char c = *(*p)++;
    const char *at = c ? strchr(from, c) : NULL;
    int digits = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;

    if (at) jin_write(x->m, b, &to[at - from], 1);
    else if (c == '\n') return;
    else if (digits || (c >= '0' && c <= '7')) {
        uint32_t value = digits ? 0 : (uint32_t)(c - '0');
        utf8proc_uint8_t bytes[4];
        if (digits)
            for (int i = 0; i < digits; i++, (*p)++) {
                char h = *p < end ? (digit(**p) ? **p : (char)(**p | 32)) : 0;
                if (!digit(h) && (h < 'a' || h > 'f')) {
                    jin_fail(x->m, "a bad \\%c escape in a string", c);
                    return;
                }
                value = value * 16 + (uint32_t)(digit(h) ? h - '0' : h - 'a' + 10);
            }
        else
            for (int i = 0; i < 2 && *p < end && **p >= '0' && **p <= '7'; i++)
                value = value * 8 + (uint32_t)(*(*p)++ - '0');
        if (!utf8proc_codepoint_valid((int32_t)value)) {
            jin_fail(x->m, "an escape that is no character in a string");
            return;
        }
        jin_write(x->m, b, (const char *)bytes,
                  (size_t)utf8proc_encode_char((int32_t)value, bytes));
    } else {
        jin_write(x->m, b, "\\", 1);
        jin_write(x->m, b, &c, 1);
    }
}

static void lex_string(lexer *x)
{
    char quote = *x->p;
    const char *p = x->p + 1;
    jbuf b = { 0 };

    while (p < x->end && *p != quote && !x->m->status) {
        if (*p == '\\' && p + 1 < x->end) {
            p++;
            escape(x, &b, &p, x->end);
        } else jin_write(x->m, &b, p++, 1);
    }
    if (p >= x->end) { jin_fail(x->m, "a string that does not end"); return; }
    push(x, JT_STRING, x->p, (size_t)(p + 1 - x->p), jin_take(&b));
    advance(x, p + 1);
}

/* 0x1f, 0o17, 0b11: the base, or 0. */
static int base_of(const char *p, const char *end)
{
    char c = end - p > 2 && *p == '0' ? (char)(p[1] | 32) : 0;
    return c == 'x' ? 16 : c == 'o' ? 8 : c == 'b' ? 2 : 0;
}

static void lex_based(lexer *x, int base)
{
    char text[24];
    size_t n = 0;
    const char *p = x->p + 2;
    char *end;

    for (; p < x->end && n < sizeof text - 1 && (*p == '_' || digit(*p) || letter(*p)); p++)
        if (*p != '_') text[n++] = *p;
    text[n] = 0;
    if (n > (base == 16 ? 15u : base == 8 ? 20u : 22u)) {
        jin_fail(x->m, "a number of %zu digits", n);
        return;
    }
    int64_t value = strtoll(text, &end, base);
    if (!n || *end) {
        jin_fail(x->m, "a bad number");
        return;
    }
    push(x, JT_INT, x->p, (size_t)(p - x->p), jin_int(value));
    advance(x, p);
}

static void lex_number(lexer *x)
{
    char text[64];
    size_t n = 0;
    bool real = false;
    const char *p = x->p;
    int base = base_of(x->p, x->end);

    if (base) {
        lex_based(x, base);
        return;
    }
    for (; p < x->end && n < sizeof text - 1; p++) {
        if (*p == '_') continue;
        if (*p == '.' && !real && p + 1 < x->end && digit(p[1])) real = true;
        else if ((*p | 32) == 'e' && p + 1 < x->end &&
                 (digit(p[1]) || (p + 2 < x->end && (p[1] == '-' || p[1] == '+') && digit(p[2])))) {
            real = true;
            text[n++] = *p++;
        } else if (!digit(*p))
            break;
        text[n++] = *p;
    }
    text[n] = 0;
    if (n >= 40 || (!real && n > 18)) { jin_fail(x->m, "a number of %zu digits", n); return; }
    push(x, real ? JT_FLOAT : JT_INT, x->p, (size_t)(p - x->p),
         real ? jin_float(strtod(text, NULL)) : jin_int(strtoll(text, NULL, 10)));
    advance(x, p);
}

/* The inside of a tag up to and with its end. */
static void lex_tag(lexer *x, bool block)
{
    const char *close = block ? "%}" : "}}";
    int open = 0;

    while (!x->m->status) {
        advance(x, skip_space(x->p, x->end));
        size_t left = (size_t)(x->end - x->p);
        if (!left) { jin_fail(x->m, "a tag that does not end"); return; }
        bool sign = *x->p == '-' || (block && *x->p == '+');
        if (!open && left >= 2u + sign && !memcmp(x->p + sign, close, 2)) {
            bool minus = *x->p == '-', plus = *x->p == '+';
            push(x, block ? JT_BLOCKEND : JT_VAREND, x->p, 2u + sign, jin_none());
            advance(x, x->p + 2 + sign);
            after_tag(x, minus, block && !plus);
            return;
        }
        if (*x->p == '"' || *x->p == '\'') lex_string(x);
        else if (digit(*x->p)) lex_number(x);
        else if (letter(*x->p)) {
            const char *p = x->p;
            while (p < x->end && (letter(*p) || digit(*p))) p++;
            push(x, JT_NAME, x->p, (size_t)(p - x->p), jin_none());
            x->p = p;
        } else {
            static const char *const two[] = { "==", "!=", "<=", ">=", "//", "**" };
            size_t n = 1;
            for (size_t i = 0; left > 1 && i < NIB_COUNT(two); i++)
                if (!memcmp(x->p, two[i], 2)) n = 2;
            if (n == 1 && (!*x->p || !strchr("+-*/%~[](){}<>=.:|,;", *x->p))) {
                jin_fail(x->m, "'%c' (0x%02x) in a tag", *x->p >= 32 ? *x->p : '?',
                         (unsigned char)*x->p);
                return;
            }
            if (strchr("([{", *x->p)) open++;
            if (strchr(")]}", *x->p) && open-- == 0) {
                jin_fail(x->m, "'%c' closes nothing", *x->p);
                return;
            }
            push(x, JT_OP, x->p, n, jin_none());
            x->p += n;
        }
    }
}

/* {% raw %}: true when the tag at x->p (after its sign) was one and has been taken. */
static bool lex_raw(lexer *x, const char *inside)
{
    const char *p = skip_space(inside, x->end), *from, *q, *sign;
    bool minus;

    if (x->end - p < 3 || memcmp(p, "raw", 3)) return false;
    p = skip_space(p + 3, x->end);
    minus = p < x->end && *p == '-';
    p += minus;
    if (x->end - p < 2 || memcmp(p, "%}", 2)) return false;
    p += 2;
    if (minus) p = skip_space(p, x->end);
    from = p;
    advance(x, p);
    for (q = p; x->end - q >= 2; q++) {
        if (memcmp(q, "{%", 2)) continue;
        sign = q + 2;
        p = sign + (sign < x->end && (*sign == '-' || *sign == '+'));
        p = skip_space(p, x->end);
        if (x->end - p < 6 || memcmp(p, "endraw", 6)) continue;
        p = skip_space(p + 6, x->end);
        minus = p < x->end && *p == '-';
        bool plus = p < x->end && *p == '+';
        if (x->end - p < 2 + (minus || plus) || memcmp(p + (minus || plus), "%}", 2)) continue;
        jstr s = { from, (size_t)(q - from) };
        if (*sign == '-') s = jin_strip(s, NULL, false, true).u.s;
        else if (*sign != '+') {
            size_t n = s.n;
            while (n && (s.p[n - 1] == ' ' || s.p[n - 1] == '\t')) n--;
            if (n && s.p[n - 1] == '\n') s.n = n;
        }
        push(x, JT_DATA, s.p, s.n, jin_none());
        advance(x, p + 2 + (minus || plus));
        after_tag(x, minus, !plus);
        return true;
    }
    jin_fail(x->m, "raw without endraw");
    return true;
}

void jin_lex(jmachine *m, const char *text, size_t n)
{
    lexer x = { m, text, text + n, true };

    m->line = 1;
    if (n && text[n - 1] == '\n') x.end--;
    while (!m->status && x.p < x.end) {
        const char *p = x.p, *tag = NULL;
        jstr s = { x.p, (size_t)(x.end - x.p) };
        for (; !tag && x.end - p >= 2; p++)
            if (*p == '{' && (p[1] == '{' || p[1] == '%' || p[1] == '#')) tag = p;
        if (!tag) {
            push(&x, JT_DATA, s.p, s.n, jin_none());
            break;
        }
        const char *inside = tag + 2;
        char kind = tag[1],
             sign = inside < x.end && (*inside == '-' || *inside == '+') ? *inside++ : 0;
        s.n = (size_t)(tag - s.p);
        if (sign == '-') s = jin_strip(s, NULL, false, true).u.s;
        else if (sign != '+' && kind != '{') {
            size_t keep = s.n;
            while (keep && s.p[keep - 1] != '\n') keep--;
            if ((keep || x.line_start) &&
                !jin_strip((jstr){ s.p + keep, s.n - keep }, NULL, true, false).u.s.n)
                s.n = keep;
        }
        if (s.n) push(&x, JT_DATA, s.p, s.n, jin_none());
        advance(&x, tag);
        if (kind == '#') {
            const char *end = x.end - inside >= 2
                                  ? memmem(inside, (size_t)(x.end - inside), "#}", 2)
                                  : NULL;
            if (!end) { jin_fail(m, "a comment that does not end"); break; }
            bool minus = end > inside && end[-1] == '-', plus = end > inside && end[-1] == '+';
            advance(&x, end + 2);
            after_tag(&x, minus, !plus);
        } else if (kind != '%' || !lex_raw(&x, inside)) {
            push(&x, kind == '{' ? JT_VARBEGIN : JT_BLOCKBEGIN, tag, 2, jin_none());
            x.p = inside;
            lex_tag(&x, kind == '%');
        }
    }
    push(&x, JT_EOF, x.end, 0, jin_none());
}
