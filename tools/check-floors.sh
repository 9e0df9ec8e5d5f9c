#!/usr/bin/env bash
# check-floors.sh - proves that every folder includes only what tools/floors.txt allows, that
# files do not need each other in a circle but for those of tools/circles.txt, and that a file's
# name is found once in the tree (docs/style.md).
# Prints "ok NAME" or "FAILED NAME" lines as the test programs do; exit 1 if one failed.
#   BUILD=build tools/check-floors.sh [TOP]     TOP: another tree, for trying the check itself
set -uo pipefail
build=${BUILD:-build}
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
    grep -RnHoE --include='*.c' --include='*.h' \
        '^[[:space:]]*#[[:space:]]*include[[:space:]]*("[^"]+"|<nibble/[^>]+>)' "$folder" |
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
        echo "$file:$number: $folder may not include \"$header\"" \
            "(tools/floors.txt allows: ${*:-nothing but include/nibble})"
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

# Who needs whom is read from the object files in $BUILD: a file needs the one that defines a name
# that it uses.  (Not from the includes: a module's private header may include its public one.)
# Prints each circle that tools/circles.txt does not allow with the names that make it, and each
# line of that list that allows nothing.  The circles are the strongly connected components of
# the files (Tarjan 1972).
check_circles() {
    local source objects=()
    for source in src/*/*.c; do
        [ ! -e "$build/${source%.c}.o" ] || objects+=("$build/${source%.c}.o")
    done
    [ ${#objects[@]} -gt 0 ] || { echo "no object file in $build/src: build it first"; return; }
    { sed -e 's/#.*//' -e 's/^/allow /' tools/circles.txt
      "${NM:-nm}" -A "${objects[@]}"
    } | awk -v build="$build/src/" '
        function visit(v,   i, n, w, names) {
            number[v] = low[v] = ++count
            stack[++depth] = v; on[v] = 1
            n = split(needs[v], w, " ")
            for (i = 1; i <= n; i++) {
                if (!(w[i] in number)) {
                    visit(w[i])
                    if (low[w[i]] < low[v]) low[v] = low[w[i]]
                } else if (on[w[i]] && number[w[i]] < low[v]) low[v] = number[w[i]]
            }
            if (low[v] != number[v]) return
            names = ""
            do { w[0] = stack[depth--]; on[w[0]] = 0; names = names " " w[0] } while (w[0] != v)
            if (names != " " v) judge(names)
        }
        function judge(names,   i, k, n, w, inside) { # are all of them in one line of the list?
            n = split(names, w, " ")
            for (k = 1; k <= lines; k++) {
                inside = 1
                for (i = 1; i <= n; i++) if (!((k, w[i]) in allowed)) inside = 0
                if (inside) { used[k] = 1; return }
            }
            print "a circle of files, which tools/circles.txt does not allow:" names
            for (i = 1; i <= n; i++) for (k = 1; k <= n; k++)
                if ((w[i], w[k]) in by) print "    " w[i] " needs of " w[k] ":" by[w[i], w[k]]
        }
        $1 == "allow" {
            if (NF == 1) next
            line[++lines] = $0
            for (i = 2; i <= NF; i++) allowed[lines, $i] = 1
            next
        }
        {
            file = substr($1, length(build) + 1)
            sub(/\.o:.*/, "", file)
            if ($(NF - 1) ~ /^[TDBRV]$/) home[$NF] = file
            if ($(NF - 1) == "U") { user[++uses] = file; name[uses] = $NF }
        }
        END {
            for (i = 1; i <= uses; i++) {
                from = user[i]
                if (!(name[i] in home)) continue
                to = home[name[i]]
                if (!((from, to) in by)) needs[from] = needs[from] " " to
                by[from, to] = by[from, to] " " name[i]
                files[from]
            }
            for (f in files) if (!(f in number)) visit(f)
            for (k = 1; k <= lines; k++)
                if (!(k in used)) print "tools/circles.txt: no such circle:" substr(line[k], 6)
        }'
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
verdict "floors: no circles of files" "$(check_circles)"
verdict "floors: file names are unique" "$(
    find src cli -name '*.c' | sed 's:.*/::' | sort | uniq -d |
    while read -r name; do echo "$name: $(find src cli -name "$name" | tr '\n' ' ')"; done)"
exit $status
