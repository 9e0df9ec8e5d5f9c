#!/bin/sh
# exports.sh - the linker's version script of the shared library: the functions that the public
# headers declare, and nothing else.
#
#   tools/exports.sh VERSION HEADER...     VERSION: the node's name, such as NIBBLE_0
set -eu
version=$1
shift
# A function is a name of ours before a parenthesis; one that only a comment mentions does no harm.
names=$(grep -ohE '\bnib_[a-z0-9_]+ ?\(' "$@" | tr -d ' (' | LC_ALL=C sort -u)
printf '%s {\nglobal:\n' "$version"
printf '    %s;\n' $names
printf 'local:\n    *;\n};\n'
