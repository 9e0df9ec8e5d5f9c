/* allot.h - which of several sizes each of some parts gets, so that all of them fit into a room and
 * their errors add up to little.
 *
 * Of each part the choices that no mix of two others beats, by bytes and error, are steps, each
 * with what it gains a byte; the steps are taken by falling gain while they fit (the solution of
 * the Lagrangian for the room that they fill), and what room is left then goes to the single
 * changes that gain the most in it, and to exchanges of two.  The same choices give the same
 * answer: equal gains go by the parts' order. */
#ifndef NIB_JOB_ALLOT_H
#define NIB_JOB_ALLOT_H

#include "base/base.h"

enum { NIB_ALLOT_CHOICES = 8 };

typedef struct nib_allot_choice {
    uint64_t bytes;
    double error;    /* of any unit, the same for all parts; finite */
} nib_allot_choice;

typedef struct nib_allot_part {
    nib_allot_choice choices[NIB_ALLOT_CHOICES];
    size_t count;    /* of them: 1 or more, in any order */
    double weight;   /* what its errors are multiplied by; above 0 */
    size_t chosen;   /* set */
} nib_allot_part;

/* Whether a target is asked for, as a size in bytes or as bits a weight, 0 where not; *name: of the
 * one that is.  NIB_E_INVALID: both are, or it is no number above 0. */
nib_status nib_allot_asked(uint64_t target_size, double target_bpw, bool *asked, const char **name,
                           nib_error *err);

/* The room must hold the smallest choice of every part: asserted.  NIB_E_NOMEM. */
nib_status nib_allot(nib_ctx *ctx, nib_allot_part *parts, size_t count, uint64_t room,
                     nib_error *err);
/* What the choices take: of the smallest, of the largest, of those chosen. */
typedef enum nib_allot_which { NIB_ALLOT_LEAST, NIB_ALLOT_MOST, NIB_ALLOT_CHOSEN } nib_allot_which;
uint64_t nib_allot_bytes(const nib_allot_part *parts, size_t count, nib_allot_which which);
size_t nib_allot_choice_of(const nib_allot_part *part, nib_allot_which which);

#endif
