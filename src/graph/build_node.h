/* build_node.h - for the files that add operations beside build.c. */
#ifndef NIB_GRAPH_BUILD_NODE_H
#define NIB_GRAPH_BUILD_NODE_H

#include <stdarg.h>

#include "graph/build.h"

enum { NIB_NAME_ROOM = 512 };

/* A module's path made of format and args; false after an error. */
bool nib_build_name(nib_build *b, char name[NIB_NAME_ROOM], const char *format, va_list args);
/* Checks that x can be read as heads: any plain value, a view of these heads, or columns. */
bool nib_build_has_heads(nib_build *b, nib_value x, size_t heads, size_t head_dim,
                         const char *what);

/* Adds a node whose output has `width` channels of the compute type on `axis`; side_width 0: no
 * side value.  After an error nothing is added, and the value is { NIB_NONE }. */
nib_value nib_build_node(nib_build *b, nib_node node, nib_axis axis, size_t width,
                         size_t side_width);

#endif
