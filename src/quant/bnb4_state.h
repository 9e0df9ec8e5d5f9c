/* bnb4_state.h - the quant_state text of a 4-bit weight: what Python's json.dumps gives for
 *
 *     {"quant_type": "nf4", "blocksize": 64, "dtype": "bfloat16", "shape": [64, 64],
 *      "nested_blocksize": 256, "nested_dtype": "float32", "nested_offset": 0.0123}
 *
 * (the last three only when double-quantized).  Source: formats.md 4.3. */
#ifndef NIB_QUANT_BNB4_STATE_H
#define NIB_QUANT_BNB4_STATE_H

#include "base/base.h"
#include "base/dtype.h"

typedef struct nib_bnb4_state {
    bool fp4, nested;
    uint64_t blocksize, shape[2]; /* [out, in] */
    nib_dtype dtype;              /* NIB_F32, NIB_F16 or NIB_BF16 */
    float nested_offset;
} nib_bnb4_state;

/* Strict: one object of the keys above, each once, any order; values in range.
 * `where` names the tensor in errors.  NIB_E_FORMAT, NIB_E_UNSUPPORTED. */
nib_status nib_bnb4_state_parse(const char *text, size_t bytes, const char *where,
                                nib_bnb4_state *out, nib_error *err);

/* Writes the text and a NUL; returns its length, below 300. */
size_t nib_bnb4_state_write(const nib_bnb4_state *state, char *text, size_t room);

/* As Python's repr(): the shortest decimal that reads back as `value`, which is finite;
 * with an exponent below 1e-4 and from 1e16 on.  At most 25 characters and a NUL. */
void nib_python_float(double value, char *text, size_t room);

#endif
