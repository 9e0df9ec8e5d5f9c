#!/usr/bin/env bash
# run.sh - runs every test program that is built, the fuzz targets on their seeds, then the check of
# the floors, and counts.
#
#   BUILD=build tests/run.sh [PATTERN]      PATTERN: only programs whose path matches (a glob)
#
# A program prints a line "ok NAME", "FAILED NAME" or "skipped NAME: reason" for each case
# (tests/support/test.h).  What a program with a failure printed is shown whole.  One that dies,
# hangs past TEST_TIMEOUT seconds (default 600) or exits with an error without naming a failed
# case counts as one failure.  Ends with "N passed, N failed, N skipped"; exit 1 if a case
# failed or none ran.  With STRICT_SKIPS=1 a skip that tests/skips.txt does not list fails.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
build=${BUILD:-build}
pattern=${1:-*}
limit=${TEST_TIMEOUT:-600}
passed=0 failed=0 skipped=0 programs=0
output=$(mktemp)
skips=$(mktemp)
trap 'rm -f "$output" "$skips"' EXIT

# Whether "NAME: reason" begins with a line of tests/skips.txt.
listed_skip() {
    local line
    while IFS= read -r line; do
        case $line in ''|'#'*) continue ;; esac
        [[ "$1" == "$line"* ]] && return 0
    done < tests/skips.txt
    return 1
}

run() { # NAME COMMAND...
    local name=$1 status bad line
    shift
    timeout --kill-after=10 "$limit" "$@" >"$output" 2>&1 </dev/null
    status=$?
    passed=$((passed + $(grep -c '^ok ' "$output")))
    bad=$(grep -c '^FAILED ' "$output")
    while IFS= read -r line; do
        line=${line#skipped }
        skipped=$((skipped + 1))
        echo "skipped $line" >>"$skips"
        if [ "${STRICT_SKIPS:-0}" = 1 ] && ! listed_skip "$line"; then
            echo "FAILED $line: this skip is not listed in tests/skips.txt"
            failed=$((failed + 1))
        fi
    done < <(grep '^skipped ' "$output")
    if [ $status -ne 0 ] && [ "$bad" -eq 0 ]; then
        case $status in
        124|137) echo "FAILED $name: not done after $limit s" >>"$output" ;;
        *) echo "FAILED $name: ended with status $status" >>"$output" ;;
        esac
        bad=1
    elif [ $status -eq 0 ] && ! grep -qE '^(ok|FAILED|skipped) ' "$output"; then
        echo "FAILED $name: ran no test" >>"$output"
        bad=1
    fi
    failed=$((failed + bad))
    [ "$bad" -eq 0 ] || { echo "--- $name"; cat "$output"; }
}

for program in "$build"/tests/*/test_*; do
    name=${program#"$build"/tests/}
    [[ -x "$program" && "$name" == $pattern ]] || continue
    [ -e "tests/$name.c" ] || continue # an object file, or built from a source that is gone
    programs=$((programs + 1))
    run "$name" "$program"
done
for program in "$build"/fuzz/seeds_*; do
    name=${program#"$build"/fuzz/seeds_}
    [[ -x "$program" && "fuzz/$name" == $pattern && -e "fuzz/fuzz_$name.c" ]] || continue
    programs=$((programs + 1))
    run "fuzz/$name" "$program" "fuzz/seeds/$name"
done
[ "$pattern" = '*' ] && run check-floors tools/check-floors.sh

sort -u "$skips"
[ $programs -gt 0 ] || echo "no test program in $build/tests matches '$pattern': nothing was tested"
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed -eq 0 ] && [ $programs -gt 0 ] && [ $passed -gt 0 ]
