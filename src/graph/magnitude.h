/* magnitude.h - branches with magnitudes: DoRA.
 *
 *     linear      y = g * (x W^T + s (x A^T) B^T) + bias     g_o = m_o / |W_o + s (B A)_o|
 *     embedding   y = g * (E[id] + s A[:, id]^T B^T)         g_d = m_d / |(E + s (B A)^T)[:, d]|
 *
 * W and E as they are decoded, in float; norms are taken a tile at a time.  m [out], or [D], is
 * trained, and the norms are constants of a backward pass:
 *
 *     dm = sum over rows of dy * z / norm     z what g multiplies;   W, A, B get g * dy for dy
 *
 * While training with dropout d the base's own product is of x:
 *
 *     y = x W^T + s (d(x) A^T) B^T + (g - 1) * (d(x) W^T + s (d(x) A^T) B^T) + bias
 *
 * A channel whose norm is 0 has the gain 1: its z is 0 (PEFT divides by 0 there).
 * Source: Liu et al. 2024, arXiv:2402.09353, eq. 5 and section 4.3; dropout as in PEFT 0.21.2. */
#ifndef NIB_GRAPH_MAGNITUDE_H
#define NIB_GRAPH_MAGNITUDE_H

#include "graph/graph.h"

/* Room for the norms of `channels` channels, all gains 1; p [channels] then is the branch's.
 * False: no memory. */
bool nib_magnitude_attach(nib_ctx *ctx, nib_branch *b, nib_param *p);

/* Norms and gains, after W, A, B or the magnitudes have changed; with `begin` the magnitudes become
 * the norms.  Of a weight that is not there nothing is measured.  columns: W is an embedding. */
void nib_magnitude_measure(nib_ctx *ctx, const nib_kernels *k, const nib_weight *w, bool columns,
                           nib_branch *b, bool begin);
/* The same of all branches of the graph whose magnitudes are trained. */
void nib_magnitudes_measure(const nib_graph *g);
/* The gains alone, where only the magnitudes have changed. */
void nib_magnitude_gain(nib_branch *b);

#endif
