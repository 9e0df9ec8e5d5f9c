/* bnb4_state.c - reading and writing the quant_state text (see bnb4_state.h).
 *
 * Its grammar is a flat object of strings, numbers and one array of integers, so a
 * scanner of its own serves; escapes cannot occur in any legal value and are refused. */
#include "quant/bnb4_state.h"

#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "quant/bnb4.h"

typedef struct scanner {
    const char *at, *end, *where;
    nib_error *err;
} scanner;

static nib_status bad(const scanner *s, const char *expected)
{
    char found[24];
    size_t n = nib_min((size_t)(s->end - s->at), sizeof found - 1);

    memcpy(found, s->at, n);
    found[n] = 0;
    if (!n)
        return nib_fail(s->err, NIB_E_FORMAT, "%s: ends where %s was expected", s->where, expected);
    return nib_fail(s->err, NIB_E_FORMAT, "%s: found '%s' where %s was expected", s->where, found,
                    expected);
}

static void skip_space(scanner *s)
{
    while (s->at < s->end && (*s->at == ' ' || *s->at == '\t' || *s->at == '\n' || *s->at == '\r'))
        s->at++;
}

static bool take(scanner *s, char c)
{
    skip_space(s);
    if (s->at == s->end || *s->at != c) return false;
    s->at++;
    return true;
}

static nib_status take_string(scanner *s, char *out, size_t room)
{
    size_t n = 0;

    if (!take(s, '"')) return bad(s, "a string");
    while (s->at < s->end && *s->at != '"') {
        unsigned char c = (unsigned char)*s->at;
        if (c < 0x20 || c > 0x7e || c == '\\' || n + 1 == room)
            return bad(s, "a short plain string");
        out[n++] = *s->at++;
    }
    out[n] = 0;
    return take(s, '"') ? NIB_OK : bad(s, "a closing quote");
}

static nib_status take_u64(scanner *s, uint64_t *out)
{
    uint64_t value = 0;
    const char *start;

    skip_space(s);
    for (start = s->at; s->at < s->end && *s->at >= '0' && *s->at <= '9'; s->at++)
        if (!nib_mul_u64(value, 10, &value) ||
            !nib_add_u64(value, (uint64_t)(*s->at - '0'), &value))
            return nib_fail(s->err, NIB_E_FORMAT, "%s: an integer beyond 64 bits", s->where);
    if (s->at == start || (*start == '0' && s->at - start > 1)) {
        s->at = start;
        return bad(s, "a whole number");
    }
    *out = value;
    return NIB_OK;
}

static const char *digits(const char *p, const char *end)
{
    while (p < end && *p >= '0' && *p <= '9') p++;
    return p;
}

/* strtod with the point of the C locale, whatever the program's locale is. */
static double read_double(const char *text)
{
    locale_t plain = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    double value = plain ? strtod_l(text, NULL, plain) : strtod(text, NULL);
    if (plain) freelocale(plain);
    return value;
}

static nib_status take_float(scanner *s, float *out)
{
    const char *p, *start;
    char copy[64];
    double value;

    skip_space(s);
    start = p = s->at;
    if (p < s->end && *p == '-') p++;
    if (p == s->end || *p < '0' || *p > '9') return bad(s, "a finite number");
    p = *p == '0' ? p + 1 : digits(p, s->end);
    if (p < s->end && *p == '.') {
        const char *fraction = p + 1;
        p = digits(fraction, s->end);
        if (p == fraction) return bad(s, "a finite number");
    }
    if (p < s->end && (*p == 'e' || *p == 'E')) {
        const char *exponent = ++p;
        if (p < s->end && (*p == '+' || *p == '-')) exponent = ++p;
        p = digits(p, s->end);
        if (p == exponent) return bad(s, "a finite number");
    }
    if ((size_t)(p - start) >= sizeof copy) return bad(s, "a number of less than 64 characters");
    memcpy(copy, start, (size_t)(p - start));
    copy[p - start] = 0;
    value = read_double(copy);
    *out = (float)value;
    if (!isfinite(value) || !isfinite(*out)) return bad(s, "a number within float's range");
    s->at = p;
    return NIB_OK;
}

static nib_status take_dtype(scanner *s, nib_dtype *out)
{
    static const nib_dtype known[] = { NIB_F32, NIB_F16, NIB_BF16 };
    char name[32];
    nib_status status = take_string(s, name, sizeof name);

    if (status) return status;
    for (size_t i = 0; i < NIB_COUNT(known); i++)
        if (strcmp(name, nib_dtype_name(known[i])) == 0) {
            *out = known[i];
            return NIB_OK;
        }
    return nib_fail(s->err, NIB_E_UNSUPPORTED,
                    "%s: dtype '%s'; float32, float16 and bfloat16 are known", s->where, name);
}

static nib_status take_shape(scanner *s, uint64_t shape[2])
{
    nib_status status;

    if (!take(s, '[')) return bad(s, "the shape [out, in]");
    status = take_u64(s, &shape[0]);
    if (status) return status;
    if (!take(s, ',')) return bad(s, "a shape of two numbers");
    status = take_u64(s, &shape[1]);
    if (status) return status;
    return take(s, ']') ? NIB_OK : bad(s, "a shape of two numbers");
}

enum { QUANT_TYPE, BLOCKSIZE, DTYPE, SHAPE, NESTED_BLOCKSIZE, NESTED_DTYPE, NESTED_OFFSET, KEYS };
static const char *const key_names[KEYS] = { "quant_type",   "blocksize",        "dtype",
                                             "shape",        "nested_blocksize", "nested_dtype",
                                             "nested_offset" };

static nib_status take_value(scanner *s, unsigned key, nib_bnb4_state *out)
{
    nib_status status;
    char text[32];
    uint64_t number = 0;
    nib_dtype dtype = NIB_F32;

    switch (key) {
    case QUANT_TYPE:
        status = take_string(s, text, sizeof text);
        if (status) return status;
        out->fp4 = strcmp(text, "fp4") == 0;
        if (!out->fp4 && strcmp(text, "nf4") != 0)
            return nib_fail(s->err, NIB_E_UNSUPPORTED, "%s: quant_type '%s'; nf4 and fp4 are known",
                            s->where, text);
        return NIB_OK;
    case BLOCKSIZE:
        status = take_u64(s, &out->blocksize);
        if (status || nib_bnb4_blocksize_known(out->blocksize)) return status;
        return nib_fail(s->err, NIB_E_FORMAT,
                        "%s: blocksize %" PRIu64 ", expected a power of two from 32 to 4096",
                        s->where, out->blocksize);
    case DTYPE: return take_dtype(s, &out->dtype);
    case SHAPE: return take_shape(s, out->shape);
    case NESTED_BLOCKSIZE:
        status = take_u64(s, &number);
        if (status || number == NIB_NESTED_BLOCK) return status;
        return nib_fail(s->err, NIB_E_UNSUPPORTED, "%s: nested_blocksize %" PRIu64 "; 256 is known",
                        s->where, number);
    case NESTED_DTYPE:
        status = take_dtype(s, &dtype);
        if (status || dtype == NIB_F32) return status;
        return nib_fail(s->err, NIB_E_UNSUPPORTED, "%s: nested_dtype '%s'; float32 is known",
                        s->where, nib_dtype_name(dtype));
    default: return take_float(s, &out->nested_offset);
    }
}

nib_status nib_bnb4_state_parse(const char *text, size_t bytes, const char *where,
                                nib_bnb4_state *out, nib_error *err)
{
    scanner s = { text, text + bytes, where, err };
    nib_bnb4_state state = { 0 };
    unsigned seen = 0, plain = 1u << NESTED_BLOCKSIZE, all = 1u << KEYS;
    nib_status status;

    if (!take(&s, '{')) return bad(&s, "'{'");
    do {
        char name[32];
        unsigned key = 0;
        status = take_string(&s, name, sizeof name);
        if (status) return status;
        while (key < KEYS && strcmp(name, key_names[key]) != 0) key++;
        if (key == KEYS)
            return nib_fail(err, NIB_E_UNSUPPORTED, "%s: unknown key '%s'", where, name);
        if (seen & 1u << key) return nib_fail(err, NIB_E_FORMAT, "%s: key '%s' twice", where, name);
        seen |= 1u << key;
        if (!take(&s, ':')) return bad(&s, "':'");
        status = take_value(&s, key, &state);
        if (status) return status;
    } while (take(&s, ','));
    if (!take(&s, '}')) return bad(&s, "'}'");
    skip_space(&s);
    if (s.at != s.end) return bad(&s, "the end");
    state.nested = seen == all - 1;
    if (seen != plain - 1 && !state.nested) {
        unsigned key = 0;
        while (seen & 1u << key) key++;
        return nib_fail(err, NIB_E_FORMAT, "%s: key '%s' is missing", where, key_names[key]);
    }
    *out = state;
    return NIB_OK;
}

void nib_python_float(double value, char *text, size_t room)
{
    char decimal[40], mantissa[20];
    unsigned count = 0;
    int exponent = 0, at = 0;

    assert(isfinite(value) && room >= 26);
    /* %e gives the nearest decimal of so many digits; the first that reads back is the one. */
    for (int precision = 0; precision <= 16; precision++) {
        snprintf(decimal, sizeof decimal, "%.*e", precision, fabs(value));
        if (strtod(decimal, NULL) == fabs(value)) break; /* same locale both ways */
    }
    for (const char *p = decimal; *p != 'e'; p++)
        if (*p >= '0' && *p <= '9') mantissa[count++] = *p;
    exponent = atoi(strchr(decimal, 'e') + 1);
    while (count > 1 && mantissa[count - 1] == '0') count--;

    if (signbit(value)) text[at++] = '-';
    if (exponent < -4 || exponent >= 16) {
        text[at++] = mantissa[0];
        if (count > 1) text[at++] = '.';
        for (unsigned i = 1; i < count; i++) text[at++] = mantissa[i];
        snprintf(text + at, room - (size_t)at, "e%c%02d", exponent < 0 ? '-' : '+', abs(exponent));
        return;
    }
    if (exponent < 0) {
        text[at++] = '0';
        text[at++] = '.';
        for (int i = -1; i > exponent; i--) text[at++] = '0';
        for (unsigned i = 0; i < count; i++) text[at++] = mantissa[i];
    } else {
        for (int i = 0; i <= exponent || i < (int)count; i++) {
            if (i == exponent + 1) text[at++] = '.';
            text[at++] = i < (int)count ? mantissa[i] : '0';
        }
        if ((int)count <= exponent + 1) {
            text[at++] = '.';
            text[at++] = '0';
        }
    }
    text[at] = 0;
}

size_t nib_bnb4_state_write(const nib_bnb4_state *state, char *text, size_t room)
{
    int n = snprintf(text, room,
                     "{\"quant_type\": \"%s\", \"blocksize\": %" PRIu64
                     ", \"dtype\": \"%s\", \"shape\": [%" PRIu64 ", %" PRIu64 "]",
                     state->fp4 ? "fp4" : "nf4", state->blocksize, nib_dtype_name(state->dtype),
                     state->shape[0], state->shape[1]);
    if (state->nested) {
        char offset[32];
        nib_python_float(state->nested_offset, offset, sizeof offset);
        n += snprintf(
            text + n, room - (size_t)n,
            ", \"nested_blocksize\": %d, \"nested_dtype\": \"float32\", \"nested_offset\": %s",
            NIB_NESTED_BLOCK, offset);
    }
    n += snprintf(text + n, room - (size_t)n, "}");
    assert((size_t)n < room);
    return (size_t)n;
}
