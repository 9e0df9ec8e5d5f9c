/* alibi.h - the slopes of ALiBi, a bias of the scores by distance. */
#ifndef NIB_MODEL_ALIBI_H
#define NIB_MODEL_ALIBI_H

#include "model/reader.h"

/* [heads] slopes divided by `scale`, which live as long as the config; NULL after an error.
 * Source: Press et al. 2021, arXiv:2108.12409; for heads that are no power of two, their code. */
float *nib_alibi_slopes(nib_reader *r, size_t heads, double scale);

#endif
