#!/bin/sh
# demo-classify.sh - a classifier three ways on the small encoder in models/: the questions to a
# bicycle shop are sorted into nine kinds by its head alone, by LoRA and by training all of it.
# Offline; leaves everything in $BUILD/demo-classify.
set -eu
cd "$(dirname "$0")/.."
build=${BUILD:-build}
nibble=$build/nibble
out=$build/demo-classify
seed=${SEED:-1}
rm -rf "$out"
mkdir -p "$out"

say() { printf '\n== %s\n' "$*"; }
train() { # NAME OPTIONS: trains, says how long it took
    name=$1
    shift
    "$nibble" finetune models/sorter task_type=SEQ_CLS data=models/kinds.jsonl \
        output_dir="$out/$name" per_device_train_batch_size=16 logging_strategy=epoch \
        save_strategy=no seed="$seed" "$@" 2>&1 | tee "$out/$name.log" |
        grep -E '^(training|[0-9]+ steps in)'
}
accuracy() { # MODEL [ADAPTER]: of the 50 questions that were held out
    model=$1
    shift
    "$nibble" evaluate "$model" "$@" --data models/kinds-test.jsonl --json 2>>"$out/log" |
        sed -n 's/.*"accuracy": \([0-9.]*\).*/\1/p'
}

say 'its head alone, on the frozen encoder'
train head --train-head-only learning_rate=3e-2 num_train_epochs=30
head=$(accuracy "$out/head")
say 'LoRA on all linear layers, and the head'
train lora r=8 lora_alpha=16 target_modules=all-linear learning_rate=1e-2 num_train_epochs=20
lora=$(accuracy models/sorter --adapter "$out/lora")
say 'all of it'
train full --full learning_rate=1e-3 num_train_epochs=20
full=$(accuracy "$out/full")

say 'questions that it has not seen'
sed -n '3p;8p;17p;24p;33p;38p' models/kinds-test.jsonl >"$out/asked.jsonl"
"$nibble" predict models/sorter --adapter "$out/lora" --data "$out/asked.jsonl" 2>>"$out/log" |
    sed 's/^{"label": "\([a-z]*\)".*/\1/' >"$out/said"
sed 's/^{"text": "\(.*\)", "label": .*/\1/' "$out/asked.jsonl" | paste "$out/said" - |
    awk -F '\t' '{ printf "  %-10s %s\n", $1, $2 }'

say 'accuracy on 50 questions that were held out'
printf '  head alone  %s\n  LoRA        %s\n  full        %s\n' "$head" "$lora" "$full"
for share in "$lora" "$full"; do
    awk -v a="$share" 'BEGIN { exit !(a >= 0.7) }' ||
        { echo 'demo-classify: fewer than 35 of 50 are right'; exit 1; }
done
