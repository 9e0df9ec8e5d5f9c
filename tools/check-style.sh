#!/usr/bin/env bash
# check-style.sh - proves what docs/style.md says of lines: at most 100 columns, no tabs, no blanks
# at the end, a newline at the end of the file, and no declaration torn at its star by a formatter;
# and of prose: that pages, messages and comments have the plain technical word.
# Prints "ok NAME" or "FAILED NAME" lines as the test programs do; exit 1 if one failed.
#   tools/check-style.sh [TOP]     TOP: another tree, for trying the check itself
set -uo pipefail
cd "${1:-$(cd "$(dirname "$0")/.." && pwd)}" || exit 1
export LC_ALL=C.UTF-8 # columns are characters
status=0

# Files whose lines may be longer for now: patterns of paths.
later=('*.py')

verdict() { # NAME PROBLEMS
    if [ -z "$2" ]; then echo "ok $1"; return; fi
    printf '%s\n' "$2"
    echo "FAILED $1"
    status=1
}

files=()
while IFS= read -r file; do files+=("$file"); done < <(
    find src cli include tests fuzz bench examples tools .ci -type f \
        \( -name '*.[ch]' -o -name '*.sh' -o -name '*.py' -o -path '.ci/*' \) \
        -not -path 'tests/golden/*' -not -path 'fuzz/seeds/*' -not -path '*/__pycache__/*' | sort)

held=()
for file in "${files[@]}"; do
    for pattern in "${later[@]}"; do
        # shellcheck disable=SC2053 # a pattern
        [[ $file == $pattern ]] && continue 2
    done
    held+=("$file")
done

verdict "style: lines of at most 100 columns" "$(grep -HnE '^.{101}' "${held[@]}" | cut -c1-140)"
verdict "style: no tabs" "$(grep -HnP '\t' "${files[@]}")"
verdict "style: no blanks at the end of a line" "$(grep -HnE '[[:blank:]]$' "${files[@]}")"
verdict "style: files end with a newline" "$(
    [ "$(tail -qc1 "${files[@]}" | wc -l)" -eq ${#files[@]} ] || # which of them?
        for file in "${files[@]}"; do [ -z "$(tail -c1 "$file")" ] || echo "$file"; done)"
verdict "style: no declaration torn at its star" "$(
    grep -HnE '^ +(const )?(char|float|void|uint8_t|uint16_t)( \*)?$' "${held[@]}")"

# Plainer: reports or given for said and told, expected for due, resumes or continues for goes on,
# fraction for a share of something, names or values for somebody's words.
plain='\b(said|told|(is|are) due|(go|goes|going|went|gone) on)\b'
plain+='|\b(a|the|what|which|some|this|that|smaller|as) shares? (of|that|is)\b|\bas shares of\b'
plain+='|\b(your|in \w+'"'"'s) words?\b'
mapfile -t pages < <(find . -maxdepth 1 -name '*.md'
    find docs -name '*.md' -o -name '*.1'; find recipes -maxdepth 1 -name '*.yaml')
# What a model writes is no prose of ours.
mapfile -t ours < <(printf '%s\n' "${files[@]}" "${pages[@]}" Makefile |
    grep -vxE 'tools/check-style.sh|tests/(generate/test_generate|job/test_scores).c')
verdict "style: plain words" "$(perl tools/prose.pl "$plain" "${ours[@]}" 2>&1)"
exit $status
