#!/bin/sh
# man.sh - the manual page with the options of each verb, as the program itself lists them.
#
#   tools/man.sh build/nibble docs/nibble.1 > build/nibble.1
#
# A line "@OPTIONS VERB@" of the page is replaced by what `nibble VERB --help=mdoc` prints.
set -eu
while IFS= read -r line; do
    case $line in
    '@OPTIONS '*'@')
        verb=${line#@OPTIONS }
        "$1" "${verb%@}" --help=mdoc ;;
    *) printf '%s\n' "$line" ;;
    esac
done < "$2"
