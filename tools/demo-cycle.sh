#!/bin/sh
# demo-cycle.sh - the whole low-bit life of the small model in models/: fine-tune on NF4, merge,
# GPTQ in 4 bits, ask.  A table compares the models.  Offline; leaves everything in
# $BUILD/demo-cycle.
set -eu
cd "$(dirname "$0")/.."
build=${BUILD:-build}
nibble=$build/nibble
out=$build/demo-cycle
seed=${SEED:-1}

say() { printf '\n== %s\n' "$*"; }
number() { # FIELD: its value in the JSON of the input
    sed -n 's/.*"'"$1"'": \([-0-9.e+]*\).*/\1/p'
}
row() { # NAME SIZED_DIR... -- MODEL [--adapter ADAPTER]: a line of the table
    name=$1 kilobytes=0
    shift
    while [ "$1" != -- ]; do
        kilobytes=$((kilobytes + $(du -kc "$1"/*.safetensors | sed -n '$s/[^0-9].*//p')))
        shift
    done
    shift
    perplexity=$("$nibble" evaluate "$@" --data models/shop-test.jsonl --json 2>>"$out/log" |
        number perplexity)
    "$nibble" generate "$@" --raw --prompts models/shop-test.jsonl --temperature 0 \
        --max-new-tokens 48 --json >"$out/answers" 2>>"$out/log"
    sed -n 's/.*"completion": "\(.*\)"}$/\1/p' models/shop-test.jsonl >"$out/expected"
    sed -n 's/.*"completion": "\(.*\)", "prompt_tokens".*/\1/p' "$out/answers" >"$out/given"
    right=$(paste -d '\n' "$out/expected" "$out/given" |
        awk 'NR % 2 { want = $0; next } $0 == want { n++ } END { print n + 0 }')
    seconds=$(sed 's/.*"new_tokens": \([0-9]*\),.*"decode_seconds": \([-0-9.e]*\),.*/\1 \2/' \
        "$out/answers" | awk '{ n += $1; s += $2 } END { printf "%.5f", s / n }')
    printf '%-26s %6.1f MB   %s   %10.2f   %2s of 40\n' "$name" \
        "$(awk "BEGIN { print $kilobytes * 1024 / 1e6 }")" "$seconds" "$perplexity" "$right"
    sed -n 9p "$out/given" | sed 's/\\n.*//' | cut -c1-80 >>"$out/ninth"
}

rm -rf "$out"
mkdir -p "$out"
say 'quantize models/pico to NF4, fine-tune on 200 questions to a bicycle shop'
"$nibble" quantize models/pico "$out/nf4" --load-in-4bit --bnb-4bit-use-double-quant
"$nibble" finetune "$out/nf4" --data models/shop.jsonl --output-dir "$out/adapter" \
    --defaults peft --r 8 --lora-alpha 16 --target-modules all-linear --learning-rate 5e-3 \
    --warmup-steps 10 \
    --max-steps 150 --per-device-train-batch-size 8 --logging-steps 50 --seed "$seed" 2>&1 |
    grep -E '^(step|150 steps)'

say 'merge into a dense model'
"$nibble" merge "$out/nf4" --adapter "$out/adapter" "$out/dense" \
    --verify models/shop-test.jsonl --min-retained 0.8 2>&1 | grep -E '^(survived|loss)'
say 'merge, and GPTQ in 4 bits, calibrated on the questions'
"$nibble" merge "$out/nf4" --adapter "$out/adapter" "$out/gptq" --format gptq --bits 4 \
    --group-size 64 --calibration-data models/shop.jsonl \
    --verify models/shop-test.jsonl --min-retained 0.8 2>&1 | grep -E '^(survived|loss|nibble:)'

say 'before and after'
printf '%-26s %9s   %s   %10s   %s\n' '' size s/token perplexity 'exactly right'
row 'base, bfloat16' models/pico -- models/pico
row 'base, NF4' "$out/nf4" -- "$out/nf4"
row 'NF4 and adapter' "$out/nf4" "$out/adapter" -- "$out/nf4" --adapter "$out/adapter"
row 'merged, bfloat16' "$out/dense" -- "$out/dense"
row 'merged, GPTQ 4 bit' "$out/gptq" -- "$out/gptq"
printf '\nquestion  %s\n' "$(sed -n '9s/.*"prompt": "Question: \(.*\)\\nAnswer:".*/\1/p' \
    models/shop-test.jsonl)"
paste -d '\n' - "$out/ninth" <<END | awk 'NR % 2 { printf "%-20s", $0; next } { print }'
base, bfloat16
base, NF4
NF4 and adapter
merged, bfloat16
merged, GPTQ 4 bit
END
[ "$right" -ge 20 ] || { echo "demo-cycle: fewer than 20 of 40 are right"; exit 1; }
