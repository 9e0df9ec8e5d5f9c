/* build_node.h - for the files that add operations: nodes and values, and the checks that all make.
 *
 * After the builder's first error every function does nothing: what returns a value gives
 * { NIB_NONE }, what returns a truth gives false. */
#ifndef NIB_GRAPH_BUILD_NODE_H
#define NIB_GRAPH_BUILD_NODE_H

#include <stdarg.h>

#include "graph/build.h"

enum { NIB_NAME_ROOM = 512 };

/* Adds a node whose output has `width` channels of the compute type on `axis`; side_width 0: no
 * side value. */
nib_value nib_build_node(nib_build *b, nib_node node, nib_axis axis, size_t width,
                         size_t side_width);
/* A value alone: a view. */
nib_value nib_build_value(nib_build *b, nib_value_info info);
/* What an error calls a value: the module or the operation that makes it. */
const char *nib_build_value_name(const nib_build *b, int v);
/* Of a value that exists. */
const nib_value_info *nib_info_of(const nib_build *b, nib_value v);
/* The name of the axis it lies on. */
const char *nib_build_axis(const nib_build *b, nib_value v);
/* What a binder returned: the first error stays. */
void nib_build_keep(nib_build *b, nib_status status);
/* A module's path made of format and args; false after an error. */
bool nib_build_name(nib_build *b, char name[NIB_NAME_ROOM], const char *format, va_list args);
/* Checks that x is no view; what: in the error. */
bool nib_build_is_plain(nib_build *b, nib_value x, const char *what);
/* Checks that x can be read as heads: any plain value, a view of these heads, or columns. */
bool nib_build_has_heads(nib_build *b, nib_value x, size_t heads, size_t head_dim,
                         const char *what);
/* A linear of the binder, whose sizes are possible ones; NULL after an error. */
nib_linear *nib_build_bind(nib_build *b, const char *name, nib_linear_spec spec);
/* x through a linear of it; spec.in is x's width. */
nib_value nib_build_linear(nib_build *b, nib_value x, nib_linear_spec spec, const char *name);
/* Checks that views cover their values, when all operations are there. */
void nib_build_check_views(nib_build *b);
/* An axis of the rows of a table of distances. */
nib_axis nib_build_span_axis(nib_build *b, const nib_span *span);
/* No sequence may have more than `limit` tokens; 0: any number. */
void nib_build_limit(nib_build *b, size_t limit);
/* Dropout of probability p with the next key of the graph. */
nib_drop nib_build_drop(nib_build *b, float p);

#endif
