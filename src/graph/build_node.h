/* build_node.h - for the files that add operations beside build.c. */
#ifndef NIB_GRAPH_BUILD_NODE_H
#define NIB_GRAPH_BUILD_NODE_H

#include "graph/build.h"

/* Adds a node whose output has `width` channels of the compute type on `axis`; side_width 0: no
 * side value.  After an error nothing is added, and the value is { NIB_NONE }. */
nib_value nib_build_node(nib_build *b, nib_node node, nib_axis axis, size_t width,
                         size_t side_width);

#endif
