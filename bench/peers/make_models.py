"""make_models.py - the models that both programs run, made once in the working directory.

    python make_models.py WORK NIBBLE smollm2             smollm2-nf4
    python make_models.py WORK NIBBLE smollm2-file TYPE    smollm2-TYPE.gguf, as nibble export writes it
    python make_models.py WORK NIBBLE smollm2-gguf QUANTIZE   smollm2-q4_0.gguf, QUANTIZE being llama-quantize
    python make_models.py WORK NIBBLE tinyllama           tinyllama-nf4: TinyLlama-1.1B's shape, random weights
    python make_models.py WORK NIBBLE llama7b             llama7b-nf4 and llama7b-q4_0.gguf: Llama-2-7B's shape
    python make_models.py WORK NIBBLE bytes FILE|DIR      bytes of weights that one token of decoding reads

Runs in the environment of the interop tests and uses what they have: the conversion of SmolLM2 and the
writer of a 7B-shaped NF4 directory.  Prints one JSON object."""
import glob
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile

import numpy as np

TOP = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
sys.path.insert(0, os.path.join(TOP, "tests", "interop"))

TINYLLAMA = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 2048, "intermediate_size": 5632,
             "num_hidden_layers": 22, "num_attention_heads": 32, "num_key_value_heads": 4, "head_dim": 64,
             "vocab_size": 32000, "max_position_embeddings": 2048, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
             "hidden_act": "silu", "tie_word_embeddings": False, "attention_bias": False, "mlp_bias": False,
             "bos_token_id": 1, "eos_token_id": 2, "torch_dtype": "bfloat16"}


def once(path, make):
    """Makes path by make(temporary name) unless it is there; half-made things do not stay."""
    if not os.path.exists(path):
        temporary = path + ".making"
        shutil.rmtree(temporary, ignore_errors=True)
        make(temporary)
        os.rename(temporary, path)
    return path


def quantize(nibble, source, out):
    subprocess.run([nibble, "quantize", source, out, "--load-in-4bit", "--bnb-4bit-use-double-quant"], check=True,
                   stdout=sys.stderr)


def end_nowhere(directory, token):
    """Greedy, and an end token that is not to be expected: answers are as long as was asked for."""
    with open(os.path.join(directory, "generation_config.json"), "w") as f:
        json.dump({"do_sample": False, "eos_token_id": token}, f)


def smollm2_nf4(work, nibble):
    from smollm2 import smollm2

    def make(out):
        quantize(nibble, smollm2(), out)
        end_nowhere(out, 49151)
    return once(os.path.join(work, "smollm2-nf4"), make)


def smollm2_file(work, nibble, kind):
    from smollm2 import smollm2

    def make(out):
        with tempfile.TemporaryDirectory(dir=work) as model:
            for name in os.listdir(smollm2()):
                if name != "generation_config.json":
                    os.symlink(os.path.join(smollm2(), name), os.path.join(model, name))
            end_nowhere(model, 49151)
            subprocess.run([nibble, "export", model, out, "--quantize", kind, "--overwrite"], check=True, stdout=sys.stderr)
    return once(os.path.join(work, f"smollm2-{kind.lower()}.gguf"), make)


def smollm2_gguf(work, program):
    from smollm2 import gguf
    return once(os.path.join(work, "smollm2-q4_0.gguf"), lambda out: subprocess.run(
        [program, "--allow-requantize", gguf(), out, "Q4_0"], check=True, stdout=sys.stderr))


# --- random weights ---

def bfloat16(rng, shape):
    values = rng.standard_normal(int(np.prod(shape)), dtype=np.float32) * np.float32(0.02)
    return (values.view(np.uint32) >> 16).astype(np.uint16)


def write_dense(directory, config):
    """A llama of this shape in bfloat16, written tensor by tensor."""
    width, inner, words = config["hidden_size"], config["intermediate_size"], config["vocab_size"]
    heads = config["num_key_value_heads"] * config["head_dim"]
    shapes = {"model.embed_tokens.weight": [words, width], "lm_head.weight": [words, width], "model.norm.weight": [width]}
    for i in range(config["num_hidden_layers"]):
        for name, shape in {"input_layernorm": [width], "post_attention_layernorm": [width],
                            "self_attn.q_proj": [width, width], "self_attn.k_proj": [heads, width],
                            "self_attn.v_proj": [heads, width], "self_attn.o_proj": [width, width],
                            "mlp.gate_proj": [inner, width], "mlp.up_proj": [inner, width],
                            "mlp.down_proj": [width, inner]}.items():
            shapes[f"model.layers.{i}.{name}.weight"] = shape
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for name, shape in shapes.items():
        size = 2 * int(np.prod(shape))
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    rng = np.random.default_rng(1)
    os.makedirs(directory)
    with open(os.path.join(directory, "model.safetensors"), "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for shape in shapes.values():
            ones = np.full(shape, 0x3f80, np.uint16)  # 1.0: the norms
            f.write((ones if len(shape) == 1 else bfloat16(rng, shape)).tobytes())
    with open(os.path.join(directory, "config.json"), "w") as f:
        json.dump(config, f, indent=1)


def tinyllama_nf4(work, nibble):
    def make(out):
        dense = out + "-dense"
        shutil.rmtree(dense, ignore_errors=True)
        write_dense(dense, TINYLLAMA)
        quantize(nibble, dense, out)
        shutil.rmtree(dense)
    return once(os.path.join(work, "tinyllama-nf4"), make)


def llama7b_nf4(work, nibble):
    os.environ["NIBBLE"] = nibble
    import test_memory_7b as shape
    from smollm2 import smollm2

    def make(out):
        parts = out + "-parts"
        shutil.rmtree(parts, ignore_errors=True)
        os.makedirs(parts)
        shape.make_model(out, parts)
        shutil.rmtree(parts)
        for name in ("tokenizer.json", "tokenizer_config.json"):  # of more words than this model has
            shutil.copyfile(os.path.join(smollm2(), name), os.path.join(out, name))
        end_nowhere(out, shape.WORDS - 1)
    return once(os.path.join(work, "llama7b-nf4"), make)


def llama7b_gguf(work):
    """The same shape as llama.cpp quantizes it to Q4_0: blocks of 32 in all matrices, the head in Q6_K."""
    import gguf
    import test_memory_7b as shape
    names = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
             "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
             "mlp.down_proj": "ffn_down"}
    rng = np.random.default_rng(3)

    def blocks(rows, columns, kind):
        """Random codes; the scale of each block, at its beginning or end, is a small number."""
        values, size = gguf.GGML_QUANT_SIZES[kind]
        data = rng.integers(0, 256, (rows, columns // values, size), dtype=np.uint8)
        scale = np.frombuffer(np.float16(0.003 if kind == gguf.GGMLQuantizationType.Q4_0 else 1e-5).tobytes(), np.uint8)
        at = 0 if kind == gguf.GGMLQuantizationType.Q4_0 else size - 2
        data[:, :, at:at + 2] = scale
        return data.reshape(rows, -1)

    def make(out):
        q4, q6 = gguf.GGMLQuantizationType.Q4_0, gguf.GGMLQuantizationType.Q6_K
        w = gguf.GGUFWriter(out, "llama")
        w.add_vocab_size(shape.WORDS)
        w.add_context_length(4096)
        w.add_embedding_length(shape.WIDTH)
        w.add_block_count(shape.LAYERS)
        w.add_feed_forward_length(shape.FEED_FORWARD)
        w.add_head_count(shape.HEADS)
        w.add_head_count_kv(shape.HEADS)
        w.add_layer_norm_rms_eps(1e-5)
        w.add_rope_dimension_count(shape.WIDTH // shape.HEADS)
        w.add_file_type(gguf.LlamaFileType.MOSTLY_Q4_0)
        w.add_tokenizer_model("none")
        shared = {size: blocks(*size, q4) for size in set(shape.LINEARS.values())}
        norm = np.ones(shape.WIDTH, np.float32)
        w.add_tensor("token_embd.weight", blocks(shape.WORDS, shape.WIDTH, q4), raw_dtype=q4)
        for i in range(shape.LAYERS):
            w.add_tensor(f"blk.{i}.attn_norm.weight", norm)
            w.add_tensor(f"blk.{i}.ffn_norm.weight", norm)
            for name, size in shape.LINEARS.items():
                w.add_tensor(f"blk.{i}.{names[name]}.weight", shared[size], raw_dtype=q4)
        w.add_tensor("output_norm.weight", norm)
        w.add_tensor("output.weight", blocks(shape.WORDS, shape.WIDTH, q6), raw_dtype=q6)
        w.write_header_to_file()
        w.write_kv_data_to_file()
        w.write_tensors_to_file()
        w.close()
    return once(os.path.join(work, "llama7b-q4_0.gguf"), make)


# --- bytes a token ---

def safetensors_sizes(directory):
    sizes = {}
    for path in glob.glob(os.path.join(directory, "*.safetensors")):
        with open(path, "rb") as f:
            header = json.loads(f.read(struct.unpack("<Q", f.read(8))[0]))
        for name, t in header.items():
            if name != "__metadata__":
                sizes[name] = t["data_offsets"][1] - t["data_offsets"][0]
    return sizes


def bytes_a_token(path):
    """All weights but the rows of an embedding that is not the head too.  nibble reads a head that is an eighth of
    them or more through a sketch in 8 bits (src/generate/decoder.c): half of its bfloat16."""
    if os.path.isdir(path):
        sizes, head, table = safetensors_sizes(path), "lm_head.weight", "model.embed_tokens.weight"
    else:
        from gguf import GGUFReader
        sizes = {t.name: int(t.n_bytes) for t in GGUFReader(path).tensors}
        head, table = "output.weight", "token_embd.weight"
    if head in sizes:
        del sizes[table]
    total, head_bytes = sum(sizes.values()), sizes.get(head, sizes.get(table))
    return total - head_bytes // 2 if os.path.isdir(path) and head_bytes >= total / 8 else total


def main(work, nibble, what, *rest):
    if what == "smollm2":
        made = {"model": smollm2_nf4(work, nibble)}
    elif what == "smollm2-file":
        made = {"gguf": smollm2_file(work, nibble, rest[0])}
    elif what == "smollm2-gguf":
        made = {"gguf": smollm2_gguf(work, rest[0])}
    elif what == "tinyllama":
        made = {"model": tinyllama_nf4(work, nibble)}
    elif what == "llama7b":
        made = {"model": llama7b_nf4(work, nibble), "gguf": llama7b_gguf(work)}
    elif what == "bytes":
        made = {"bytes": bytes_a_token(rest[0])}
    else:
        sys.exit(f"{what}: unknown")
    print(json.dumps(made))


if __name__ == "__main__":
    main(*sys.argv[1:])
