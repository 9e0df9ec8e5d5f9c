/* parquet_value.h - a value of a Parquet column as JSON.
 *
 *   BOOLEAN; INT32, INT64, INTEGER of 8 to 64 bits      true or false; a whole number (an unsigned
 *                                                       one beyond 63 bits is refused)
 *   FLOAT, DOUBLE, FLOAT16     a number; NaN, with which pandas marks what is missing, is null;
 *                              an infinity is refused
 *   BYTE_ARRAY, as STRING, ENUM or unmarked             a string, which has to be UTF-8 without NUL
 *   JSON                       what its text says, as `datasets` (its feature Json) gives it
 *   DATE, TIME, TIMESTAMP, INT96     a string as Python's isoformat(): "2024-01-31",
 *                                    "12:30:00.500000", "2024-01-31T12:30:00+00:00"
 *   DECIMAL                    a string with all its digits, "-12.50": a double would lose some
 *   UUID                       a string
 *   FIXED without a meaning, BSON, INTERVAL, VARIANT, ...     refused by name */
#ifndef NIB_FORMAT_PARQUET_VALUE_H
#define NIB_FORMAT_PARQUET_VALUE_H

#include "format/parquet_values.h"

/* NULL if values of this leaf can be read, else why not. */
const char *nib_parquet_value_refusal(const nib_parquet_node *leaf);

/* What a value may take in memory, at most, for each byte of it: the JSON [0,0] is small and two
 * numbers. */
size_t nib_parquet_value_growth(const nib_parquet_node *leaf);

/* *out is the caller's.  NULL, or what is wrong with the value. */
const char *nib_parquet_value_json(const nib_parquet_node *leaf, nib_parquet_value value,
                                   json_t **out);

#endif
