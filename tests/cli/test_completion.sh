#!/usr/bin/env bash
# test_completion.sh - the completion scripts that `nibble completion SHELL` prints, run by the
# shells themselves: bash through its readline on a terminal, fish through `complete -C`, zsh
# through its own line editor on a pseudo terminal (zsh and fish where they are installed).
#
#   BUILD=build tests/cli/test_completion.sh
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
nibble=$PWD/${BUILD:-build}/nibble
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
status=0

verdict() { # NAME PROBLEM: one case
    if [ -z "$2" ]; then echo "ok $1"; return; fi
    printf '%s\n' "$2"
    echo "FAILED $1"
    status=1
}

for shell in bash zsh fish; do
    "$nibble" completion $shell >"$work/$shell" || exit 1
done
mkdir "$work/files"
touch "$work/files/data one.jsonl" "$work/files/data-two.jsonl"

names() { grep -ohE -- "$@" | sed 's/^-l /--/' | sort -u; }

# Every option of every verb's help, in each shell's script.
missing() {
    local verb
    names '--[a-z0-9-]+' "$work/bash" >"$work/in-bash"
    names '--[a-z0-9-]+' "$work/zsh" >"$work/in-zsh"
    while read -r verb; do
        # shellcheck disable=SC2086 # a verb and perhaps its option
        "$nibble" $verb --help all | names '^  --[a-z0-9-]+' | tr -d ' ' >"$work/listed"
        grep "from ${verb%% *}" "$work/fish" | names '-l [a-z0-9-]+' >"$work/in-fish"
        for shell in bash zsh fish; do
            comm -23 "$work/listed" "$work/in-$shell" | sed "s/^/$shell: $verb /"
        done
        [ -s "$work/listed" ] || echo "$verb lists no option"
    done < <("$nibble" --help | sed -n 's/^  \([a-z-]*\) .*/\1/p'; echo "evaluate --generate")
}
verdict "completion: every listed option is in every script" "$(missing)"

# What the function offers for a line that ends in the word to complete.
offered() { # WORD...
    (cd "$work/files" && bash --norc -c '
        source "$0"
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
        _nibble
        printf "%s\n" "${COMPREPLY[@]}"' "$work/bash" "$@" | LC_ALL=C sort | paste -sd'|')
}
expect() { # NAME WANTED WORD...
    local name=$1 want=$2 got
    shift 2
    got=$(offered "$@")
    verdict "completion: bash, $name" "$([ "$got" = "$want" ] || echo "$*: got $got, want $want")"
}
expect "verbs" "quantize" nibble qua
expect "options" "--lora-alpha|--lora-dropout" nibble finetune m --lora-
expect "options of an alias" "--lora-alpha" nibble train m --lora-a
expect "nothing for a number" "" nibble finetune m --lora-alpha ""
expect "files behind an option" "data-two.jsonl" nibble finetune m --data data-
expect "files behind an option and =" "data-two.jsonl" nibble finetune m --data = data-
expect "a name with a blank" "data one.jsonl|data-two.jsonl" nibble finetune m --data da
expect "an argument" "data-two.jsonl" nibble evaluate data-t
expect "no options of another form" "" nibble evaluate m --predic
expect "options behind --generate" "--predictions" nibble evaluate --generate m --predic

# The keys as a person types them: readline on a terminal, and what the program is then given.
typed() {
    local keys='nibble fin\tm --lora-al\t16 --data files/data-\t\nexit\n'
    cd "$work" || return
    cat >rc <<'END'
PS1=
nibble() { printf '<%s>' "$@" >got; }
source ./bash
END
    # shellcheck disable=SC2059 # escapes
    { sleep 1; printf "$keys"; sleep 1; } |
        timeout 20 script -qec "bash --noprofile --rcfile rc -i" /dev/null >screen 2>&1
    local want='<finetune><m><--lora-alpha><16><--data><files/data-two.jsonl>'
    [ "$(cat got 2>/dev/null)" = "$want" ] ||
        { cat screen; echo "got $(cat got 2>/dev/null), want $want"; }
}
if command -v script >/dev/null; then
    verdict "completion: bash, keys on a terminal" "$(typed)"
else
    echo "skipped completion: script(1) is not installed"
fi

fish_offers() { # LINE WANTED
    local got
    got=$(cd "$work/files" &&
        HOME=$work fish --no-config -c "source '$work/fish'; complete -C '$1'" |
        cut -f1 | paste -sd'|')
    [ "$got" = "$2" ] || echo "$1: got $got, want $2"
}
if command -v fish >/dev/null; then
    verdict "completion: fish" "$(
        fish_offers "nibble qua" "quantize"
        fish_offers "nibble finetune m --lora-a" "--lora-alpha"
        fish_offers "nibble train m --lora-a" "--lora-alpha"
        fish_offers "nibble finetune m --data data-" "data-two.jsonl"
        fish_offers "nibble evaluate m --predic" ""
        fish_offers "nibble evaluate --generate m --predic" "--predictions")"
else
    echo "skipped completion: fish is not installed"
fi

# A shell on a pseudo terminal, which loads the script as its own completions are loaded.
zsh_types() { # KEYS WANTED
    (cd "$work" && mkdir -p functions && cp zsh functions/_nibble &&
        timeout 20 zsh -f -c '
            zmodload zsh/zpty
            zpty shell zsh -f -i
            zpty -w shell "PS1= fpath=(\$PWD/functions \$fpath); autoload -Uz compinit"
            zpty -w shell "compinit -u -d \$PWD/dump; nibble() { printf \"<%s>\" \"\$@\" >got }"
            sleep 1
            zpty -w -n shell "$1"$'"'\n'"'
            sleep 1
            zpty -d shell' zsh "$1" >/dev/null 2>&1
        # an option and its value, joined by "=" or apart: both are what the program takes
        [ "$(sed 's/=/></' got 2>/dev/null)" = "$2" ] || echo "$1: got $(cat got), want $2")
}
if command -v zsh >/dev/null; then
    verdict "completion: zsh, keys on a terminal" "$(zsh -n "$work/zsh" 2>&1
        zsh_types $'nibble fin\tm --lora-al\t16 --data files/data-\t' \
            '<finetune><m><--lora-alpha><16><--data><files/data-two.jsonl>')"
else
    echo "skipped completion: zsh is not installed"
fi

wrong=$("$nibble" completion tcsh 2>&1)
verdict "completion: another shell is refused by name" "$(
    [ $? = 2 ] && [[ $wrong == *"bash, zsh or fish, got 'tcsh'"* ]] || echo "$wrong")"
exit $status
