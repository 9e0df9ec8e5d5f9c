#!/usr/bin/env bash
# run.sh - runs every test program that is built, the scripts among the tests, the fuzz targets on
# their seeds, then the checks of the source, and counts.
#
#   BUILD=build tests/run.sh [PATTERN]      PATTERN: only those whose name matches (a glob)
#
# One prints a line "ok NAME", "FAILED NAME" or "skipped NAME: reason" for each case
# (tests/support/test.h).  What one with a failure printed is shown whole.  One that dies,
# hangs past TEST_TIMEOUT seconds (default 600) or exits with an error without naming a failed
# case counts as one failure.  Ends with "N passed, N failed, N skipped"; exit 1 if a case
# failed or none ran.  With STRICT_SKIPS=1 a skip that tests/skips.txt does not list fails.
#
# Directories of tests lie in memory (TEST_MEMORY_DIR, /dev/shm where it has a GiB free), because
# a training run syncs some hundred times; empty: in /tmp.
#
# TEST_JOBS of them run side by side (default: one for each processor), those first that took
# longest the last time; what they found is reported in the order of their names.  How long each
# took is left in $BUILD/tests/times.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
build=${BUILD:-build}
pattern=${1:-*}
limit=${TEST_TIMEOUT:-600}
jobs=${TEST_JOBS:-$(nproc)}
passed=0 failed=0 skipped=0
work=$(mktemp -d)
times=$build/tests/times # "SECONDS NAME SECONDS-OF-PROCESSOR" of the last run
TIMEFORMAT='%R %U %S'
server=
trap '[ -z "$server" ] || kill "$server"; rm -rf "$work"' EXIT

# What must have the machine to itself, because it needs most of the memory or measures.
alone=(interop/test_memory_7b)

if [ -z "${TEST_MEMORY_DIR+set}" ] && [ -w /dev/shm ] &&
    [ "$(df -Pk /dev/shm | awk 'NR == 2 { print $4 }')" -ge 1048576 ]; then
    export TEST_MEMORY_DIR=/dev/shm
fi

# Whether "NAME: reason" begins with a line of tests/skips.txt.
listed_skip() {
    local line
    while IFS= read -r line; do
        case $line in ''|'#'*) continue ;; esac
        [[ "$1" == "$line"* ]] && return 0
    done < tests/skips.txt
    return 1
}

names=()
declare -A command
add() { # NAME COMMAND: both without blanks in a word
    # shellcheck disable=SC2053 # the pattern is one
    [[ "$1" == $pattern ]] || return 0
    names+=("$1")
    command[$1]=$2
}

collect() {
    local program name
    for program in "$build"/tests/*/test_*; do
        name=${program#"$build"/tests/}
        # Not an object file, nor built from a source that is gone.
        [ -x "$program" ] && [ -e "tests/$name.c" ] && add "$name" "$program"
    done
    for program in tests/*/test_*.sh; do
        [ -x "$program" ] && name=${program#tests/} && add "${name%.sh}" "$program"
    done
    if [ -n "${PYTHON:-}" ]; then # the program against the real libraries, for .ci/run
        for program in tests/interop/test_*.py; do
            name=${program#tests/}
            # Those that begin with the libraries that take long to load are forked from one
            # process that has them.
            if grep -qE '^(import torch|from (peft|transformers) )' "$program"; then
                add "${name%.py}" "$PYTHON -S tests/interop/preloaded.py ask $work/python $program"
            else
                add "${name%.py}" "$PYTHON $program"
            fi
        done
    fi
    for program in "$build"/fuzz/seeds_*; do
        name=${program#"$build"/fuzz/seeds_}
        [ -x "$program" ] && [ -e "fuzz/fuzz_$name.c" ] &&
            add "fuzz/$name" "$program fuzz/seeds/$name"
    done
    for program in tools/check-*.sh; do
        name=${program%.sh}
        add "$name" "$program"
    done
}

# Leaves NAME.out, what it printed, and NAME.end, its status and how many seconds it took: of the
# clock, in the program, in the kernel.
run() { # NAME
    local at=$work/${1//\//+} status
    # shellcheck disable=SC2086 # a command's words
    { time BUILD=$build timeout --kill-after=10 "$limit" ${command[$1]} >"$at.out" 2>&1 </dev/null
    } 2>"$at.time"
    status=$?
    echo "$status $(tail -n 1 "$at.time" | tr , .)" >"$at.end"
}

report() { # NAME
    local name=$1 at=$work/${1//\//+} status=1 real=0 user=0 system=0 bad line elsewhere
    [ -e "$at.end" ] && read -r status real user system <"$at.end"
    elsewhere=$(sed -n 's/^processor //p' "$at.out" | tail -n 1) # in another process (preloaded.py)
    passed=$((passed + $(grep -c '^ok ' "$at.out")))
    bad=$(grep -c '^FAILED ' "$at.out")
    while IFS= read -r line; do
        line=${line#skipped }
        skipped=$((skipped + 1))
        echo "skipped $line" >>"$work/skips"
        if [ "${STRICT_SKIPS:-0}" = 1 ] && ! listed_skip "$line"; then
            echo "FAILED $line: this skip is not listed in tests/skips.txt"
            failed=$((failed + 1))
        fi
    done < <(grep '^skipped ' "$at.out")
    if [ "$status" -ne 0 ] && [ "$bad" -eq 0 ]; then
        case $status in
        124|137) echo "FAILED $name: not done after $limit s" >>"$at.out" ;;
        *) echo "FAILED $name: ended with status $status" >>"$at.out" ;;
        esac
        bad=1
    elif [ "$status" -eq 0 ] && ! grep -qE '^(ok|FAILED|skipped) ' "$at.out"; then
        echo "FAILED $name: ran no test" >>"$at.out"
        bad=1
    fi
    failed=$((failed + bad))
    [ "$bad" -eq 0 ] || { echo "--- $name"; cat "$at.out"; }
    echo "$real $name $user $system ${elsewhere:-0}" |
        LC_ALL=C awk '{ print $1, $2, $3 + $4 + $5 }' >>"$work/times"
}

is_alone() {
    local name
    for name in "${alone[@]}"; do [ "$name" = "$1" ] && return 0; done
    return 1
}

# The names, the longest of the last run first and the unknown before them.
by_length() {
    { [ ! -e "$times" ] || cat "$times"; printf 'now %s\n' "${names[@]}"; } |
        awk '$1 == "now" { print ($2 in took ? took[$2] : 9999), $2; next } { took[$2] = $1 }' |
        sort -s -k1,1nr | cut -d' ' -f2
}

start_python() { # the process that `ask` asks, if one does
    [[ "${command[*]-}" == *" ask $work/python "* ]] || return 0
    "$PYTHON" tests/interop/preloaded.py serve "$work/python" </dev/null &
    server=$!
    # It listens before it loads anything.
    while [ ! -S "$work/python" ] && kill -0 "$server" 2>/dev/null; do sleep 0.1; done
}

collect
start_python
: >"$work/skips"
: >"$work/times"
if [ ${#names[@]} -gt 0 ]; then
    by_length >"$work/order"
    running=0
    while IFS= read -r name; do
        is_alone "$name" && continue
        [ $running -lt "$jobs" ] || { wait -n; running=$((running - 1)); }
        run "$name" &
        running=$((running + 1))
    done <"$work/order"
    while [ $running -gt 0 ]; do wait -n; running=$((running - 1)); done
    for name in "${names[@]}"; do
        ! is_alone "$name" || run "$name"
        report "$name"
    done
    [ "$pattern" != '*' ] || cp "$work/times" "$times"
fi

sort -u "$work/skips"
[ ${#names[@]} -gt 0 ] || echo "no test in $build/tests matches '$pattern': nothing was tested"
echo "the longest:$(sort -s -k1,1nr "$work/times" | head -5 | awk '{ print " " $2 " " $1 " s" }' |
    paste -sd,)"
echo "$(awk '{ sum += $3 } END { printf "%.0f", sum }' "$work/times") s of processor, most of it:$(
    sort -s -k3,3nr "$work/times" | head -10 | awk '{ print " " $2 " " $3 " s" }' | paste -sd,)"
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed -eq 0 ] && [ $passed -gt 0 ]
