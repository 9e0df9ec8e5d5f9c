/* jinja_numbers.c - the filters that make numbers: int, float, round. */
#include "text/jinja_parts.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* The number of a digit in bases to 36; 99: none. */
static int digit_of(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    c |= 32;
    return c >= 'a' && c <= 'z' ? c - 'a' + 10 : 99;
}

/* int(text, base) by Python's grammar: signs, 0x and the like, underscores between digits.  False:
 * no number, or the machine failed because it passes 64 bits. */
static bool parse_whole(jmachine *m, jstr s, int64_t base, int64_t *out)
{
    bool negative = false, over = false, after_digit = false, any = false, zero_only;
    int prefix = 0;
    size_t i = 0;
    int64_t value = 0;

    s = jin_strip(s, NULL, true, true).u.s;
    if (s.n && (*s.p == '-' || *s.p == '+')) negative = s.p[i++] == '-';
    if (i + 1 < s.n && s.p[i] == '0') {
        char c = (char)(s.p[i + 1] | 32);
        prefix = c == 'x' ? 16 : c == 'o' ? 8 : c == 'b' ? 2 : 0;
    }
    zero_only = base == 0 && !prefix && i < s.n && s.p[i] == '0'; /* 010 is no number, 00 is */
    if (prefix && (base == 0 || base == prefix)) {
        i += 2;
        base = prefix;
        if (i < s.n && s.p[i] == '_') i++;
    }
    if (base == 0) base = 10;
    for (; i < s.n; i++) {
        int d = digit_of(s.p[i]);
        if (s.p[i] == '_') {
            if (!after_digit) return false;
            after_digit = false;
            continue;
        }
        if (d >= base || (zero_only && d)) return false;
        over |= __builtin_mul_overflow(value, base, &value) ||
                __builtin_add_overflow(value, (int64_t)(negative ? -d : d), &value);
        any = after_digit = true;
    }
    if (!any || !after_digit) return false;
    if (over) jin_fail(m, "a whole number passes 64 bits");
    *out = value;
    return !over;
}

/* float(text) by Python's grammar. */
static bool parse_real(jstr s, double *out)
{
    char text[400], *end;
    size_t n = 0;
    const char *first;

    s = jin_strip(s, NULL, true, true).u.s;
    if (!s.n || s.n >= sizeof text) return false;
    for (size_t i = 0; i < s.n; i++) {
        bool between = i && i + 1 < s.n && digit_of(s.p[i - 1]) < 10 && digit_of(s.p[i + 1]) < 10;
        if (s.p[i] == '_' && between) continue;
        if (!s.p[i]) return false;
        text[n++] = s.p[i];
    }
    text[n] = 0;
    if (strpbrk(text, "xXpP_(")) return false; /* C reads these, Python does not */
    first = text + (*text == '-' || *text == '+');
    if (jin_space((unsigned char)*first) || *first == '-' || *first == '+') return false;
    *out = strtod(text, &end);
    return !*end;
}

static jval whole_of(jmachine *m, double f, jval otherwise)
{
    if (isnan(f) || isinf(f)) return otherwise;
    if (!(fabs(f) < 9.2e18)) return jin_fail(m, "a whole number passes 64 bits");
    return jin_int((int64_t)f);
}

jval jin_to_int(jmachine *m, jval v, const jval *a)
{
    jval otherwise = jin_or(a[0], jin_int(0));
    int64_t base, i;
    double f;

    if (!jin_whole(m, a[1], "int", 10, &base)) return v;
    if (base != 0 && (base < 2 || base > 36)) base = -1; /* int() fails, then float() is tried */
    if (v.t == J_INT || v.t == J_BOOL) return jin_int(v.t == J_INT ? v.u.i : v.u.b);
    if (v.t == J_FLOAT) return whole_of(m, v.u.f, otherwise);
    if (v.t == J_UNDEF) return jin_fail(m, "int of something undefined");
    if (v.t != J_STR) return otherwise;
    if (base >= 0 && parse_whole(m, v.u.s, base, &i)) return jin_int(i);
    if (m->status || !parse_real(v.u.s, &f)) return otherwise;
    return whole_of(m, f, otherwise);
}

jval jin_to_float(jmachine *m, jval v, const jval *a)
{
    jval otherwise = jin_or(a[0], jin_float(0));
    double f;

    if (v.t == J_INT || v.t == J_BOOL) return jin_float(v.t == J_INT ? (double)v.u.i : v.u.b);
    if (v.t == J_FLOAT) return v;
    if (v.t == J_UNDEF) return jin_fail(m, "float of something undefined");
    return v.t == J_STR && parse_real(v.u.s, &f) ? jin_float(f) : otherwise;
}

/* Python's round(): the nearest decimal of the exact value, as printf makes it. */
static double round_to(double f, int64_t digits)
{
    char text[400];

    if (!isfinite(f) || digits > 300) return f;
    if (digits < 0) {
        double unit = pow(10, (double)-jin_most(digits, -310));
        return rint(f / unit) * unit;
    }
    snprintf(text, sizeof text, "%.*f", (int)digits, f);
    return strtod(text, NULL);
}

jval jin_round(jmachine *m, jval v, const jval *a)
{
    int64_t digits;
    jstr how;
    double f, unit;

    if (!jin_whole(m, a[0], "round", 0, &digits) || !jin_words(m, a[1], "round", "common", &how))
        return v;
    if (!jin_is(how, "common") && !jin_is(how, "ceil") && !jin_is(how, "floor"))
        return jin_fail(m, "round: the method is common, ceil or floor");
    if (!jin_is_number(v)) return jin_fail(m, "round of a %s", jin_type_name(v));
    f = v.t == J_FLOAT ? v.u.f : v.t == J_INT ? (double)v.u.i : v.u.b;
    if (jin_is(how, "common")) {
        if (v.t == J_FLOAT) return jin_float(round_to(f, digits));
        return jin_int(digits >= 0 ? (v.t == J_INT ? v.u.i : v.u.b) : (int64_t)round_to(f, digits));
    }
    unit = pow(10, (double)digits);
    return jin_float((jin_is(how, "ceil") ? ceil(f * unit) : floor(f * unit)) / unit);
}
