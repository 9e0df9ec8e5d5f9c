#!/usr/bin/env bash
# test_install.sh - `make install` into a temporary prefix, and the examples built from there as a
# stranger would: as C17 and as C++17, with what pkg-config says and nothing else; one is run.
#
#   BUILD=build tests/install/test_install.sh      CC, CXX: the compilers; SAN: of that build
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
build=${BUILD:-build}
cc=${CC:-gcc} cxx=${CXX:-g++}
prefix=$(mktemp -d)
trap 'rm -rf "$prefix"' EXIT
export PKG_CONFIG_PATH=$prefix/lib/pkgconfig
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
    for file in bin/nibble lib/libnibble.a include/nibble/nibble.h share/man/man1/nibble.1; do
        [ -s "$prefix/$file" ] || { echo "$file was not installed"; return 1; }
    done
    "$prefix/bin/nibble" --version
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
    local suffix=$1 example
    shift
    for example in examples/*.c; do
        # shellcheck disable=SC2046,SC2086
        "$@" $strict $(pkg-config --cflags nibble) -o "$prefix/$(basename "$example" .c)$suffix" \
            "$example" -x none $(pkg-config --libs nibble) || return 1
    done
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

# All is built: a make of its own, with none of the flags and jobs of the one that runs this.
check "install" env -u MAKEFLAGS -u MAKELEVEL -u DESTDIR make -s --no-print-directory \
    CC="$cc" SAN="${SAN:-}" BUILD="$build" PREFIX="$prefix" install || exit 1
check "install.files" installed
# shellcheck disable=SC2086 # a compiler may be two words, such as ccache gcc
check "install.headers c17" each_header_alone $cc -std=c17 -x c
# shellcheck disable=SC2086
check "install.headers c++17" each_header_alone $cxx -std=c++17 -x c++
# shellcheck disable=SC2086
check "install.examples c17" build_examples '' $cc -std=c17 -x c &&
    check "install.run c17" run_example ''
# shellcheck disable=SC2086
check "install.examples c++17" build_examples ++ $cxx -std=c++17 -x c++ &&
    check "install.run c++17" run_example ++
check "install.train" train
exit $status
