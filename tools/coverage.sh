#!/usr/bin/env bash
# coverage.sh - which lines and branches of src/ and cli/ were run: the least covered files, each
# folder, all.  Left out is what the instruction sets of this machine cannot run.
#
#   tools/coverage.sh BUILD      after the tests of a build with COVERAGE=1; BUILD/coverage.txt: all
set -euo pipefail
build=$1
command -v "${GCOVR:-gcovr}" >/dev/null ||
    { echo "coverage: no gcovr (apt-get install gcovr)"; exit 1; }
kinds=$({ grep -oE 'avx512bf16|avx512' /proc/cpuinfo || true; } | sort -u)
leave=(--exclude '.*_avx512bf16(emu)?\.c' --exclude '.*_amx(emu)?\.c')
[[ $kinds == *avx512* ]] || leave+=(--exclude '.*_avx512\.c')
report() { # lines or branches, as "percent reached all name"
    "${GCOVR:-gcovr}" --root . --object-directory "$build" --filter 'src/' --filter 'cli/' \
        "${leave[@]}" --gcov-ignore-parse-errors "$build" --csv
}
report >"$build/coverage.csv"
awk -F, 'NR > 1 {
    folder = $1; sub(/\/[^\/]*$/, "", folder)
    lines[folder] += $2; hit[folder] += $3; branches[folder] += $5; taken[folder] += $6
    all += $2; allhit += $3; allbranches += $5; alltaken += $6
    if ($2) printf "%5.1f %% of %4d lines  %s\n", 100 * $3 / $2, $2, $1 > "'"$build"'/coverage.txt"
}
END {
    for (f in lines)
        printf "%-14s lines %5.1f %%  branches %5.1f %%\n", f, 100 * hit[f] / lines[f],
            branches[f] ? 100 * taken[f] / branches[f] : 100 | "sort"
    close("sort")
    printf "%-14s lines %5.1f %% of %d, branches %5.1f %% of %d\n", "all", 100 * allhit / all, all,
        100 * alltaken / allbranches, allbranches
}' "$build/coverage.csv"
echo "the least covered (all: $build/coverage.txt):"
sort -n "$build/coverage.txt" | head -10
