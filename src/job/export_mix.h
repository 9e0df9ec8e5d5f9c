/* export_mix.h - which type each matrix of a GGUF file gets: the mixes of llama-quantize
 * (formats-quant.md 7.8). */
#ifndef NIB_JOB_EXPORT_MIX_H
#define NIB_JOB_EXPORT_MIX_H

#include "model/gguf_naming.h"

/* What --quantize names. */
typedef struct nib_export_type {
    const char *name;
    unsigned file_type; /* general.file_type */
    const char *base;   /* of the matrices */
    const char *head;   /* of the head, and of the embedding where it is the head */
    /* the same for all; _S; _M; IQ4_NL's; of the experts alone, all else is `head`; Q8_0 for the
     * time being, each by itself later (export_allot.h) */
    enum { NIB_EXPORT_PLAIN, NIB_EXPORT_SMALL, NIB_EXPORT_MEDIUM, NIB_EXPORT_UNEVEN,
           NIB_EXPORT_EXPERTS, NIB_EXPORT_ALLOTTED } mix;
} nib_export_type;
extern const nib_export_type nib_export_allotted_type;
const nib_export_type *nib_export_type_named(const char *name); /* NULL: not known */
void nib_export_types_known(char *out, size_t room);

/* Some types depend on how many matrices of a kind came before. */
typedef struct nib_export_mix {
    const nib_model *m;
    const nib_gguf_naming *n;
    const nib_export_type *type;
    bool importances;
    size_t values;        /* matrices of values that there are, */
    size_t values_so_far; /* and that came, */
    size_t downs;         /* and of those down */
    size_t fallbacks;     /* matrices whose rows are no whole blocks of their type */
} nib_export_mix;

/* Borrows all of it. */
void nib_export_mix_begin(nib_export_mix *k, const nib_model *m, const nib_gguf_naming *n,
                          const nib_export_type *type, bool importances);
/* Of the next matrix in the order of the file, `name` as it is there, with rows of `width`.
 * changed: an adapter adds to it; head: it is the head, or the embedding that is the head too. */
const nib_gguf_type *nib_export_mix_next(nib_export_mix *k, const char *name, const nib_weight *w,
                                         bool changed, size_t width, bool head);

#endif
