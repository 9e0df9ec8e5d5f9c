#!/usr/bin/env bash
# install-deps.sh - installs the Debian packages that nibble is built from.
#
#   tools/install-deps.sh          what building and testing need
#   tools/install-deps.sh --check  only names what building needs and this machine lacks, exit 1
#   tools/install-deps.sh --ci     also what .ci/run needs: clang for the fuzz targets, a Python
#                                  virtual environment for the tests against the real libraries
#   tools/install-deps.sh --deb    also what make deb needs
#   tools/install-deps.sh --peers  also what make bench-peers needs: the same environment, llama.cpp
#
# Prints nothing and changes nothing when all is present.  What counts is whether the thing
# works (a program that runs, a library that pkg-config finds), not how it was installed.
set -euo pipefail

packages=()
reasons=()

need() { # PACKAGE REASON CHECK...
    local package=$1 reason=$2
    shift 2
    "$@" >/dev/null 2>&1 && return
    packages+=("$package")
    reasons+=("  $package: $reason")
}
has_library() { "$PKG_CONFIG" --exists "$1"; }
has_compiler() { command -v "${CC%% *}"; }
has_c_headers() { $CC -E -include stdio.h -x c /dev/null; }
has_clang_runtime() { # the sanitizers and libFuzzer that belong to this clang
    compgen -G "$(clang --print-resource-dir)/lib/linux/libclang_rt.fuzzer-*.a"
}
has_venv() { python3 -c 'import venv, ensurepip'; }

CC=${CC:-gcc}
PKG_CONFIG=${PKG_CONFIG:-pkg-config}
need gcc            "the C compiler (${CC%% *})" has_compiler
need libc6-dev      "the C library's headers" has_c_headers
need make           "reads the Makefile" command -v make
need pkg-config     "finds the libraries below" command -v "$PKG_CONFIG"
need libjansson-dev "reads JSON (config.json, tokenizer.json, data)" has_library jansson
need libpcre2-dev   "runs the patterns in tokenizer.json" has_library libpcre2-8
need libutf8proc-dev "normalizes Unicode for tokenizers" has_library libutf8proc
need zlib1g-dev     "unpacks .gz files and Parquet pages (gzip)" has_library zlib
need liblz4-dev     "unpacks Parquet pages (LZ4)" has_library liblz4
need libbrotli-dev  "unpacks Parquet pages (Brotli)" has_library libbrotlidec
need libzstd-dev    "unpacks Parquet pages (Zstandard)" has_library libzstd
need liblapacke-dev "decomposes matrices (GPTQ)" has_library lapacke
need libopenblas-serial-dev "multiplies and decomposes matrices (GPTQ)" has_library openblas
need libyaml-dev    "reads recipes (YAML)" has_library yaml-0.1
need libcurl4-openssl-dev "downloads models by their names" has_library libcurl
need libssl-dev     "checks what was downloaded (SHA-256, SHA-1)" has_library libcrypto
if [ "${1:-}" = --check ]; then
    [ ${#packages[@]} -gt 0 ] || exit 0
    { echo "nibble needs packages that this machine lacks:"
      printf '%s\n' "${reasons[@]}"
      echo "'make deps' installs them (as root, on Debian): apt-get install ${packages[*]}"; } >&2
    exit 1
fi
need g++ "tests that the headers work in C++" command -v g++
need python3 "is the hub that tests download from" command -v python3
if [ "${1:-}" = --ci ]; then
    need clang "the second compiler, and libFuzzer" command -v clang
    need libclang-rt-14-dev "clang's sanitizers and libFuzzer" has_clang_runtime
    need python3-venv "the interop tests' libraries live in a virtual environment" has_venv
    need zsh "tests the completion for it" command -v zsh
    need fish "tests the completion for it" command -v fish
    need patchelf "lets the libraries in a wheel find each other" command -v patchelf
fi
if [ "${1:-}" = --ci ] || [ "${1:-}" = --deb ]; then
    need dpkg-dev "builds Debian packages" command -v dpkg-buildpackage
    need debhelper "builds Debian packages" command -v dh
    need lintian "checks Debian packages" command -v lintian
fi
if [ "${1:-}" = --peers ]; then
    need python3-venv "the peers of make bench-peers live in a virtual environment" has_venv
    need cmake "builds llama.cpp" command -v cmake
    need g++ "builds llama.cpp" command -v g++
fi

[ ${#packages[@]} -gt 0 ] || exit 0

echo "nibble needs packages that this machine lacks:"
printf '%s\n' "${reasons[@]}"
if ! command -v apt-get >/dev/null; then
    echo "install-deps: this is not a Debian system (no apt-get): install what these packages" \
        "hold, then run make again" >&2
    exit 1
fi
if [ "$(id -u)" != 0 ]; then
    echo "install-deps: only root can install them; run this, then make again:" >&2
    echo "    sudo apt-get install ${packages[*]}" >&2
    exit 1
fi
echo "Installing: apt-get install ${packages[*]}"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! { DEBIAN_FRONTEND=noninteractive apt-get update &&
       DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${packages[@]}"
     } >"$log" 2>&1 </dev/null; then
    cat "$log" >&2
    echo "install-deps: apt-get failed (its output is above)" >&2
    exit 1
fi
