/* oniguruma.c - see oniguruma.h.  Sources: Oniguruma's doc/RE and pcre2pattern(3); the sets of
 * characters were compared code point by code point (tests/golden/regex). */
#include "text/oniguruma.h"

#include <stdio.h>
#include <stdlib.h>

#include "text/oniguruma_sets.h"
#include "text/utf8.h"

enum { MOST_GROUPS = 32, MOST_NESTED = 8 };

typedef struct text {
    char *p;
    size_t n, capacity;
} text;

typedef struct reader {
    nib_ctx *ctx;
    const char *pattern, *p, *where;
    nib_error *err;
    text out;
    size_t atom;               /* where in out the thing begins that a quantifier would repeat */
    bool has_atom, quantified; /* is there one; has it a quantifier already */
    size_t groups[MOST_GROUPS];
    bool group_case[MOST_GROUPS];
    int depth;
    bool caseless;
    uint32_t last; /* the literal before, 0: none; for foldings of two characters */
} reader;

static nib_status refuse(const reader *r, const char *what)
{
    return nib_fail(r->err, NIB_E_UNSUPPORTED, "%s: pattern %s: at byte %zu: %s is not translated",
                    r->where, r->pattern, (size_t)(r->p - r->pattern), what);
}

static nib_status put(reader *r, text *t, const char *s, size_t n)
{
    if (!nib_grow(r->ctx, &t->p, &t->capacity, t->n + n + 1, 1))
        return nib_fail(r->err, NIB_E_NOMEM, "%s: out of memory", r->where);
    memcpy(t->p + t->n, s, n);
    t->p[t->n += n] = 0;
    return NIB_OK;
}

static nib_status puts_(reader *r, text *t, const char *s)
{
    return put(r, t, s, strlen(s));
}

static nib_status put_character(reader *r, text *t, uint32_t c)
{
    char code[16];
    bool plain = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');

    return put(r, t, code,
               (size_t)(plain ? snprintf(code, sizeof code, "%c", (char)c)
                              : snprintf(code, sizeof code, "\\x{%" PRIX32 "}", c)));
}

/* Something that a quantifier can repeat begins at the end of out. */
static void begin_atom(reader *r)
{
    r->atom = r->out.n;
    r->has_atom = true;
    r->quantified = false;
}

/* --- escapes --- */

/* Digits of a number in base 8 or 16, at most `most`; how many there are. */
static int read_digits(const char *p, int base, int most, uint32_t *value)
{
    int n = 0;

    for (*value = 0; n < most; n++) {
        char c = p[n];
        int d = c >= '0' && c <= '9'   ? c - '0'
                : c >= 'a' && c <= 'f' ? c - 'a' + 10
                : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                       : 99;
        if (d >= base) break;
        *value = *value * (uint32_t)base + (uint32_t)d;
    }
    return n;
}

/* \p{Name}, \P{Name}, \p{^Name}, of which \p is behind us. */
static nib_status read_property(reader *r, bool negated, const nib_onig_set **out, bool *is_negated)
{
    char name[40];
    size_t n = 0;
    const char *p = r->p;

    if (*p++ != '{') return refuse(r, "\\p without braces");
    if (*p == '^') {
        negated = !negated;
        p++;
    }
    for (; *p && *p != '}' && n + 1 < sizeof name; p++)
        if (*p != ' ' && *p != '-' && *p != '_')
            name[n++] = *p >= 'A' && *p <= 'Z' ? (char)(*p + 32) : *p;
    name[n] = 0;
    *out = nib_onig_set_named(NIB_ONIG_PROPERTY, name, n);
    if (*p != '}' || !*out) {
        char words[80];
        snprintf(words, sizeof words, "the property \\p{%s}", name);
        return refuse(r, words);
    }
    *is_negated = negated;
    r->p = p + 1;
    return NIB_OK;
}

/* An escape that stands for one character; r->p is behind the backslash.  *found: it is one. */
static nib_status read_character_escape(reader *r, uint32_t *c, bool *found)
{
    static const char letters[] = "tnrfvae", codes[] = "\t\n\r\f\v\a\x1b";
    const char *letter = *r->p ? strchr(letters, *r->p) : NULL;
    int n;

    *found = true;
    if (letter)
        *c = (uint32_t)codes[letter - letters], r->p++;
    else if (*r->p == 'x' && r->p[1] == '{') {
        n = read_digits(r->p + 2, 16, 8, c);
        if (!n || r->p[2 + n] != '}' || *c > 0x10ffff) return refuse(r, "this \\x{}");
        r->p += n + 3;
    } else if (*r->p == 'x') {
        n = read_digits(r->p + 1, 16, 2, c);
        if (!n || *c > 127) return refuse(r, "\\x of a byte that is no character");
        r->p += n + 1;
    } else if (*r->p == 'u') {
        if (read_digits(r->p + 1, 16, 4, c) != 4 || (*c >= 0xd800 && *c < 0xe000))
            return refuse(r, "this \\u");
        r->p += 5;
    } else if (*r->p == '0') {
        n = read_digits(r->p, 8, 3, c);
        if (*c > 127) return refuse(r, "an octal code of a byte that is no character");
        r->p += n;
    } else if (*r->p && !((*r->p >= '0' && *r->p <= '9') || (*r->p >= 'A' && *r->p <= 'Z') ||
                          (*r->p >= 'a' && *r->p <= 'z'))) {
        *c = nib_utf8_read(r->p);
        r->p += nib_utf8_length(*r->p);
    } else
        *found = false;
    return NIB_OK;
}

/* \d and its like, \p{...}: r->p is behind the backslash.  *out NULL: it is none. */
static nib_status read_set_escape(reader *r, const nib_onig_set **out, bool *negated)
{
    char c = *r->p, lower = c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;

    *out = NULL;
    if (lower == 'p') {
        r->p++;
        return read_property(r, c == 'P', out, negated);
    }
    *out = nib_onig_set_named(NIB_ONIG_ESCAPE, &lower, 1);
    *negated = c != lower;
    if (*out) r->p++;
    return NIB_OK;
}

/* --- classes: text between brackets where that can say it, else alternatives --- */

/* plain: members for one bracket; others: alternatives of one character each, "|" before each. */
typedef struct members {
    text plain, others;
} members;

static void free_members(reader *r, members *m)
{
    nib_free(r->ctx, m->plain.p);
    nib_free(r->ctx, m->others.p);
}

static nib_status add_set(reader *r, members *m, const nib_onig_set *s, bool negated)
{
    nib_status status;

    if (r->caseless && s->cased) return refuse(r, "a class of one case where case is ignored");
    if (negated == s->negated) return puts_(r, &m->plain, s->members);
    status = puts_(r, &m->others, "|[^");
    if (!status) status = puts_(r, &m->others, s->members);
    return status ? status : puts_(r, &m->others, "]");
}

/* What the members match: "[...]", "(?:[...]|...)", or with negation any other character. */
static nib_status end_members(reader *r, const members *m, bool negated, text *to)
{
    bool plain = m->plain.n > 0, others = m->others.n > 0;
    nib_status status;

    if (!plain && !others) return refuse(r, "an empty class");
    if (!others) {
        status = puts_(r, to, negated ? "[^" : "[");
        if (!status) status = put(r, to, m->plain.p, m->plain.n);
        return status ? status : puts_(r, to, "]");
    }
    status = puts_(r, to, negated ? "(?:(?!" : "(?:");
    if (!status && plain) {
        status = puts_(r, to, "[");
        if (!status) status = put(r, to, m->plain.p, m->plain.n);
        if (!status) status = puts_(r, to, "]");
    }
    if (!status) status = put(r, to, m->others.p + !plain, m->others.n - !plain);
    return status ? status : puts_(r, to, negated ? ")[\\x{0}-\\x{10FFFF}])" : ")");
}

static nib_status read_class(reader *r, text *to, int depth);

/* [:name:] or [:^name:]; r->p is at the bracket.  *found: it is one. */
static nib_status read_posix(reader *r, members *m, bool *found)
{
    const char *name = r->p + 2 + (r->p[2] == '^'), *end = strstr(name, ":]");
    const nib_onig_set *s = end ? nib_onig_set_named(NIB_ONIG_BRACKET, name, (size_t)(end - name))
                                : NULL;
    bool negated = r->p[2] == '^';

    *found = s != NULL;
    if (!s) return NIB_OK;
    r->p = end + 2;
    return add_set(r, m, s, negated);
}

/* One character of a class or the end of a range.  *found false: it is a set. */
static nib_status read_member(reader *r, uint32_t *c, bool *found)
{
    *found = true;
    if (*r->p == '\\') {
        nib_status status;
        r->p++;
        if (*r->p == 'b') return refuse(r, "\\b in a class");
        status = read_character_escape(r, c, found);
        if (!status && !*found) r->p--;
        return status;
    }
    *c = nib_utf8_read(r->p);
    r->p += nib_utf8_length(*r->p);
    return NIB_OK;
}

static nib_status add_member(reader *r, members *m)
{
    uint32_t low, high;
    bool found, negated;
    const nib_onig_set *s;
    nib_status status = read_member(r, &low, &found);

    if (status) return status;
    if (!found) {
        r->p++;
        status = read_set_escape(r, &s, &negated);
        if (!status && !s) status = refuse(r, "this escape in a class");
        if (!status && *r->p == '-' && r->p[1] != ']') status = refuse(r, "a range from a class");
        return status ? status : add_set(r, m, s, negated);
    }
    if (r->caseless && low > 127) return refuse(r, "a class beyond ASCII where case is ignored");
    status = put_character(r, &m->plain, low);
    if (status || *r->p != '-' || r->p[1] == ']') return status;
    r->p++;
    if (*r->p == '[') return refuse(r, "a range to a class");
    status = read_member(r, &high, &found);
    if (!status && (!found || high < low)) status = refuse(r, "this range");
    if (!status && r->caseless && high > 127)
        status = refuse(r, "a class beyond ASCII where case is ignored");
    if (!status) status = puts_(r, &m->plain, "-");
    return status ? status : put_character(r, &m->plain, high);
}

/* Up to "]" or "&&". */
static nib_status read_members(reader *r, members *m, int depth)
{
    nib_status status = NIB_OK;

    while (!status && *r->p && *r->p != ']' && !(r->p[0] == '&' && r->p[1] == '&')) {
        bool posix = false;
        if (r->p[0] == '[' && r->p[1] == ':') status = read_posix(r, m, &posix);
        if (status || posix) continue;
        if (*r->p == '[') {
            r->p++;
            status = puts_(r, &m->others, "|");
            if (!status) status = read_class(r, &m->others, depth + 1);
        } else
            status = add_member(r, m);
    }
    return status;
}

/* Behind "[".  Writes what matches one character of the class. */
static nib_status read_class(reader *r, text *to, int depth)
{
    bool negated = *r->p == '^', several = false;
    text parts = { 0 }; /* of an intersection: all but the last as look-aheads */
    nib_status status = NIB_OK;

    if (depth > MOST_NESTED) return refuse(r, "a class nested this deep");
    if (negated) r->p++;
    if (*r->p == ']') return refuse(r, "an unescaped ] at the front of a class");
    for (;;) {
        members m = { 0 };
        text part = { 0 };

        status = read_members(r, &m, depth);
        if (!status && !*r->p) status = refuse(r, "a class without its end");
        several |= !status && *r->p == '&';
        if (!status) status = end_members(r, &m, negated && !several, &part);
        if (!status && several) status = puts_(r, &parts, *r->p == '&' ? "(?=" : "");
        if (!status) status = put(r, &parts, part.p, part.n);
        if (!status && *r->p == '&') status = puts_(r, &parts, ")");
        free_members(r, &m);
        nib_free(r->ctx, part.p);
        if (status || *r->p == ']') break;
        r->p += 2;
    }
    if (!status) r->p++;
    if (!status && several) status = puts_(r, to, negated ? "(?:(?!" : "(?:");
    if (!status) status = put(r, to, parts.p, parts.n);
    if (!status && several) status = puts_(r, to, negated ? ")[\\x{0}-\\x{10FFFF}])" : ")");
    nib_free(r->ctx, parts.p);
    return status;
}

/* --- quantifiers --- */

/* {n}, {n,}, {,m}, {n,m} at r->p; *bytes 0: it is a brace like any other. */
static void read_interval(const reader *r, unsigned *low, int *high, size_t *bytes)
{
    const char *p = r->p + 1;
    char *end;
    unsigned long n = strtoul(p, &end, 10), m;

    *bytes = 0;
    if (*p != ',' && (*p < '0' || *p > '9')) return;
    if (*p == ',') n = 0;
    *low = (unsigned)nib_min(n, 100000);
    *high = (int)*low;
    if (*end == ',') {
        const char *second = end + 1;
        m = strtoul(second, &end, 10);
        if (*second >= '0' && *second <= '9')
            *high = (int)nib_min(m, 100000);
        else if (*p == ',')
            return;
        else
            *high = -1, end = (char *)(uintptr_t)second;
    }
    if (*end == '}') *bytes = (size_t)(end + 1 - r->p);
}

/* Puts the atom between brackets: what follows repeats all of it. */
static nib_status wrap_atom(reader *r)
{
    size_t n = r->out.n - r->atom;
    nib_status status = puts_(r, &r->out, "    ");

    if (status) return status;
    memmove(r->out.p + r->atom + 3, r->out.p + r->atom, n);
    memcpy(r->out.p + r->atom, "(?:", 3);
    r->out.p[r->atom + 3 + n] = ')';
    return NIB_OK;
}

static nib_status read_quantifier(reader *r, size_t interval, unsigned low, int high)
{
    char sign[48];
    size_t n = 1;
    nib_status status = NIB_OK;

    if (!r->has_atom) return refuse(r, "a quantifier with nothing before it");
    if (r->quantified) status = wrap_atom(r);
    if (status) return status;
    if (!interval) {
        sign[0] = *r->p++;
        if (*r->p == '?' || *r->p == '+') sign[n++] = *r->p++;
    } else {
        if (high >= 0 && (unsigned)high < low)
            return refuse(r, "an interval whose ends are swapped");
        if (high < 0)
            n = (size_t)snprintf(sign, sizeof sign, "{%u,}", low);
        else
            n = (size_t)snprintf(sign, sizeof sign, "{%u,%d}", low, high);
        r->p += interval;
        /* {n}? is ({n})?, {n,m}+ is ({n,m})+: the second sign is read as a quantifier of its own */
        if (*r->p == '?' && (high < 0 || (unsigned)high != low)) sign[n++] = *r->p++;
    }
    r->quantified = true;
    r->last = 0;
    return put(r, &r->out, sign, n);
}

/* --- groups --- */

/* (?i), (?i:, (?m-i: ...; r->p is behind "(?". */
static nib_status read_options(reader *r)
{
    bool on = true, isolated, caseless = r->caseless,
         empty_before = r->out.n == 0 || r->out.n == r->groups[r->depth];
    char sign[16] = "(?";
    size_t n = 2;

    for (; *r->p && *r->p != ')' && *r->p != ':'; r->p++) {
        if (*r->p == '-')
            on = false, sign[n++] = '-';
        else if (*r->p == 'i')
            caseless = on, sign[n++] = 'i';
        else if (*r->p == 'm')
            sign[n++] = 's';
        else
            return refuse(r, "this option or group");
        if (n + 2 > sizeof sign) return refuse(r, "this list of options");
    }
    isolated = *r->p == ')';
    if (!*r->p) return refuse(r, "a group without its end");
    if (isolated && !empty_before) return refuse(r, "an option in the middle of a group");
    r->p++;
    sign[n++] = isolated ? ')' : ':';
    if (!isolated) {
        if (r->depth + 1 == MOST_GROUPS) return refuse(r, "groups nested this deep");
        r->groups[++r->depth] = r->out.n;
        r->group_case[r->depth] = r->caseless;
    }
    r->caseless = caseless;
    r->has_atom = false;
    return put(r, &r->out, sign, n);
}

static nib_status read_group(reader *r)
{
    static const char *const kinds[] = { "(?:", "(?=", "(?!", "(?>", "(?<=", "(?<!" };
    const char *kind = "(";

    r->last = 0;
    if (strncmp(r->p, "(?#", 3) == 0) {
        while (*r->p && *r->p != ')') r->p += *r->p == '\\' && r->p[1] ? 2 : 1;
        if (*r->p) r->p++;
        return NIB_OK;
    }
    if (r->p[1] == '*') return refuse(r, "(*");
    if (r->p[1] == '?') {
        kind = NULL;
        for (size_t i = 0; i < NIB_COUNT(kinds); i++)
            if (strncmp(r->p, kinds[i], strlen(kinds[i])) == 0) kind = kinds[i];
    }
    if (!kind) {
        r->p += 2;
        return read_options(r);
    }
    if (r->depth + 1 == MOST_GROUPS) return refuse(r, "groups nested this deep");
    r->p += strlen(kind);
    r->groups[++r->depth] = r->out.n;
    r->group_case[r->depth] = r->caseless;
    r->has_atom = false;
    return puts_(r, &r->out, kind[1] ? kind : "(?:"); /* nothing refers to a capture */
}

static nib_status end_group(reader *r)
{
    if (r->depth == 0) return refuse(r, "a ) without its (");
    r->p++;
    r->last = 0;
    r->atom = r->groups[r->depth];
    r->caseless = r->group_case[r->depth--];
    r->has_atom = true;
    r->quantified = false;
    return puts_(r, &r->out, ")");
}

/* --- the pattern --- */

/* Two characters that Oniguruma also takes for one when it ignores case: ss for a sharp s. */
static bool folds_together(uint32_t a, uint32_t b)
{
    static const char *const pairs[] = { "ss", "ff", "fi", "fl", "st" };

    a |= a < 128 ? 32 : 0;
    b |= b < 128 ? 32 : 0;
    for (size_t i = 0; i < NIB_COUNT(pairs); i++)
        if (a == (uint32_t)pairs[i][0] && b == (uint32_t)pairs[i][1]) return true;
    return false;
}

static nib_status put_literal(reader *r, uint32_t c)
{
    if (r->caseless && c > 127) return refuse(r, "a character beyond ASCII where case is ignored");
    if (r->caseless && r->last && folds_together(r->last, c))
        return refuse(r, "two letters that fold into one where case is ignored");
    r->last = c;
    begin_atom(r);
    return put_character(r, &r->out, c);
}

static nib_status read_escape(reader *r)
{
    /* anchors and the like, which Oniguruma and PCRE2 read alike or nearly so */
    static const struct {
        char letter;
        const char *text;
        bool atom;
    } others[] = {
        { 'A', "\\A", false },
        { 'z', "\\z", false },
        { 'Z', "\\Z", false },
        { 'R', "(?>\\x{D}\\x{A}|[\\x{A}-\\x{D}\\x{85}\\x{2028}\\x{2029}])", true },
        { 'N', "[^\\x{A}]", true },
        { 'O', "[\\x{0}-\\x{10FFFF}]", true },
        { 'b', NIB_ONIG_BOUNDARY, false },
        { 'B', NIB_ONIG_NO_BOUNDARY, false },
    };
    const nib_onig_set *s;
    uint32_t c;
    bool found, negated;
    nib_status status;

    r->p++;
    status = read_set_escape(r, &s, &negated);
    if (status) return status;
    if (s) {
        members m = { 0 };
        r->last = 0;
        begin_atom(r);
        if (s->alone) s = s->alone;
        status = add_set(r, &m, s, false);
        if (!status) status = end_members(r, &m, negated, &r->out);
        free_members(r, &m);
        return status;
    }
    for (size_t i = 0; i < NIB_COUNT(others); i++)
        if (*r->p == others[i].letter) {
            r->p++;
            r->last = 0;
            begin_atom(r);
            r->has_atom = others[i].atom;
            return puts_(r, &r->out, others[i].text);
        }
    status = read_character_escape(r, &c, &found);
    if (!status && !found) status = refuse(r, "this escape");
    return status ? status : put_literal(r, c);
}

static nib_status read_one(reader *r)
{
    unsigned low = 0;
    int high = 0;
    size_t interval = 0;
    uint32_t c;

    if (*r->p == '{') read_interval(r, &low, &high, &interval);
    if (*r->p == '*' || *r->p == '+' || *r->p == '?' || interval)
        return read_quantifier(r, interval, low, high);
    if (*r->p == '\\') return read_escape(r);
    if (*r->p == '(') return read_group(r);
    if (*r->p == ')') return end_group(r);
    if (*r->p == '[') {
        r->p++;
        r->last = 0;
        begin_atom(r);
        return read_class(r, &r->out, 0);
    }
    if (strchr("^$|.", *r->p)) { /* the first two are those of lines, by PCRE2_MULTILINE */
        char sign = *r->p++;
        r->last = 0;
        begin_atom(r);
        r->has_atom = sign == '.';
        return put(r, &r->out, &sign, 1);
    }
    c = nib_utf8_read(r->p);
    r->p += nib_utf8_length(*r->p);
    return put_literal(r, c);
}

nib_status nib_oniguruma_translate(nib_ctx *ctx, const char *pattern, const char *where, char **out,
                                   nib_error *err)
{
    reader r = { .ctx = ctx, .pattern = pattern, .p = pattern, .where = where, .err = err };
    nib_status status = put(&r, &r.out, "", 0);

    while (!status && *r.p) status = read_one(&r);
    if (!status && r.depth) status = refuse(&r, "a group without its end");
    if (status) {
        nib_free(ctx, r.out.p);
        return status;
    }
    *out = r.out.p;
    return NIB_OK;
}
