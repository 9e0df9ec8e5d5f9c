/* parquet_value.c - what a column means decides first, then how it is stored. */
#include "format/parquet_value.h"

#include <math.h>
#include <stdio.h>

#include "format/json.h"

static const char no_memory[] = "out of memory";

/* --- whether it can be read --- */

static bool is_whole(const nib_parquet_node *n)
{
    return n->type == NIB_PARQUET_INT32 || n->type == NIB_PARQUET_INT64;
}

static bool decimal_fits(const nib_parquet_node *n)
{
    if (n->scale < 0 || n->scale > 38) return false;
    return is_whole(n) || n->type == NIB_PARQUET_BYTE_ARRAY ||
           (n->type == NIB_PARQUET_FIXED && n->width <= 16);
}

const char *nib_parquet_value_refusal(const nib_parquet_node *n)
{
    bool good = true;

    switch (n->meaning) {
    case NIB_MEANS_PLAIN:
        return n->type == NIB_PARQUET_FIXED ? "bytes of a fixed length that are no text" : NULL;
    case NIB_MEANS_JSON:
    case NIB_MEANS_STRING: good = n->type == NIB_PARQUET_BYTE_ARRAY; break;
    case NIB_MEANS_DECIMAL: good = decimal_fits(n); break;
    case NIB_MEANS_DATE: good = n->type == NIB_PARQUET_INT32; break;
    case NIB_MEANS_TIME:
    case NIB_MEANS_TIMESTAMP: good = is_whole(n) && n->unit; break;
    case NIB_MEANS_INTEGER:
        good = n->type == NIB_PARQUET_INT64 ? n->bits == 64
                                            : n->type == NIB_PARQUET_INT32 &&
                                                  (n->bits == 8 || n->bits == 16 || n->bits == 32);
        break;
    case NIB_MEANS_NULL: break;
    case NIB_MEANS_UUID: good = n->type == NIB_PARQUET_FIXED && n->width == 16; break;
    case NIB_MEANS_FLOAT16: good = n->type == NIB_PARQUET_FIXED && n->width == 2; break;
    case NIB_MEANS_LIST:
    case NIB_MEANS_MAP:
    case NIB_MEANS_UNKNOWN: good = false; break;
    }
    return good ? NULL : n->meaning_name;
}

/* --- numbers --- */

static int64_t whole(const nib_parquet_node *n, nib_parquet_value v)
{
    return n->type == NIB_PARQUET_INT32 ? (int32_t)nib_load_le32(v.data)
                                        : (int64_t)nib_load_le64(v.data);
}

static const char *give(json_t *value, json_t **out)
{
    *out = value;
    return value ? NULL : no_memory;
}

static const char *give_text(const char *text, json_t **out)
{
    return give(json_string_nocheck(text), out);
}

static const char *give_real(double x, json_t **out)
{
    if (isinf(x)) return "a number that is infinite";
    return give(isnan(x) ? json_null() : json_real(x), out);
}

static const char *integer(const nib_parquet_node *n, nib_parquet_value v, json_t **out)
{
    int64_t x = whole(n, v);

    if (n->meaning == NIB_MEANS_INTEGER && !n->is_signed) {
        if (n->bits == 64 && x < 0) return "an unsigned number beyond 63 bits";
        if (n->bits <= 32) x = (int64_t)((uint64_t)x & (((uint64_t)1 << n->bits) - 1));
    }
    return give(json_integer(x), out);
}

static const char *number(const nib_parquet_node *n, nib_parquet_value v, json_t **out)
{
    uint32_t bits32;
    uint64_t bits64;
    float f;
    double d;

    if (n->type == NIB_PARQUET_FLOAT) {
        bits32 = nib_load_le32(v.data);
        memcpy(&f, &bits32, sizeof f);
        return give_real((double)f, out);
    }
    bits64 = nib_load_le64(v.data);
    memcpy(&d, &bits64, sizeof d);
    return give_real(d, out);
}

static const char *half(nib_parquet_value v, json_t **out)
{
    unsigned h = nib_load_le16(v.data), exponent = h >> 10 & 31, fraction = h & 1023;
    double x = exponent == 31 ? (fraction ? NAN : INFINITY)
             : exponent ? ldexp(fraction + 1024, (int)exponent - 25) : ldexp(fraction, -24);

    return give_real(h >> 15 ? -x : x, out);
}

/* Two's complement, highest byte first, up to 16 bytes; INT32 and INT64 lowest first. */
static const char *decimal(const nib_parquet_node *n, nib_parquet_value v, json_t **out)
{
    unsigned __int128 x = 0;
    char digits[48], *p = digits + sizeof digits;
    bool negative;

    if (is_whole(n)) {
        x = (unsigned __int128)(__int128)whole(n, v);
    } else {
        if (v.bytes < 1 || v.bytes > 16) return "a DECIMAL of more than 16 bytes";
        if (v.data[0] & 128) x = ~x;
        for (size_t i = 0; i < v.bytes; i++) x = x << 8 | v.data[i];
    }
    negative = x >> 127;
    if (negative) x = -x;
    *--p = 0;
    for (int i = 0; i == 0 || i <= n->scale || x; i++) {
        if (i && i == n->scale) *--p = '.';
        *--p = (char)('0' + (int)(x % 10));
        x /= 10;
    }
    if (negative) *--p = '-';
    return give_text(p, out);
}

/* --- times --- */

static int64_t floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}

/* Days since 1970-01-01 as YYYY-MM-DD: the Gregorian calendar counted from March 1 of year 0, in
 * which the leap day is the last of its year.  False: not of the years 1 to 9999. */
static bool put_date(int64_t days, char *text, size_t room)
{
    int64_t z = days + 719468, era, day_of_era, year_of_era, day, month, year;

    if (days < -719162 || days > 2932896) return false;
    era = floor_div(z, 146097);
    day_of_era = z - era * 146097;
    year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    day = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    month = (5 * day + 2) / 153; /* from March */
    day -= (153 * month + 2) / 5;
    year = year_of_era + era * 400 + (month >= 10);
    snprintf(text, room, "%04d-%02d-%02d", (int)year, (int)(month < 10 ? month + 3 : month - 9),
             (int)day + 1);
    return true;
}

static int64_t units_of_second(int32_t digits)
{
    return digits == 3 ? 1000 : digits == 6 ? 1000000 : 1000000000;
}

/* Units since midnight as HH:MM:SS and, unless it is 0, the fraction: six digits, or nine where
 * there are nanoseconds. */
static void put_time(int64_t units, int32_t digits, char *text, size_t room)
{
    int64_t a_second = units_of_second(digits), second = units / a_second,
            fraction = units % a_second;
    int used = snprintf(text, room, "%02d:%02d:%02d", (int)(second / 3600), (int)(second / 60 % 60),
                        (int)(second % 60));

    fraction *= 1000000000 / a_second;
    if (fraction % 1000) snprintf(text + used, room - (size_t)used, ".%09" PRId64, fraction);
    else if (fraction) snprintf(text + used, room - (size_t)used, ".%06" PRId64, fraction / 1000);
}

static const char *date(int64_t days, json_t **out)
{
    char text[32];

    return put_date(days, text, sizeof text) ? give_text(text, out)
                                             : "a date beyond the years 1 to 9999";
}

static const char *time_of_day(const nib_parquet_node *n, int64_t units, json_t **out)
{
    char text[32];

    if (units < 0 || units >= 86400 * units_of_second(n->unit)) return "a time beyond 24 hours";
    put_time(units, n->unit, text, sizeof text);
    return give_text(text, out);
}

static const char *timestamp(int64_t days, int64_t units, int32_t digits, bool utc, json_t **out)
{
    char text[64];

    if (!put_date(days, text, sizeof text)) return "a time beyond the years 1 to 9999";
    text[10] = 'T';
    put_time(units, digits, text + 11, sizeof text - 11);
    if (utc) snprintf(text + strlen(text), sizeof text - strlen(text), "+00:00");
    return give_text(text, out);
}

/* u64 nanoseconds of the day, u32 Julian day: 2440588 is 1970-01-01. */
static const char *int96(nib_parquet_value v, json_t **out)
{
    uint64_t nanoseconds = nib_load_le64(v.data);

    if (nanoseconds >= 86400 * (uint64_t)1000000000) return "a time beyond 24 hours";
    return timestamp((int64_t)nib_load_le32(v.data + 8) - 2440588, (int64_t)nanoseconds, 9, false,
                     out);
}

/* --- text --- */

static const char *uuid(nib_parquet_value v, json_t **out)
{
    char text[40], *p = text;

    for (size_t i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10) *p++ = '-';
        p += snprintf(p, 3, "%02x", v.data[i]);
    }
    return give_text(text, out);
}

/* U+0000 is a character of a text as any other. */
static bool is_text(nib_parquet_value v)
{
    for (size_t at = 0; at < v.bytes; at++) {
        at += nib_text_invalid(v.data + at, v.bytes - at);
        if (at < v.bytes && v.data[at]) return false;
    }
    return true;
}

static const char *string(nib_parquet_value v, json_t **out)
{
    if (!is_text(v)) return "bytes that are not UTF-8 text";
    return give(json_stringn_nocheck(v.bytes ? (const char *)v.data : "", v.bytes), out);
}

size_t nib_parquet_value_growth(const nib_parquet_node *n)
{
    return n->meaning == NIB_MEANS_JSON ? 16 : 1;
}

static const char *parsed(nib_parquet_value v, json_t **out)
{
    nib_status status = nib_json_parse((const char *)v.data, v.bytes, "",
                                       NIB_JSON_ANY_VALUE | NIB_JSON_DATA, out, NULL);

    return status == NIB_E_NOMEM ? no_memory
           : status              ? "text that is not JSON, in a column of JSON"
                                 : NULL;
}

const char *nib_parquet_value_json(const nib_parquet_node *n, nib_parquet_value v, json_t **out)
{
    int64_t a_day, days;

    switch (n->meaning) {
    case NIB_MEANS_DECIMAL: return decimal(n, v, out);
    case NIB_MEANS_DATE: return date(whole(n, v), out);
    case NIB_MEANS_TIME: return time_of_day(n, whole(n, v), out);
    case NIB_MEANS_TIMESTAMP:
        a_day = 86400 * units_of_second(n->unit);
        days = floor_div(whole(n, v), a_day);
        return timestamp(days, whole(n, v) - days * a_day, n->unit, n->utc, out);
    case NIB_MEANS_JSON: return parsed(v, out);
    case NIB_MEANS_NULL: return give(json_null(), out);
    case NIB_MEANS_UUID: return uuid(v, out);
    case NIB_MEANS_FLOAT16: return half(v, out);
    default: break;
    }
    switch (n->type) {
    case NIB_PARQUET_BOOLEAN: return give(json_boolean(v.data[0]), out);
    case NIB_PARQUET_INT32:
    case NIB_PARQUET_INT64: return integer(n, v, out);
    case NIB_PARQUET_INT96: return int96(v, out);
    case NIB_PARQUET_FLOAT:
    case NIB_PARQUET_DOUBLE: return number(n, v, out);
    default: return string(v, out);
    }
}
