/* export_allot.h - the type of each matrix of a GGUF file, so that the file or its matrices have
 * the size that is asked for: by the square that each type loses of the matrix, its inputs weighed
 * by their importances where there are some (job/allot.h chooses). */
#ifndef NIB_JOB_EXPORT_ALLOT_H
#define NIB_JOB_EXPORT_ALLOT_H

#include "format/gguf_writer.h"
#include "job/export_plan.h"
#include "nibble/export.h"

typedef struct nib_export_allotted {
    unsigned file_type;     /* general.file_type: of the type that most bytes are of */
    uint64_t file_bytes;
    double bits_per_weight; /* of all matrices, as inspect has it */
} nib_export_allotted;

/* Chooses the types of the plan's matrices that are open: not of the head, whose error nothing
 * behind it evens out, and which is Q6_K as beside any other type.  w: with all keys but for
 * general.file_type, and no tensor.  NIB_E_INVALID: the target cannot be reached, with the range;
 * NIB_E_NUMERIC: a value that is not finite; NIB_E_INTERRUPTED. */
nib_status nib_export_allot(nib_ctx *ctx, const nib_export_options *o, nib_export_plan *plan,
                            const nib_gguf_writer *w, nib_export_allotted *out, nib_error *err);

#endif
