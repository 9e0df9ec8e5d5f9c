"""The memory plan of a 7B shape against the peak of the process: a Llama-2-7B-shaped NF4 directory with
random codes (double-quantized, 3.9 GB), r 16 on all linears, one step on 512 tokens with --max-memory
5.5GiB.  Plan and peak agree within 5 % or 8 MiB, and the peak is at most 5.5 GiB.

Needs 10 GiB of free memory and 6 GB of disk; takes some minutes."""
import json
import os
import shutil
import struct
import subprocess
import tempfile

import numpy as np

from common import GOLDEN, NIBBLE, Skip, check, json_lines, main, nibble

LAYERS, WIDTH, FEED_FORWARD, WORDS, HEADS = 32, 4096, 11008, 32000, 32
MIB, GIB = 1 << 20, 1 << 30
LINEARS = {"self_attn.q_proj": (WIDTH, WIDTH), "self_attn.k_proj": (WIDTH, WIDTH),
           "self_attn.v_proj": (WIDTH, WIDTH), "self_attn.o_proj": (WIDTH, WIDTH),
           "mlp.gate_proj": (FEED_FORWARD, WIDTH), "mlp.up_proj": (FEED_FORWARD, WIDTH),
           "mlp.down_proj": (WIDTH, FEED_FORWARD)}


def free_memory():
    with open("/proc/meminfo") as f:
        return next(int(line.split()[1]) * 1024 for line in f if line.startswith("MemAvailable"))


def parts_of_small(work):
    """The tensors that all 4-bit weights share, and config.json, as nibble quantizes a tiny llama."""
    from safetensors.numpy import load_file
    small = os.path.join(work, "small")
    nibble("quantize", os.path.join(GOLDEN, "models", "llama"), small, "--load-in-4bit", "--bnb-4bit-use-double-quant")
    tensors = load_file(os.path.join(small, "model.safetensors"))
    stem = "model.layers.0.mlp.up_proj.weight"
    with open(os.path.join(small, "config.json")) as f:
        config = json.load(f)
    return {k[len(stem):]: v for k, v in tensors.items() if k.startswith(stem + ".")}, config


def make_model(directory, work):
    """Written in pieces: one block of random codes serves every matrix."""
    parts, config = parts_of_small(work)
    config.update(hidden_size=WIDTH, intermediate_size=FEED_FORWARD, num_hidden_layers=LAYERS, vocab_size=WORDS,
                  num_attention_heads=HEADS, num_key_value_heads=HEADS, head_dim=WIDTH // HEADS,
                  max_position_embeddings=4096, tie_word_embeddings=False)
    rng = np.random.default_rng(1)
    codes = rng.integers(0, 256, FEED_FORWARD * WIDTH // 2, dtype=np.uint8).tobytes()
    # bfloat16 of some 0.02, either sign
    table = (np.clip(rng.standard_normal(WIDTH * WORDS, dtype=np.float32), -3, 3) * 0.02).view(np.uint32)
    table = (table >> 16).astype(np.uint16).tobytes()
    state_name = next(k for k in parts if k.startswith(".quant_state"))
    state = json.loads(parts[state_name].tobytes())
    entries = []  # name, type, shape, bytes

    def add(name, kind, shape, data):
        entries.append((name, kind, shape, data))

    for i in range(LAYERS):
        for name in ("input_layernorm", "post_attention_layernorm"):
            add(f"model.layers.{i}.{name}.weight", "BF16", [WIDTH], struct.pack("<H", 0x3f80) * WIDTH)
        for name, (out, into) in LINEARS.items():
            stem, blocks = f"model.layers.{i}.{name}.weight", out * into // 64
            nested = -(-blocks // 256)
            text = json.dumps({**state, "shape": [out, into], "nested_offset": 0.03}).encode()
            add(stem, "U8", [out * into // 2, 1], codes[:out * into // 2])
            add(stem + ".absmax", "U8", [blocks], codes[:blocks])
            add(stem + ".nested_absmax", "F32", [nested], np.full(nested, 0.01, np.float32).tobytes())
            add(stem + ".quant_map", "F32", [16], parts[".quant_map"].tobytes())
            add(stem + ".nested_quant_map", "F32", [256], parts[".nested_quant_map"].tobytes())
            add(stem + state_name, "U8", [len(text)], text)
    add("model.norm.weight", "BF16", [WIDTH], struct.pack("<H", 0x3f80) * WIDTH)
    add("model.embed_tokens.weight", "BF16", [WORDS, WIDTH], table)
    add("lm_head.weight", "BF16", [WORDS, WIDTH], table)
    entries.sort(key=lambda e: ("F32", "BF16", "U8").index(e[1]))

    header, at = {"__metadata__": {"format": "pt"}}, 0
    for name, kind, shape, data in entries:
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [at, at + len(data)]}
        at += len(data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    os.makedirs(directory)
    with open(os.path.join(directory, "model.safetensors"), "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for entry in entries:
            f.write(entry[3])
        f.flush()
        os.fsync(f.fileno())
        # As a model found on the disk: what was just written lies in the cache in pieces so large that
        # Linux 6.18 makes all of the embedding resident for 512 of its rows (219 MiB above the plan).
        os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    with open(os.path.join(directory, "config.json"), "w") as f:
        json.dump(config, f)


def run_step(model, data, out):
    """One step; the program's own report and the peak that the kernel counted."""
    command = [NIBBLE, "finetune", model, "--data", data, "--output-dir", out, "--defaults", "peft", "--r", "16", "--target-modules",
               "all-linear", "--max-steps", "1", "--per-device-train-batch-size", "1", "--max-seq-length", "512",
               "--save-steps", "0", "--max-memory", "5.5GiB", "--json"]
    with open(out + ".stdout", "wb") as stdout, open(out + ".stderr", "wb") as stderr:
        child = subprocess.Popen(command, stdout=stdout, stderr=stderr, stdin=subprocess.DEVNULL)
        _, status, usage = os.wait4(child.pid, 0)
    with open(out + ".stderr", errors="replace") as f:
        said = f.read()
    check(status == 0, f"finetune: status {status}: {said[-2000:]}")
    with open(out + ".stdout") as f:
        return json_lines(f.read()), usage.ru_maxrss * 1024, said


def plan_and_peak():
    if free_memory() < 10 * GIB:
        raise Skip("less than 10 GiB of memory are free")
    with tempfile.TemporaryDirectory() as work:
        if shutil.disk_usage(work).free < 6e9:
            raise Skip("less than 6 GB of disk are free")
        model, data = os.path.join(work, "model"), os.path.join(work, "data.jsonl")
        make_model(model, work)
        rng = np.random.default_rng(2)
        with open(data, "w") as f:
            f.write(json.dumps({"input_ids": rng.integers(0, WORDS, 512).tolist()}) + "\n")
        lines, peak, said = run_step(model, data, os.path.join(work, "out"))
    last = lines[-1]
    planned = last["planned_memory_bytes"]
    print(f"planned {planned / MIB:.1f} MiB, peak {peak / MIB:.1f} MiB")
    print(said)
    check(abs(planned - peak) <= max(0.05 * peak, 8 * MIB), f"planned {planned / MIB:.1f} MiB, the peak is {peak / MIB:.1f} MiB")
    check(peak <= 5.5 * GIB, f"the peak is {peak / GIB:.2f} GiB, expected at most 5.5")


if __name__ == "__main__":
    main([("memory_7b", plan_and_peak)])
