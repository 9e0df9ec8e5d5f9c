#!/usr/bin/env bash
# check-floors.sh - proves that every folder includes only what tools/floors.txt allows, and
# that a file's name is found once in the tree (docs/style.md).
# Prints "ok NAME" or "FAILED NAME" lines as the test programs do; exit 1 if one failed.
#   tools/check-floors.sh [TOP]     TOP: another tree, for trying the check itself
set -uo pipefail
top=${1:-$(cd "$(dirname "$0")/.." && pwd)}
cd "$top" || exit 1
status=0

verdict() { # NAME PROBLEMS
    if [ -z "$2" ]; then echo "ok $1"; return; fi
    printf '%s\n' "$2"
    echo "FAILED $1"
    status=1
}

check_folder() { # FOLDER ALLOWED...: prints each include that is not allowed
    local folder=$1 own=${1#src/} file number header first
    shift
    # The header's folder decides.  A header without one lies beside the file that includes it.
    grep -RnHoE --include='*.c' --include='*.h' '^[[:space:]]*#[[:space:]]*include[[:space:]]*("[^"]+"|<nibble/[^>]+>)' "$folder" |
    while IFS=: read -r file number header; do
        header=${header#*[\"<]}
        header=${header%[\">]}
        case $header in
        nibble/*) continue ;;
        */*) first=${header%%/*} ;;
        *) [ -e "$(dirname "$file")/$header" ] && continue; first=$header ;;
        esac
        [ "$first" = "$own" ] && continue
        [[ " $* " == *" $first "* ]] && continue
        echo "$file:$number: $folder may not include \"$header\" (tools/floors.txt allows: ${*:-nothing but include/nibble})"
    done
}

check_private() { # FOLDER HEADERS...: prints each include of one of them from elsewhere
    local folder=$1 own=${1#src/} header
    shift
    for header in "$@"; do
        [ -e "$folder/$header" ] || echo "$folder/$header: is not there (tools/floors.txt: private)"
        grep -RnHF --include='*.c' --include='*.h' "#include \"$own/$header\"" src cli |
        grep -v "^$folder/" | sed "s:\$: is private to $folder (tools/floors.txt):"
    done
}

listed=
while IFS=: read -r folder allowed; do
    case $folder in
    ''|'#'*) continue ;;
    private\ *)
        # shellcheck disable=SC2086 # the headers are words
        verdict "floors $folder" "$(check_private "${folder#private }" $allowed)"
        continue ;;
    esac
    listed="$listed $folder "
    [ -d "$folder" ] || continue
    # shellcheck disable=SC2086 # the allowed folders are words
    verdict "floors $folder" "$(check_folder "$folder" $allowed)"
done < tools/floors.txt

verdict "floors: every folder of src/ is listed" "$(
    for folder in src/*/; do
        [[ "$listed" == *" ${folder%/} "* ]] || echo "${folder%/} has no line in tools/floors.txt"
    done)"
verdict "floors: file names are unique" "$(
    find src cli -name '*.c' | sed 's:.*/::' | sort | uniq -d |
    while read -r name; do echo "$name: $(find src cli -name "$name" | tr '\n' ' ')"; done)"
exit $status
