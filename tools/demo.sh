#!/bin/sh
# demo.sh - the main job from end to end on the small model in models/: quantize, plan, fine-tune,
# ask, merge.  Offline; leaves everything in $BUILD/demo.
set -eu
cd "$(dirname "$0")/.."
build=${BUILD:-build}
nibble=$build/nibble
out=$build/demo
seed=${SEED:-1}
rm -rf "$out"
mkdir -p "$out"

say() { printf '\n== %s\n' "$*"; }
# The completions of a jsonl file, one a line.
completions() { sed -n 's/.*"completion": "\(.*\)"}$/\1/p' "$1"; }
ask() { # OUT MODEL [ADAPTER]: greedy answers to the 40 held-out questions
    to=$1 model=$2
    shift 2
    "$nibble" generate "$model" "$@" --raw --prompts models/shop-test.jsonl --temperature 0 \
        --max-new-tokens 48 >"$to" 2>>"$out/log"
}
exact() { # how many of the answers in $1 are the expected ones, to the letter
    completions models/shop-test.jsonl >"$out/expected"
    completions "$1" | same_as "$out/expected"
}
same_as() { # how many lines of the input are those of the file $1
    paste -d '\n' "$1" - | awk 'NR % 2 { want = $0; next } $0 == want { n++ } END { print n + 0 }'
}

say 'quantize models/pico to NF4 with double quantization'
"$nibble" quantize models/pico "$out/pico-nf4" --load-in-4bit --bnb-4bit-use-double-quant

# No setting of training: what a beginner types (docs/defaults.md).
settings="--data models/shop.jsonl --logging-steps 15 --seed $seed"
say 'the plan'
# shellcheck disable=SC2086
"$nibble" finetune "$out/pico-nf4" $settings --dry-run

say 'answers before'
ask "$out/before.jsonl" "$out/pico-nf4"
echo "$(exact "$out/before.jsonl") of 40 exactly right"

say 'fine-tune on 200 questions to a bicycle shop'
# shellcheck disable=SC2086
"$nibble" finetune "$out/pico-nf4" $settings --output-dir "$out/adapter" 2>&1 |
    grep -E '^(step|150 steps)'

say 'answers after, to questions in words it has not seen'
ask "$out/after.jsonl" "$out/pico-nf4" --adapter "$out/adapter"
for i in 2 9 17 24 33; do
    sed -n "${i}p" models/shop-test.jsonl |
        sed 's/.*"prompt": "Question: \(.*\)\\nAnswer:".*/\n  question  \1/'
    completions "$out/before.jsonl" | sed -n "${i}p" | sed 's/\\n.*//' | cut -c1-100 |
        sed 's/^ */  before    /'
    completions "$out/after.jsonl" | sed -n "${i}p" | cut -c1-100 | sed 's/^ */  after     /'
done
right=$(exact "$out/after.jsonl")
printf '\n%s of 40 exactly right\n' "$right"
du -h "$out/adapter/adapter_model.safetensors" | awk '{ print "the adapter takes " $1 "B" }'

say 'merge the adapter into a dense model'
"$nibble" merge "$out/pico-nf4" --adapter "$out/adapter" "$out/merged" --dtype float32 2>>"$out/log"
ask "$out/merged.jsonl" "$out/merged"
completions "$out/merged.jsonl" >"$out/m"
same=$(completions "$out/after.jsonl" | same_as "$out/m")
echo "the merged model gives the same answer to $same of 40 questions;" \
    "$(exact "$out/merged.jsonl") exactly right"
[ "$right" -ge 20 ] || { echo "demo: fewer than 20 of 40 are right"; exit 1; }
