#!/usr/bin/env bash
# test_gguf.sh - GGUF files as MODEL of the verbs, a family for each way in which a file may hold
# tensors otherwise than the family's own: an adapter trained on the file, merged into a dense
# directory, gives the loss that it gives on the file.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
nibble=${BUILD:-build}/nibble
golden=tests/golden/gguf
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0

say() { # say STATUS TEXT
    if [ "$1" = 0 ]; then echo "ok gguf: $2"
    else
        echo "FAILED gguf: $2"
        sed 's/^/  /' "$work/log"
        failed=1
    fi
}

for i in 1 2 3; do
    echo "{\"input_ids\": [$i, 5, 9, 33, 7, 60, 4, 11, $((i + 20)), 13]}"
done >"$work/data.jsonl"

# A base of angles, a window, a number that config.json leaves to its family's default is not left
# to llama.cpp's.  VALUE, of a family's own default, is put where the model has another one.
same_without() { # same_without DIRECTORY KEY [VALUE]
    cp -r "$1" "$work/with" && cp -r "$1" "$work/plain" &&
        { [ -z "${3-}" ] ||
            sed -i "s/\"$2\": *[0-9.e+]*/\"$2\": $3/" "$work/with/config.json"; } &&
        sed -i "s/\"$2\": *[0-9.e+]*,//" "$work/plain/config.json" &&
        ! grep -q "\"$2\"" "$work/plain/config.json" &&
        "$nibble" export "$work/with" "$work/named.gguf" --quantize F32 --no-verify \
            >"$work/log" 2>&1 &&
        "$nibble" export "$work/plain" "$work/plain.gguf" --quantize F32 --no-verify \
            >>"$work/log" 2>&1 && cmp "$work/named.gguf" "$work/plain.gguf" >>"$work/log"
    say $? "$1 without $2"
    rm -rf "$work/plain" "$work/with" "$work/plain.gguf" "$work/named.gguf"
}

loss_of() { # loss_of MODEL [option ...]: the loss, as evaluate prints it
    "$nibble" evaluate "$@" --data "$work/data.jsonl" --compute-dtype float32 --json \
        2>>"$work/log" | grep -o '"loss": *[0-9.eE+-]*' | head -1 | grep -o '[0-9.eE+-]*$'
}

for name in llama-bias llama-llama3 llama-Q8_0 gemma gpt2 gpt-neox falcon-40b phi3-longrope \
    granitemoe gpt-oss granite-hybrid granite-hybrid-dense deepseek3 nemotron apertus qwen3-next \
    qwen3-5 qwen3-5-moe ministral3 gemma4 gemma4-moe falcon-h1; do
    case $name in # experts whose gate and up are one tensor of the family and two of the file
        granitemoe | granite-hybrid) of=input_linear.weight,output_linear.weight ;;
        gpt-oss | qwen3-5-moe | gemma4-moe) of=experts.gate_up_proj,experts.down_proj ;;
        *) of= ;;
    esac
    model=$golden/$name.gguf
    : >"$work/log"
    "$nibble" finetune "$model" --data "$work/data.jsonl" --output-dir "$work/$name" \
        --target-modules all-linear --compute-dtype float32 --max-steps 2 --learning-rate 1e-2 \
        --defaults peft --init-lora-weights false --threads 2 \
        ${of:+--target-parameters $of} >"$work/log" 2>&1 &&
        "$nibble" merge "$model" --adapter "$work/$name" "$work/$name-merged" >>"$work/log" 2>&1
    say $? "$name: trained and merged"
    plain=$(loss_of "$model")
    on_file=$(loss_of "$model" --adapter "$work/$name")
    merged=$(loss_of "$work/$name-merged")
    echo "losses: $plain without the adapter, $on_file with it, $merged merged" >>"$work/log"
    awk -v p="$plain" -v a="$on_file" -v m="$merged" \
        'BEGIN { d = a - m; exit !(p != "" && a != "" && p != a && d * d < 1e-8 * a * a) }'
    say $? "$name: the merged directory has the loss of file and adapter"
    case $name in # a LoRA file of experts is read back and held to the adapter
        deepseek3 | gemma4*) says='whose adapters llama.cpp leaves out' ;;
        granitemoe | gpt-oss | granite-hybrid* | qwen3-*)
            says='logits of 5 prompts differ by at most' ;;
        *) continue ;;
    esac
    "$nibble" export "$work/$name" "$work/$name-lora.gguf" --base "$model" >"$work/log" 2>&1
    grep -q "$says" "$work/log"
    say $? "$name: as a LoRA file: $says"
done

"$nibble" inspect "$golden/llama-Q8_0.gguf" >"$work/log" 2>&1 &&
    grep -q '^kind: model' "$work/log" && grep -q 'method gguf' "$work/log"
say $? "inspect: what it is"

# What of an adapter survives in a file.
all='"survival": {"survived": \(1\|0\.99999\|1\.0000\)[0-9]*, .*"noise": [0-9.]*e-'
"$nibble" export "$golden/llama-bias.gguf" "$work/a.gguf" --adapter "$work/llama-bias" \
    --quantize F32 --json >"$work/log" 2>&1 && grep -q "$all" "$work/log"
say $? "export: all of the adapter survives in F32"
"$nibble" export "$golden/llama-bias.gguf" "$work/b.gguf" --adapter "$work/llama-bias" \
    --quantize Q4_0 --no-verify >"$work/log" 2>&1 &&
    grep -q '^survived: \(0\.9\|1\.0\).*noise of 0\.[0-9]*[1-9]' "$work/log"
say $? "export: how much survives is printed"
! "$nibble" export "$golden/llama-bias.gguf" "$work/c.gguf" --adapter "$work/llama-bias" \
    --quantize Q4_0 --no-verify --min-retained 1 >"$work/log" 2>&1 &&
    grep -q "refused, nothing is written (min_retained 1)" "$work/log" && [ ! -e "$work/c.gguf" ]
say $? "export: min_retained refuses a file that keeps too little"

# Straight into a low-bit directory: the bytes of a directory made first and quantized then.
same_quantized() { # same_quantized NAME OPTION...
    local name=$1
    shift
    "$nibble" export "$golden/$name.gguf" "$work/dense" --overwrite --no-verify --dtype float32 \
        >"$work/log" 2>&1 &&
        "$nibble" quantize "$work/dense" "$work/two" "$@" --overwrite >>"$work/log" 2>&1 &&
        "$nibble" quantize "$golden/$name.gguf" "$work/one" "$@" --dtype float32 --overwrite \
            >>"$work/log" 2>&1 &&
        cmp "$work/one/model.safetensors" "$work/two/model.safetensors" >>"$work/log" 2>&1
    say $? "quantize $name $1 $2"
}

same_quantized llama-Q8_0 --load-in-4bit --bnb-4bit-quant-type fp4
same_quantized gpt-oss --load-in-8bit --llm-int8-threshold 0
same_quantized llama-bias --format gptq --group-size 32
cat "$work/data.jsonl" "$work/data.jsonl" >"$work/more.jsonl"
same_quantized llama-bias --format gptq --group-size 32 --calibration-data "$work/more.jsonl"
! "$nibble" finetune "$golden/llama-Q8_0.gguf" --data "$work/data.jsonl" --output-dir "$work/q" \
    --load-in-4bit >"$work/log" 2>&1 && grep -q 'is stored as Q8_0 already' "$work/log"
say $? "finetune: blocks are not encoded again"
same_without tests/golden/models/lfm2 rope_theta
same_without tests/golden/models/mixtral rope_theta
same_without tests/golden/models/gpt-oss sliding_window 128
same_without tests/golden/models/gpt-oss num_experts_per_tok 4
same_without tests/golden/models/granite-hybrid mamba_d_conv
same_without tests/golden/models/granite-hybrid mamba_n_groups
cp -r tests/golden/models/granite-hybrid "$work/steps" &&
    sed -i '0,/{/s//{ "time_step_limit": [0.001, 0.1],/' "$work/steps/config.json" &&
    ! "$nibble" export "$work/steps" "$work/steps.gguf" --quantize F32 >"$work/log" 2>&1 &&
    grep -q 'limits of its steps would be another' "$work/log"
say $? "export: limits of a scan's steps have no key"

# Multipliers go into the tensors: the same function, without them in config.json.
cp -r tests/golden/models/falcon-h1-gate-norm "$work/falcon" &&
    "$nibble" export "$work/falcon" "$work/falcon.gguf" --quantize F32 >"$work/log" 2>&1 &&
    "$nibble" export "$work/falcon.gguf" "$work/falcon-back" >>"$work/log" 2>&1 &&
    grep -q multiplier "$work/falcon/config.json" &&
    ! grep -q multiplier "$work/falcon-back/config.json"
say $? "export: falcon_h1's multipliers"
awk -v a="$(loss_of "$work/falcon")" -v b="$(loss_of "$work/falcon-back")" \
    'BEGIN { d = a - b; exit !(a != "" && b != "" && d * d < 1e-10 * a * a) }'
say $? "falcon_h1 has the same loss without multipliers"
! "$nibble" export tests/golden/models/falcon-h1 "$work/no.gguf" --quantize F32 \
    >"$work/log" 2>&1 && grep -q 'is written without biases of linears' "$work/log"
say $? "export: falcon_h1's biases have no form"

"$nibble" export tests/golden/models/mistral-window "$work/mistral.gguf" --quantize F32 \
    --no-verify >"$work/log" 2>&1 && grep -q 'llama has no sliding window: texts of' "$work/log"
say $? "export: mistral is llama there, its window is missed by name"
cp -r tests/golden/models/mistral-window "$work/mistral" &&
    sed -i 's/"sliding_window": 9/"sliding_window": null/' "$work/mistral/config.json" &&
    "$nibble" export "$work/mistral" "$work/mistral.gguf" --quantize F32 --overwrite \
        >"$work/log" 2>&1 && grep -q 'logits of 5 prompts differ by at most' "$work/log" &&
    ! grep -q 'sliding window' "$work/log"
say $? "export: mistral without a window"

# What llama.cpp's deepseek2 computes otherwise whatever the keys say.
refused_deepseek() { # refused_deepseek DIRECTORY SED MESSAGE
    rm -rf "$work/latent" && cp -r "$1" "$work/latent" &&
        sed -i "$2" "$work/latent/config.json" &&
        ! "$nibble" export "$work/latent" "$work/latent.gguf" --quantize F32 >"$work/log" 2>&1 &&
        grep -q "$3" "$work/log"
    say $? "export: deepseek2 $3"
}
refused_deepseek tests/golden/models/deepseek-v2 's/x/x/' 'has one epsilon for all norms'
refused_deepseek tests/golden/models/deepseek-v2 's/1e-05/1e-06/' \
    'the sum of their best two'
refused_deepseek tests/golden/models/deepseek-v3 's/1e-05/1e-06/' 'as one number alone'
refused_deepseek tests/golden/models/deepseek-v3 \
    's/1e-05/1e-06/; s/\("mscale": \)1.0/\10.7/; s/\("rope_interleave": \)true/\1false/' \
    'rope_interleave'
exit $failed
