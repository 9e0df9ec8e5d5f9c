#!/usr/bin/env bash
# test_export_adapter.sh - export with an adapter: straight to the final types it writes the bytes
# that it writes of the model that merge made in float32, where both hold the same sums: linears,
# a tied head that an adapter made a matrix of its own, rows that GGUF holds in another order.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
nibble=${BUILD:-build}/nibble
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0

say() { # say STATUS TEXT
    if [ "$1" = 0 ]; then echo "ok export with an adapter: $2"
    else
        echo "FAILED export with an adapter: $2"
        sed 's/^/  /' "$work/log"
        failed=1
    fi
}

for i in 1 2 3; do
    echo "{\"input_ids\": [$i, 5, 9, 33, 7, 60, 4, 11, $((i + 20)), 13]}"
done >"$work/data.jsonl"

check() { # check MODEL TARGETS TYPE... : the model's file and the merged model's are one
    local model=$1 targets=$2 name
    name=$(basename "$model")
    shift 2
    rm -rf "$work/adapter" "$work/merged"
    "$nibble" finetune "$model" --data "$work/data.jsonl" --output-dir "$work/adapter" --r 4 \
        --target-modules "$targets" --compute-dtype float32 --max-steps 2 --learning-rate 1e-2 \
        --defaults peft --init-lora-weights false --threads 2 >"$work/log" 2>&1 &&
        "$nibble" merge "$model" --adapter "$work/adapter" "$work/merged" --dtype float32 \
            >>"$work/log" 2>&1
    say $? "$name, $targets: trained and merged"
    for type in "$@"; do
        "$nibble" export "$model" "$work/plain.gguf" --quantize "$type" --overwrite \
            >"$work/log" 2>&1 &&
            "$nibble" export "$model" --adapter "$work/adapter" "$work/one.gguf" \
                --quantize "$type" --overwrite >>"$work/log" 2>&1 &&
            "$nibble" export "$work/merged" "$work/two.gguf" --quantize "$type" --overwrite \
                >>"$work/log" 2>&1 &&
            cmp "$work/one.gguf" "$work/two.gguf" >>"$work/log" 2>&1 &&
            ! cmp -s "$work/one.gguf" "$work/plain.gguf"
        say $? "$name, $targets: $type is that of the merged model"
    done
}

check models/pico all-linear F32 F16 BF16 Q8_0 Q4_K_M
check models/pico q_proj,v_proj,embed_tokens,lm_head F32 Q4_K_M
for family in llama-bias gpt2 gpt-neox falcon-40b phi3 deepseek3; do
    check tests/golden/gguf/$family.gguf all-linear F32 Q5_1
done
exit $failed
