/* export_plan.h - the tensors of a GGUF file: what each is made of, and its type there. */
#ifndef NIB_JOB_EXPORT_PLAN_H
#define NIB_JOB_EXPORT_PLAN_H

#include "job/export_mix.h"
#include "job/importance.h"
#include "model/gguf_keys.h"

typedef struct nib_export_item {
    char name[NIB_GGUF_NAME_ROOM + 8];
    const nib_gguf_type *type;
    unsigned rank;
    uint64_t shape[3];
    const nib_weight *weight; /* a matrix, and what an adapter adds to it, or NULL: of its rows
                                 first_row, first_row + row_step, ... */
    size_t first_row, row_step;
    size_t first_place;       /* of the family's reordered rows those that lie from here on */
    const nib_branch *branch;
    bool open;                /* the type is Q8_0 until it is chosen (export_allot.h) */
    bool columns;             /* of an embedding: nib_merge_add_row() */
    nib_gguf_held held;
    nib_gguf_fold fold;       /* of a matrix; and whether */
    bool folds;               /* any of its factors is not 1 */
    const float *importance;  /* [experts or 1, in] of its inputs, or NULL */
    bool heads;               /* shape[0] of them, rows of each from first_row on */
    bool turned;              /* those, and in the file their columns are the rows */
    const nib_linear **experts; /* shape[0] of them, of which `weight` is the first; NULL: one */
    size_t expert_capacity;
    float *made;              /* `values` where they are the plan's own, or NULL */
    const float *values;      /* else these, plus `offset` */
    float offset;
} nib_export_item;

typedef struct nib_export_plan {
    nib_gguf_heads heads;
    nib_export_item *items;
    size_t count, capacity;
    size_t widest;            /* columns of the widest matrix */
    size_t fallbacks;         /* matrices whose rows are no whole blocks of the type */
    size_t unimportant;       /* blocks of matrices of the layers without importances */
} nib_export_plan;

/* Borrows from the model, its adapter in slot 0, the divisors and the importances (NULL: none).
 * NIB_E_UNSUPPORTED: a module that GGUF has no place for; NIB_E_MISMATCH: importances of another
 * number of inputs. */
nib_status nib_export_plan_make(const nib_model *m, const nib_gguf_naming *n,
                                const nib_export_type *type, const nib_gguf_keys_out *keys,
                                const nib_importances *importances, nib_export_plan *out,
                                nib_error *err);
/* Which row of its weight is the item's row `at`, but for the order that they are in there. */
size_t nib_export_row_of(const nib_export_plan *plan, const nib_export_item *item, size_t at);
void nib_export_plan_free(nib_ctx *ctx, nib_export_plan *plan); /* zeroed is fine */

#endif
