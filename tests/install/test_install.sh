#!/usr/bin/env bash
# test_install.sh - `make install` into a temporary prefix, and the examples built from there as a
# stranger would: as C17 and as C++17, with the shared library and with the static one, with what
# pkg-config prints and nothing else; one is run.  `make dist` holds what is committed.
#
#   BUILD=build tests/install/test_install.sh      CC, CXX: the compilers; SAN: of that build
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
build=${BUILD:-build}
cc=${CC:-gcc} cxx=${CXX:-g++}
prefix=$(mktemp -d)
trap 'rm -rf "$prefix"' EXIT
export PKG_CONFIG_PATH=$prefix/lib/pkgconfig
export LD_LIBRARY_PATH=$prefix/lib
strict="-O1 -Wall -Wextra -Wpedantic -Werror ${SAN:+-fsanitize=$SAN}"
status=0

check() { # NAME COMMAND...: one case; what the command prints is shown when it fails
    local name=$1
    shift
    if "$@" >"$prefix/log" 2>&1; then echo "ok $name"; return 0; fi
    cat "$prefix/log"
    echo "FAILED $name"
    status=1
    return 1
}

installed() { # what README.md promises lies below the prefix
    local file
    for file in bin/nibble lib/libnibble.a lib/libnibble.so include/nibble/nibble.h \
        lib/pkgconfig/nibble.pc share/man/man1/nibble.1 \
        share/bash-completion/completions/nibble share/zsh/site-functions/_nibble \
        share/fish/vendor_completions.d/nibble.fish; do
        [ -s "$prefix/$file" ] || { echo "$file was not installed"; return 1; }
    done
}

version() { # of the program, with its commit, the instruction sets and the libraries
    local text
    text=$("$prefix/bin/nibble" --version) || return 1
    grep -qE "^nibble $(pkg-config --modversion nibble) \\(commit [0-9a-f]{7,}(-dirty)?\\)$" \
        <<<"$text" && grep -q '^instruction sets: [a-z]' <<<"$text" &&
        grep -q "^libraries:.* pcre2 $(pkg-config --modversion libpcre2-8)," <<<"$text" ||
        { echo "$text"; return 1; }
}

shared() { # the soname, and exported: what the headers declare and nothing else
    local library=$prefix/lib/libnibble.so name
    name=$(readelf -d "$library" | sed -n 's/.*SONAME.*\[\(.*\)\]/\1/p')
    [ -s "$prefix/lib/$name" ] || { echo "soname $name: no such file"; return 1; }
    nm -D --defined-only "$library" | awk '$2 != "A" { sub("@.*", "", $3); print $3 }' |
        sort >"$prefix/exported"
    printf '#include <nibble/nibble.h>\n' | $cc -I"$prefix/include" -E -x c - |
        tr '\n' ' ' | grep -oE '\bnib_[a-z0-9_]+ ?\([^*]' | tr -d ' ' | sed 's/(.*//' |
        sort -u >"$prefix/declared"
    [ -s "$prefix/declared" ] && diff "$prefix/declared" "$prefix/exported"
}

each_header_alone() { # COMPILER...: no header leans on one that was included before it
    local header
    for header in "$prefix"/include/nibble/*.h; do
        echo "#include <nibble/${header##*/}>" >"$prefix/one"
        # shellcheck disable=SC2046,SC2086 # flags are words
        "$@" $strict -fsyntax-only $(pkg-config --cflags nibble) "$prefix/one" || return 1
    done
}

build_examples() { # SUFFIX COMPILER...
    local suffix=$1 example libraries
    shift
    libraries=$(pkg-config --libs nibble)
    # The linker takes the shared library where it has both, so the static one has its file's name.
    # shellcheck disable=SC2046
    [[ $suffix != *.static ]] ||
        libraries="$(pkg-config --libs nibble | sed 's/-lnibble/-l:libnibble.a/')
            $(pkg-config --libs $(pkg-config --variable=packages nibble)) -lm -pthread"
    for example in examples/*.c; do
        # shellcheck disable=SC2046,SC2086
        "$@" $strict $(pkg-config --cflags nibble) -o "$prefix/$(basename "$example" .c)$suffix" \
            "$example" -x none $libraries || return 1
    done
}

linked() { # SUFFIX WANTED: is the shared library among what the example loads?
    local found=no
    ! readelf -d "$prefix/finetune_and_generate$1" | grep -q 'NEEDED.*libnibble' || found=yes
    [ $found = "$2" ] || { echo "libnibble.so is loaded: $found, want $2"; return 1; }
}

run_example() { # the usage and, without a model, one line that names what is missing
    local example=$prefix/finetune_and_generate$1 said
    "$example" >"$prefix/said" 2>&1
    [ $? -eq 2 ] || { echo "without arguments: not exit 2"; return 1; }
    "$example" "$prefix/none" "$prefix/none.jsonl" "$prefix/adapter" hello >"$prefix/said" 2>&1
    [ $? -eq 1 ] || { echo "without a model: not exit 1"; cat "$prefix/said"; return 1; }
    said=$(<"$prefix/said")
    [[ $said == *"$prefix/none"* ]] || { echo "the model is not named: $said"; return 1; }
}

train() { # three steps on the small model, and an answer
    printf '{"prompt": "a", "completion": "b"}\n' >"$prefix/data.jsonl"
    "$prefix/finetune_and_generate" models/pico "$prefix/data.jsonl" "$prefix/adapter" a &&
        [ -s "$prefix/adapter/adapter_model.safetensors" ]
}

dist() { # the tarball has the version in its name, knows its commit, and needs no git
    local top
    make -s BUILD="$prefix/dist" dist || return 1
    tar -xzf "$prefix"/dist/nibble-*.tar.gz -C "$prefix" || return 1
    top=$(echo "$prefix"/nibble-[0-9]*)
    [ "$(basename "$top")" = "nibble-$(pkg-config --modversion nibble)" ] || return 1
    [ ! -e "$top/.git" ] && [ -s "$top/Makefile" ] || return 1
    [[ $(git rev-parse HEAD) == "$("$top/tools/commit.sh")"* ]] ||
        { echo "commit $("$top/tools/commit.sh"), want $(git rev-parse HEAD)"; return 1; }
    make -s -C "$top" -n BUILD=build build/nibble >"$prefix/commands" &&
        grep -q 'commit.sh' "$prefix/commands"
}

# All is built: a make of its own, with none of the flags and jobs of the one that runs this.
check "install" env -u MAKEFLAGS -u MAKELEVEL -u DESTDIR make -s --no-print-directory \
    CC="$cc" SAN="${SAN:-}" BUILD="$build" PREFIX="$prefix" install || exit 1
check "install.files" installed
check "install.version" version
check "install.shared" shared
# shellcheck disable=SC2086 # a compiler may be two words, such as ccache gcc
check "install.headers c17" each_header_alone $cc -std=c17 -x c
# shellcheck disable=SC2086
check "install.headers c++17" each_header_alone $cxx -std=c++17 -x c++
# shellcheck disable=SC2086
check "install.examples c17" build_examples '' $cc -std=c17 -x c &&
    check "install.run c17" run_example '' && check "install.linked shared" linked '' yes
# shellcheck disable=SC2086
check "install.examples static" build_examples .static $cc -std=c17 -x c &&
    check "install.run static" run_example .static &&
    check "install.linked static" linked .static no
# shellcheck disable=SC2086
check "install.examples c++17" build_examples ++ $cxx -std=c++17 -x c++ &&
    check "install.run c++17" run_example ++
check "install.train" train
[ ! -e .git ] || check "install.dist" dist
exit $status
