#!/bin/sh
# tidy.sh - clang-tidy on the files given, with .clang-tidy's checks; its notes on how much it left
# out are dropped.  TIDY: the program; CPPFLAGS: as the Makefile compiles.
command -v "$TIDY" >/dev/null || { echo "tidy: no $TIDY (apt-get install clang-tidy)"; exit 1; }
eval "set -- \"\$@\" -- -std=c17 $CPPFLAGS"
"$TIDY" --quiet "$@" 2>"${TMPDIR:-/tmp}/tidy.$$"
status=$?
grep -vE '^[0-9]+ warnings? generated' "${TMPDIR:-/tmp}/tidy.$$" >&2
rm -f "${TMPDIR:-/tmp}/tidy.$$"
exit $status
