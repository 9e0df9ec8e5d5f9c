/* thrift.h - reading Thrift's compact protocol, in which Parquet writes its metadata.
 *
 *   struct   fields, then a zero byte
 *   field    byte: id delta << 4 | type; delta 0: the id follows as a zigzag varint
 *            true and false are types, all other values follow
 *   i8       one byte; i16, i32, i64: zigzag varints; double: 8 bytes
 *   binary   varint length, bytes
 *   list     byte: count << 4 | element type, count 15: a varint follows; elements
 *   map      varint count; unless 0: byte key type << 4 | value type; pairs
 *
 * The first mistake makes `failed` true and empties the rest, so that a reader of a struct checks
 * once at its end.  Nothing is allocated; a count is never greater than the bytes that are left.
 * Source: apache/thrift, doc/specs/thrift-compact-protocol.md. */
#ifndef NIB_FORMAT_THRIFT_H
#define NIB_FORMAT_THRIFT_H

#include "base/base.h"

typedef struct nib_thrift {
    const uint8_t *at, *end;
    bool failed;
} nib_thrift;

enum nib_thrift_type {
    NIB_THRIFT_TRUE = 1,
    NIB_THRIFT_FALSE,
    NIB_THRIFT_I8,
    NIB_THRIFT_I16,
    NIB_THRIFT_I32,
    NIB_THRIFT_I64,
    NIB_THRIFT_DOUBLE,
    NIB_THRIFT_BINARY,
    NIB_THRIFT_LIST,
    NIB_THRIFT_SET,
    NIB_THRIFT_MAP,
    NIB_THRIFT_STRUCT
};

/* Starts zeroed for each struct. */
typedef struct nib_thrift_field {
    int32_t id;
    uint8_t type;
} nib_thrift_field;

/* The next field of the struct at hand; false at its end or after a failure.  The value is then
 * read by one of the calls below, which fail when it is of another type, or is skipped. */
bool nib_thrift_next(nib_thrift *t, nib_thrift_field *f);

int64_t nib_thrift_int(nib_thrift *t, const nib_thrift_field *f);
int32_t nib_thrift_i32(nib_thrift *t, const nib_thrift_field *f); /* fails beyond 32 bits */
bool nib_thrift_bool(nib_thrift *t, const nib_thrift_field *f);
const uint8_t *nib_thrift_binary(nib_thrift *t, const nib_thrift_field *f,
                                 size_t *bytes);                  /* into the input */
bool nib_thrift_struct(nib_thrift *t, const nib_thrift_field *f); /* then its fields come */
size_t nib_thrift_list_of_structs(nib_thrift *t,
                                  const nib_thrift_field *f); /* their number; then they come */
void nib_thrift_skip(nib_thrift *t, const nib_thrift_field *f);

#endif
