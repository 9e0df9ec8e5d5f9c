#!/usr/bin/env bash
# test_threads.sh - a short training run on one thread and on four: the same bytes.  With
# SAN=thread (make test-threads) it is the run that the sanitizer watches.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
nibble=${BUILD:-build}/nibble
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

printf '%s\n' '{"input_ids": [1, 5, 9, 33, 7, 100, 4]}' '{"input_ids": [3, 4, 5, 6, 7, 8]}' \
    '{"input_ids": [90, 80, 70, 60]}' '{"input_ids": [11, 12, 13, 14, 15]}' >"$work/data.jsonl"
for threads in 1 4; do
    if ! "$nibble" finetune models/pico --data "$work/data.jsonl" --output-dir "$work/$threads" \
        --load-in-4bit --target-modules all-linear --lora-dropout 0.1 --compute-dtype float32 \
        --max-steps 3 --per-device-train-batch-size 2 --learning-rate 1e-2 \
        --threads $threads >"$work/log" 2>&1
    then
        cat "$work/log"
        echo "FAILED threads: a run on $threads"
        exit 1
    fi
done
adapter=adapter_model.safetensors
if cmp "$work/1/$adapter" "$work/4/$adapter"; then echo "ok threads: the same bytes on 1 and 4"
else
    echo "FAILED threads: the same bytes on 1 and 4"
    exit 1
fi
