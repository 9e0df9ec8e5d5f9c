/* thrift.c - one bounds check a byte; skipping keeps its own stack. */
#include "format/thrift.h"

enum { MOST_DEPTH = 32 }; /* of what is skipped: Parquet's own structs go to 6 */

static void fail(nib_thrift *t)
{
    t->failed = true;
    t->at = t->end;
}

static size_t left(const nib_thrift *t)
{
    return (size_t)(t->end - t->at);
}

static uint8_t take_byte(nib_thrift *t)
{
    if (t->at == t->end) return fail(t), 0;
    return *t->at++;
}

static const uint8_t *take(nib_thrift *t, uint64_t bytes)
{
    const uint8_t *p = t->at;

    if (bytes > left(t)) return fail(t), t->at;
    t->at += bytes;
    return p;
}

static uint64_t take_varint(nib_thrift *t)
{
    uint64_t value = 0;

    for (unsigned shift = 0; shift < 64; shift += 7) {
        uint8_t byte = take_byte(t);

        value |= (uint64_t)(byte & 127) << shift;
        if (!(byte & 128)) return value;
    }
    return fail(t), 0;
}

static int64_t take_zigzag(nib_thrift *t)
{
    uint64_t v = take_varint(t);
    return (int64_t)(v >> 1 ^ (0 - (v & 1)));
}

/* Every element of every type takes a byte at least. */
static uint64_t take_count(nib_thrift *t, uint64_t count)
{
    if (count > left(t)) return fail(t), 0;
    return count;
}

static uint64_t take_list(nib_thrift *t, uint8_t *type)
{
    uint8_t head = take_byte(t);

    *type = head & 15;
    return take_count(t, head >> 4 == 15 ? take_varint(t) : head >> 4);
}

bool nib_thrift_next(nib_thrift *t, nib_thrift_field *f)
{
    uint8_t head = take_byte(t);

    if (t->failed || head == 0) return false;
    f->type = head & 15;
    f->id = head >> 4 ? (int16_t)(f->id + (head >> 4)) : (int16_t)take_zigzag(t);
    if (f->type < NIB_THRIFT_TRUE || f->type > NIB_THRIFT_STRUCT) fail(t);
    return !t->failed;
}

int64_t nib_thrift_int(nib_thrift *t, const nib_thrift_field *f)
{
    if (f->type == NIB_THRIFT_I8) return (int8_t)take_byte(t);
    if (f->type >= NIB_THRIFT_I16 && f->type <= NIB_THRIFT_I64) return take_zigzag(t);
    return fail(t), 0;
}

int32_t nib_thrift_i32(nib_thrift *t, const nib_thrift_field *f)
{
    int64_t value = nib_thrift_int(t, f);

    if (value < INT32_MIN || value > INT32_MAX) return fail(t), 0;
    return (int32_t)value;
}

bool nib_thrift_bool(nib_thrift *t, const nib_thrift_field *f)
{
    if (f->type > NIB_THRIFT_FALSE) fail(t);
    return f->type == NIB_THRIFT_TRUE;
}

const uint8_t *nib_thrift_binary(nib_thrift *t, const nib_thrift_field *f, size_t *bytes)
{
    uint64_t n = 0;
    const uint8_t *p;

    if (f->type == NIB_THRIFT_BINARY) n = take_varint(t);
    else fail(t);
    p = take(t, n);
    *bytes = t->failed ? 0 : (size_t)n;
    return p;
}

bool nib_thrift_struct(nib_thrift *t, const nib_thrift_field *f)
{
    if (f->type != NIB_THRIFT_STRUCT) fail(t);
    return !t->failed;
}

size_t nib_thrift_list_of_structs(nib_thrift *t, const nib_thrift_field *f)
{
    uint8_t type = NIB_THRIFT_STRUCT;
    uint64_t count = 0;

    if (f->type == NIB_THRIFT_LIST) count = take_list(t, &type);
    else fail(t);
    if (count && type != NIB_THRIFT_STRUCT) fail(t);
    return t->failed ? 0 : (size_t)count;
}

/* --- skipping --- */

typedef struct level {
    bool is_struct;
    uint64_t left;    /* of a list or map: elements, a pair is two */
    uint8_t types[2]; /* of the element after which an even, an odd number is left */
} level;

/* Takes a value whole, or opens it as a new level. */
static void skip_value(nib_thrift *t, uint8_t type, bool is_element, level *stack, size_t *depth)
{
    level next = { 0 };

    switch (type) {
    case NIB_THRIFT_TRUE:
    case NIB_THRIFT_FALSE:
        if (is_element) take(t, 1); /* a field's is in its type */
        return;
    case NIB_THRIFT_I8: take(t, 1); return;
    case NIB_THRIFT_I16:
    case NIB_THRIFT_I32:
    case NIB_THRIFT_I64: take_varint(t); return;
    case NIB_THRIFT_DOUBLE: take(t, 8); return;
    case NIB_THRIFT_BINARY: take(t, take_varint(t)); return;
    case NIB_THRIFT_LIST:
    case NIB_THRIFT_SET:
        next.left = take_list(t, &next.types[0]);
        next.types[1] = next.types[0];
        break;
    case NIB_THRIFT_MAP:
        next.left = 2 * take_count(t, take_varint(t));
        if (next.left) {
            uint8_t types = take_byte(t);
            next.types[1] = types >> 4;
            next.types[0] = types & 15;
        }
        break;
    case NIB_THRIFT_STRUCT: next.is_struct = true; break;
    default: fail(t); return;
    }
    if (*depth == MOST_DEPTH) fail(t);
    else stack[(*depth)++] = next;
}

void nib_thrift_skip(nib_thrift *t, const nib_thrift_field *f)
{
    level stack[MOST_DEPTH];
    size_t depth = 0;

    skip_value(t, f->type, false, stack, &depth);
    while (depth && !t->failed) {
        level *top = &stack[depth - 1];
        nib_thrift_field inner = { 0 };

        if (top->is_struct && nib_thrift_next(t, &inner)) {
            skip_value(t, inner.type, false, stack, &depth);
        } else if (top->is_struct || top->left == 0) {
            depth--;
        } else {
            top->left--;
            skip_value(t, top->types[top->left & 1], true, stack, &depth);
        }
    }
}
