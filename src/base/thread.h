/* thread.h - one parallel loop over tiles.
 *
 * Each worker begins with its own contiguous part of the tiles, so that a tile
 * finds in cache what the same worker left there, and helps the others when it is
 * done, so that a busy neighbour on one core costs little.  Which worker runs a
 * tile is therefore chance: a tile must write only what no other tile writes,
 * and sums must not cross tiles.  Waiting spins briefly, then sleeps.
 *
 * Own threads rather than OpenMP's: its spinning is set by the environment only,
 * its static split falls to half speed beside a busy neighbour, and it allocates. */
#ifndef NIB_BASE_THREAD_H
#define NIB_BASE_THREAD_H

#include "base/base.h"

typedef void (*nib_tile_fn)(void *arg, size_t tile, unsigned worker);

/* Runs fn(arg, 0..tiles-1, worker), worker < nib_threads(ctx); returns when all
 * are done.  Allocates nothing.  Not to be called from within a tile. */
void nib_parallel_for(nib_ctx *ctx, size_t tiles, nib_tile_fn fn, void *arg);
unsigned nib_threads(const nib_ctx *ctx);

#endif
