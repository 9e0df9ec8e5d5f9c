/* sink.h - what follows the attention of the last layer is computed only for rows with logits.
 *
 * An architecture picks the rows with logits at its very end.  Operations before that whose output
 * row depends on that row of their inputs alone can work on the picked rows, as far down as nobody
 * else reads what they give: the picking sinks to their inputs.  A row keeps its bits. */
#ifndef NIB_GRAPH_SINK_H
#define NIB_GRAPH_SINK_H

#include "graph/graph.h"

/* Once, when the graph is built.  Fails with NIB_E_NOMEM. */
nib_status nib_sink_logit_rows(nib_graph *g, nib_error *err);

#endif
