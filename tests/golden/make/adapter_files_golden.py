"""Makes tests/golden/adapter-files/: adapter files in the forms that PEFT 0.21.2 writes and reads, on
two tiny models of random weights, and the logits that it computes with them; the same weights as
PyTorch .bin files, whole and in shards.

Run from the top of the repository: python tests/golden/make/adapter_files_golden.py
tests/golden/README.md says what the files hold."""
import json
import os
import shutil
import struct

os.environ["HF_HUB_OFFLINE"] = "1"

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM

TOP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "adapter-files")
CONFIG = dict(model_type="llama", vocab_size=32, hidden_size=16, intermediate_size=16, num_hidden_layers=1,
              num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=64)
IDS = torch.tensor([[3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8]])
EXPECTED = {}
PREFIX = "base_model.model."


def make_base(name, tied):
    torch.manual_seed(5 if tied else 6)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**CONFIG, tie_word_embeddings=tied))
    with torch.no_grad():
        for p in model.parameters():
            p.normal_(0, 0.3) if p.ndim == 2 else p.uniform_(0.5, 1.5)
    model.save_pretrained(f"{TOP}/{name}")
    os.remove(f"{TOP}/{name}/generation_config.json")


def make_conv(name):
    """GPT-2, whose files hold [in, out]; c_attn and c_fc are square in neither, c_proj of attention is."""
    torch.manual_seed(8)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(
        model_type="gpt2", vocab_size=32, n_embd=8, n_inner=12, n_layer=1, n_head=2, n_positions=16))
    with torch.no_grad():
        for p in model.parameters():
            p.normal_(0, 0.3)
    model.save_pretrained(f"{TOP}/{name}")
    os.remove(f"{TOP}/{name}/generation_config.json")


def fill(model):
    """Values that no initialisation gives, so that each tensor of the file is felt."""
    torch.manual_seed(7)
    with torch.no_grad():
        for p in model.parameters():
            if p.requires_grad:
                p.normal_(0, 0.3)


def write(base, name, **kw):
    model = AutoModelForCausalLM.from_pretrained(f"{TOP}/{base}", dtype=torch.float32)
    model = get_peft_model(model, LoraConfig(r=2, lora_alpha=3, task_type="CAUSAL_LM", **kw))
    fill(model)
    model.base_model.peft_config = model.peft_config
    for config in model.peft_config.values():
        config.base_model_name_or_path = "base"
    model.save_pretrained(f"{TOP}/{name}")
    os.remove(f"{TOP}/{name}/README.md")
    return name


def expect(base, name):
    model = AutoModelForCausalLM.from_pretrained(f"{TOP}/{base}", dtype=torch.float32)
    model = PeftModel.from_pretrained(model, f"{TOP}/{name}").eval()
    with torch.no_grad():
        EXPECTED[f"{name}.logits"] = model(IDS).logits[0].contiguous()


def rename(name, change):
    path = f"{TOP}/{name}/adapter_model.safetensors"
    save_file({change(k): v for k, v in load_file(path).items()}, path, metadata={"format": "pt"})


def write_zip64(path, out):
    """The archive with the records of one above 4 GiB: zip64 fields for every size and place."""
    data = open(path, "rb").read()
    end = data.rindex(b"PK\5\6")
    count, _, start = struct.unpack("<HII", data[end + 10:end + 20])
    directory, at = b"", start
    for _ in range(count):
        head = bytearray(data[at:at + 46])
        csize, usize = struct.unpack("<II", head[20:28])
        name, extra, comment = struct.unpack("<HHH", head[28:34])
        offset = struct.unpack("<I", head[42:46])[0]
        field = struct.pack("<HHQQQ", 1, 24, usize, csize, offset)
        head[20:28], head[42:46] = b"\xff" * 8, b"\xff" * 4
        head[30:34] = struct.pack("<HH", len(field), 0)
        directory += bytes(head) + data[at + 46:at + 46 + name] + field
        at += 46 + name + extra + comment
    place = start + len(directory)
    end64 = b"PK\6\6" + struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, count, count, len(directory), start)
    locator = b"PK\6\7" + struct.pack("<IQI", 0, place, 1)
    last = b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, 0xffff, 0xffff, 0xffffffff, 0xffffffff, 0)
    open(out, "wb").write(data[:start] + directory + end64 + locator + last)


def main():
    shutil.rmtree(TOP, ignore_errors=True)
    make_base("base", False)
    make_base("tied", True)
    make_conv("conv")
    for base in ("base", "tied", "conv"):
        model = AutoModelForCausalLM.from_pretrained(f"{TOP}/{base}", dtype=torch.float32).eval()
        with torch.no_grad():
            EXPECTED[f"{base}.logits"] = model(IDS).logits[0].contiguous()

    write("base", "default-keys", target_modules=["q_proj", "embed_tokens"])
    rename("default-keys", lambda k: k.replace(".weight", ".default.weight") if "lora_A" in k or "lora_B" in k
           else k + ".default" if "lora_embedding" in k else k)
    expect("base", "default-keys")

    # As PEFT writes modules_to_save when the embeddings are saved as well: the copies under two more names.
    write("base", "saved-twice", target_modules=["q_proj"], modules_to_save=["embed_tokens", "lm_head"])
    path = f"{TOP}/saved-twice/adapter_model.safetensors"
    tensors = load_file(path)
    base = load_file(f"{TOP}/base/model.safetensors")
    for module in ("lm_head", "model.embed_tokens"):
        tensors[f"{PREFIX}{module}.modules_to_save.weight"] = tensors[f"{PREFIX}{module}.weight"].clone()
        tensors[f"{PREFIX}{module}.original_module.weight"] = base[f"{module}.weight"].clone()
    save_file(tensors, path, metadata={"format": "pt"})
    expect("base", "saved-twice")

    write("tied", "tied-targets", target_modules=["q_proj", "embed_tokens"], ensure_weight_tying=True)
    expect("tied", "tied-targets")
    write("tied", "tied-head", target_modules=["q_proj", "lm_head"], ensure_weight_tying=True)
    expect("tied", "tied-head")
    write("tied", "tied-saved", target_modules=["q_proj"], modules_to_save=["embed_tokens"], ensure_weight_tying=True)
    expect("tied", "tied-saved")
    write("base", "mica", target_modules=["q_proj"], init_lora_weights="mica")
    expect("base", "mica")
    write("conv", "conv-saved", target_modules=["c_fc"], modules_to_save=["c_attn", "c_proj"])
    expect("conv", "conv-saved")
    for name, kw in (("dora", dict(use_dora=True)), ("tokens", dict(trainable_token_indices=[1, 4])),
                     ("pissa", dict(init_lora_weights="pissa"))):
        write("base", name, target_modules=["q_proj"], **kw)

    # PyTorch's files: protocol 2 pickles in a zip of stored members.
    os.makedirs(f"{TOP}/bin")
    os.makedirs(f"{TOP}/bin-shards")
    os.makedirs(f"{TOP}/bin-adapter")
    model = AutoModelForCausalLM.from_pretrained(f"{TOP}/base", dtype=torch.float32)
    state = model.state_dict()
    shutil.copy(f"{TOP}/base/config.json", f"{TOP}/bin")
    shutil.copy(f"{TOP}/base/config.json", f"{TOP}/bin-shards")
    # One tensor lies transposed in its storage and one inside another's, as views do.
    state["model.layers.0.self_attn.o_proj.weight"] = state["model.layers.0.self_attn.o_proj.weight"].T.contiguous().T
    both = torch.cat([state["model.layers.0.mlp.gate_proj.weight"], state["model.layers.0.mlp.up_proj.weight"]])
    state["model.layers.0.mlp.gate_proj.weight"], state["model.layers.0.mlp.up_proj.weight"] = both[:16], both[16:]
    state["model.norm.weight"] = torch.nn.Parameter(state["model.norm.weight"])
    torch.save(state, f"{TOP}/bin/pytorch_model.bin")
    names = sorted(state)
    parts = {"pytorch_model-00001-of-00002.bin": names[:5], "pytorch_model-00002-of-00002.bin": names[5:]}
    for part, keys in parts.items():
        torch.save({k: state[k].detach().to(torch.bfloat16).float().to(torch.bfloat16) for k in keys},
                   f"{TOP}/bin-shards/{part}")
    with open(f"{TOP}/bin-shards/pytorch_model.bin.index.json", "w") as f:
        json.dump({"metadata": {"total_size": 0}, "weight_map": {k: p for p, ks in parts.items() for k in ks}}, f)
    shards = AutoModelForCausalLM.from_pretrained(f"{TOP}/bin-shards", dtype=torch.float32).eval()
    with torch.no_grad():
        EXPECTED["bin-shards.logits"] = shards(IDS).logits[0].contiguous()
    torch.save(load_file(f"{TOP}/mica/adapter_model.safetensors"), f"{TOP}/bin-adapter/adapter_model.bin")
    shutil.copy(f"{TOP}/mica/adapter_config.json", f"{TOP}/bin-adapter")
    os.makedirs(f"{TOP}/bin-zip64")
    write_zip64(f"{TOP}/bin-adapter/adapter_model.bin", f"{TOP}/bin-zip64/adapter_model.bin")
    torch.load(f"{TOP}/bin-zip64/adapter_model.bin", weights_only=True)
    shutil.copy(f"{TOP}/mica/adapter_config.json", f"{TOP}/bin-zip64")
    EXPECTED["ids"] = IDS[0].to(torch.int32)
    save_file(EXPECTED, f"{TOP}/expected.safetensors")


if __name__ == "__main__":
    main()
