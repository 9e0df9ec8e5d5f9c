#!/bin/sh
# fuzz.sh - one fuzz target: its seeds, then a search of some seconds.
#
#   tools/fuzz.sh build-fuzz SECONDS NAME      a crash leaves its input in build-fuzz/
#
# Of 0 seconds: its seeds alone.
build=$1 seconds=$2 name=$3
[ "$seconds" -gt 0 ] && search=-max_total_time=$seconds || search=-runs=0
mkdir -p "$build/corpus/$name"
if "$build/fuzz/fuzz_$name" "$search" -timeout=10 -rss_limit_mb=2048 \
    -artifact_prefix="$build/" "$build/corpus/$name" "fuzz/seeds/$name" >"$build/$name.log" 2>&1
then echo "ok fuzz $name"
else
    tail -40 "$build/$name.log"
    echo "FAILED fuzz $name"
    exit 1
fi
