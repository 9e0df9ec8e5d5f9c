/* start.h - a fresh adapter that starts from the weights of its linears (formats.md 9), and what it
 * takes out of the base for that.
 *
 *     orthogonal     A and B random, B A = 0; of an even rank; the base stays
 *     pissa          B A = the R greatest singular values of W by s; the base is W - s B A
 *     pissa_niter_N  the same by a random subspace with N iterations
 *     olora          B = Q, A = R of W's leading QR; the base is W - s B A
 *     loftq          s B A ~ W - Q, Q the low-bit base; with more iterations Q of W - s B A
 *
 * A dense base keeps its type.  One that is quantized while loading (other low-bit ones are
 * refused) is encoded again in its form, from the original values: of a base that lies so PEFT's
 * olora has the decoded ones.  LoftQ's product is divided by s, which PEFT leaves out: the same
 * where lora_alpha is r, the only case that PEFT's is meant for.  Linears that are dense in a
 * low-bit model, and embeddings, start as with `true`.  Of a base that is low-bit as it is stored
 * LoftQ alone, with one iteration, can start, from the original that is named. */
#ifndef NIB_ADAPTER_START_H
#define NIB_ADAPTER_START_H

#include "adapter/lora.h"

typedef enum nib_start {
    NIB_START_PLAIN, /* initialize.h */
    NIB_START_ORTHOGONAL,
    NIB_START_PISSA,
    NIB_START_OLORA,
    NIB_START_LOFTQ,
    NIB_START_UNKNOWN
} nib_start;

/* --- start_check.c --- */

/* What init_lora_weights asks for; *iterations: of pissa_niter_N N, else NIB_SVD_EXACT. */
nib_start nib_start_of(const char *init_lora_weights, int *iterations);

typedef struct nib_start_options {
    const nib_model *original; /* what the base was before it was quantized and stored, or NULL */
    nib_model_progress progress;
} nib_start_options;

/* Before any weight is decomposed: NIB_E_INVALID (an odd rank, loftq of a dense base or of other
 * bits), NIB_E_UNSUPPORTED (linears or bases that nothing can be taken out of). */
nib_status nib_start_check(const nib_adapter *a, const nib_start_options *o, nib_error *err);

bool nib_start_is_low(const nib_linear *l); /* its weight is not dense */
/* The linear that it was before it was quantized and stored; NULL: there is none that is dense and
 * of its shape. */
const nib_linear *nib_start_original(const nib_start_options *o, const nib_linear *l);

/* --- start.c --- */

/* Gives the branches of linears their values, beside those of initialize.h, and changes the base;
 * notes what was lost before and after.  A blank model stays as it is.  Takes, of one linear at a
 * time, 4 bytes a value of its weight (loftq 8), what nib_svd_bytes() says, and the new weight.
 * Of an adapter that is being opened (a->doubled) second halves alone are filled.
 * NIB_E_INTERRUPTED between two linears; NIB_E_NUMERIC; NIB_E_NOMEM. */
nib_status nib_start_run(nib_adapter *a, uint64_t seed, const nib_start_options *o,
                         nib_error *err);
/* What it keeps while the adapter is open, beside the weights; of a blank model what it would. */
uint64_t nib_start_bytes(const nib_adapter *a);
/* What running takes beside those and the weights at most, likewise. */
uint64_t nib_start_peak(const nib_adapter *a);

/* --- start_open.c --- */

/* Of an adapter that PEFT wrote: why it cannot be used; NULL: it can. */
const char *nib_start_refused(const nib_peft_config *config);
/* Its config read, before its modules are: NIB_E_UNSUPPORTED with that reason; or makes room for
 * what PEFT takes out of the base whenever it opens it (a->doubled). */
nib_status nib_start_open(nib_adapter *a, nib_error *err);
/* Its values read: takes that again, as running would find it, into the second halves.
 * NIB_E_UNSUPPORTED: the base is low-bit. */
nib_status nib_start_opened(nib_adapter *a, nib_error *err);

/* --- the end --- */

/* Puts the weights back that the start of an adapter replaced, but for those that were made while
 * loading, and frees what is kept of it. */
void nib_start_undo(nib_adapter *a);

#endif
