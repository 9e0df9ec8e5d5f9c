/* bnb4_file.h - a 4-bit weight as the tensors of a bitsandbytes checkpoint, both ways.
 *
 * For the weight M.weight the file holds M.weight (packed codes), M.weight.absmax,
 * M.weight.quant_map, when double-quantized M.weight.nested_absmax and
 * M.weight.nested_quant_map, and M.weight.quant_state.bitsandbytes__nf4 (or __fp4): a
 * JSON text.  This floor knows no file format, so tensors come and go as views.
 * Source: formats.md 4.3, 4.8. */
#ifndef NIB_QUANT_BNB4_FILE_H
#define NIB_QUANT_BNB4_FILE_H

#include "quant/bnb4.h"
#include "quant/format.h"

typedef struct nib_bnb4_parts {
    nib_part weight; /* M.weight itself */
    nib_part absmax, quant_map, nested_absmax, nested_quant_map;
    nib_part quant_state;
    bool fp4; /* by the name of quant_state */
} nib_bnb4_parts;

/* What may follow "M.weight", for looking the tensors up; the last two are quant_state's, and NULL
 * is the end. */
enum { NIB_BNB4_SUFFIXES = 6 };
extern const char *const nib_bnb4_suffixes[NIB_BNB4_SUFFIXES + 1]; /* ".absmax", ... */

/* Puts `view`, whose name is parts->weight.name and more, in its place.  NIB_E_FORMAT: an
 * unknown name, or a second quant_state. */
nib_status nib_bnb4_parts_add(nib_bnb4_parts *parts, const nib_part *view, nib_error *err);

/* Checks all of formats.md 4.8 and makes a weight that reads codes and scales where they
 * lie (small or misaligned float arrays are copied), so the views' data must outlive it.
 * w->source is parts->weight.name, borrowed.  out and in come from the quant_state.
 * NIB_E_FORMAT naming the tensor, NIB_E_UNSUPPORTED, NIB_E_NOMEM. */
nib_status nib_bnb4_open(nib_ctx *ctx, const nib_bnb4_parts *parts, nib_weight **w, nib_error *err);

/* --- writing --- */

/* The tensors of weight `name` ("M.weight").  The data is borrowed from `w` and from parts->text,
 * which gets the quant_state text.  NIB_E_INVALID: a name that is too long. */
nib_status nib_bnb4_tensors(const nib_weight *w, const char *name, nib_parts_out *parts,
                            nib_error *err);

/* The same without data, before encoding: sizes follow from the shape and, when
 * double-quantized, from the number of digits of nested_offset. */
nib_status nib_bnb4_plan(const nib_bnb4_options *options, size_t out, size_t in,
                         float nested_offset, const char *name, nib_parts_out *parts,
                         nib_error *err);

#endif
