"""quantize_quality.py - GPTQ and AWQ of this program and of GPTQModel on the same inputs: error of layers,
perplexity, and KL divergence from the original.

    python bench/peers/quantize_quality.py --work DIR [--model DIR] [--tested N] [--nibble build/nibble] [--only NAME,...]

Runs in a Python with GPTQModel 7.7 (set GPTQMODEL_CPU_WORKERS=2 on two cores), transformers and safetensors. The
model is models/pico of this repository (dense, bfloat16), which knows children's stories and little else: texts are
sampled from it with fixed seeds, so that perplexities mean something; with --pages, and for another --model, they are
the manual pages of Debian's package manpages (fetched with apt-get download, unpacked under DIR), odd ones for
calibration and even ones for the test. Both quantize the same token ids; both files are decoded by `nibble merge` and measured in torch;
layers by |X (W - W')^T|^2 / |X W^T|^2 with X the inputs that the original has on the calibration texts. Prints a
table and writes DIR/quality.json."""
import argparse
import glob
import gzip
import json
import math
import os
import re
import shutil
import subprocess
import sys

TOP = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
PICO = os.path.join(TOP, "models", "pico")
MODEL = PICO
RECORDS, LENGTH, TESTED = 8, 512, 24  # records for calibration, tokens of one, records for the test
# name, method, bits, group, symmetric, desc_act, act_group_aware (GPTQModel's default order)
SETTINGS = [("gptq-4-128", "gptq", 4, 128, True, False, False), ("gptq-4-128-act", "gptq", 4, 128, True, True, False),
            ("gptq-4-row", "gptq", 4, -1, True, False, False), ("gptq-4-64-asym", "gptq", 4, 64, False, False, False),
            ("gptq-3-128", "gptq", 3, 128, True, False, False), ("gptq-3-128-act", "gptq", 3, 128, True, True, False),
            ("gptq-3-row", "gptq", 3, -1, True, False, False), ("gptq-8-128", "gptq", 8, 128, True, False, False),
            ("gptq-4-64-aware", "gptq", 4, 64, True, False, True),
            ("gptq-4-64", "gptq", 4, 64, True, False, False), ("gptq-3-64-act", "gptq", 3, 64, True, True, False),
            ("awq-4-64", "awq", 4, 64, False, False, False), ("awq-4-32", "awq", 4, 32, False, False, False)]


# --- texts ---

def page_text(path):
    """The prose of a manual page: no macros, no font changes."""
    with gzip.open(path, "rt", errors="replace") as f:
        lines = [line.rstrip("\n") for line in f]
    words = [re.sub(r"\\f.|\\[&|%e]|\\-", lambda m: "-" if m[0] == "\\-" else "", line) for line in lines
             if line and line[0] not in ".'"]
    return " ".join(" ".join(words).split())


def sample(count, seed):
    """Records of the model's own, at temperature 1."""
    import torch
    from transformers import AutoModelForCausalLM
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32)
    ids = model.generate(torch.zeros(count, 1, dtype=torch.long), attention_mask=torch.ones(count, 1), do_sample=True,
                         top_k=0, min_new_tokens=LENGTH - 1, max_new_tokens=LENGTH - 1)
    return ids.tolist()


def page_texts(work):
    """The calibration and the test text of manual pages."""
    pages = os.path.join(work, "pages")
    if not os.path.isdir(pages):
        subprocess.run(["apt-get", "download", "manpages"], cwd=work, check=True, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)
        package = glob.glob(os.path.join(work, "manpages_*.deb"))[0]
        subprocess.run(["dpkg-deb", "-x", package, pages], check=True)
    files = sorted(glob.glob(os.path.join(pages, "usr/share/man/man7/*.7.gz")))
    odd = " ".join(page_text(f) for f in files[1::2])
    even = " ".join(page_text(f) for f in files[0::2])
    return odd, even


def cut(text, count):
    from transformers import AutoTokenizer
    ids = AutoTokenizer.from_pretrained(MODEL)(text[:count * LENGTH * 8], add_special_tokens=False)["input_ids"]
    assert len(ids) >= count * LENGTH
    return [ids[i * LENGTH:(i + 1) * LENGTH] for i in range(count)]


def make_inputs(work, pages, tested):
    if pages:
        calibration, test = page_texts(work)
        records, test = cut(calibration, RECORDS), cut(test, tested)
    else:
        records, test = sample(RECORDS, 1), sample(tested, 2)
    data = os.path.join(work, "calibration.jsonl")
    with open(data, "w") as f:
        for record in records:
            f.write(json.dumps({"input_ids": record}) + "\n")
    return records, data, test


# --- the two ---

def theirs(out, setting, records):
    from gptqmodel import GPTQModel, QuantizeConfig
    name, method, bits, group, symmetric, desc_act, aware = setting
    more = {"format": "gemm"} if method == "awq" else {"act_group_aware": aware}
    config = QuantizeConfig(bits=bits, group_size=group, sym=symmetric, desc_act=desc_act, method=method, **more)
    model = GPTQModel.load(MODEL, config, device="cpu")
    model.quantize([{"input_ids": r, "attention_mask": [1] * len(r)} for r in records], batch_size=1)
    model.save(out)
    for file in glob.glob(os.path.join(MODEL, "*token*.json")):  # theirs is written for another regex
        shutil.copy(file, out)


def ours(nibble, out, setting, data, rounded=False):
    name, method, bits, group, symmetric, desc_act, aware = setting
    options = ["--format", method, "--bits", bits, "--group-size", group, "--sym", "true" if symmetric else "false",
               "--overwrite"]
    if rounded:
        options += ["--algorithm", "rtn"]
    else:
        options += ["--calibration-data", data, "--num-calibration-samples", RECORDS]
        # GPTQModel takes the linears of a layer in the order of their inputs
        options += ["--true-sequential"] * (method == "gptq") + ["--desc-act"] * desc_act
        options += ["--act-group-aware"] * aware
    subprocess.run([nibble, "quantize", MODEL, out, *map(str, options)], check=True, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL)


# --- measuring ---

class Judge:
    """Perplexity on the test text and KL divergence from the original, in float32."""

    def __init__(self, records):
        import torch
        from transformers import AutoModelForCausalLM
        self.model = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32)
        self.windows = torch.tensor(records)
        self.wanted = self.predict()

    def predict(self):
        import torch
        with torch.no_grad():
            return torch.cat([self.model(w[None]).logits.log_softmax(-1)[0, :-1] for w in self.windows])

    def __call__(self, dense):
        self.model.load_state_dict({k: v.float() for k, v in dense.items()}, strict=False)
        got = self.predict()
        loss = -got.gather(1, self.windows[:, 1:].reshape(-1, 1)).mean().item()
        divergence = (self.wanted.exp() * (self.wanted - got)).sum(-1).mean().item()
        agreement = (self.wanted.argmax(-1) == got.argmax(-1)).float().mean().item()
        return {"perplexity": math.exp(loss), "divergence": divergence, "agreement": agreement}


def second_moments(records):
    """x^T x of the inputs of each linear in the original."""
    import torch
    from transformers import AutoModelForCausalLM
    model = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32)
    sums = {}

    def observe(name):
        def hook(module, inputs):
            x = inputs[0].reshape(-1, inputs[0].shape[-1]).double()
            sums[name] = sums.get(name, 0) + x.T @ x
        return hook
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and name != "lm_head":
            module.register_forward_pre_hook(observe(name))
    with torch.no_grad():
        for record in records:
            model(torch.tensor([record]))
    return sums


def dense_of(nibble, model, work):
    """The tensors of a quantized directory, decoded by this program's reader."""
    from safetensors.torch import load_file
    adapter, out = os.path.join(work, "nothing"), os.path.join(work, "dense")
    make_nothing(adapter)
    shutil.rmtree(out, ignore_errors=True)
    subprocess.run([nibble, "merge", model, "--adapter", adapter, out, "--dtype", "float32"], check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return load_file(os.path.join(out, "model.safetensors"))


def make_nothing(out):
    """An adapter that changes nothing."""
    import torch
    from safetensors.torch import save_file
    os.makedirs(out, exist_ok=True)
    name = "base_model.model.model.layers.0.self_attn.q_proj.lora_"
    width = json.load(open(os.path.join(MODEL, "config.json")))["hidden_size"]
    save_file({name + "A.weight": torch.zeros(1, width), name + "B.weight": torch.zeros(width, 1)},
              os.path.join(out, "adapter_model.safetensors"), {"format": "pt"})
    with open(os.path.join(out, "adapter_config.json"), "w") as f:
        json.dump({"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 1, "lora_alpha": 1, "target_modules": ["q_proj"],
                   "layers_to_transform": [0], "base_model_name_or_path": MODEL}, f)


def layer_errors(dense, original, sums):
    """Fractions of each linear's output; of AWQ in the inputs before the norm's factors, where these tell them."""
    shares = []
    for name, h in sums.items():
        w, q = original[name + ".weight"].double(), dense[name + ".weight"].double()
        layer = name.rsplit(".", 2)[0]
        norm = {"self_attn": "input_layernorm", "mlp": "post_attention_layernorm"}[name.split(".")[-2]] + ".weight"
        scaled = not (original[f"{layer}.{norm}"].double() - dense[f"{layer}.{norm}"].double()).abs().max() < 1e-9
        if name.endswith(("o_proj", "down_proj", "up_proj", "v_proj")) and scaled:
            continue  # rows and columns that other factors changed
        if scaled:
            q = q * (dense[f"{layer}.{norm}"].double() / original[f"{layer}.{norm}"].double())
        d = w - q
        shares.append((((d @ h) * d).sum() / ((w @ h) * w).sum()).item())
    return sum(shares) / len(shares)


def main():
    global MODEL
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", required=True)
    parser.add_argument("--nibble", default=os.path.join(TOP, "build", "nibble"))
    parser.add_argument("--only", default="")
    parser.add_argument("--pages", action="store_true")
    parser.add_argument("--model", default=PICO, help="a dense llama whose heads fill its width")
    parser.add_argument("--tested", type=int, default=TESTED, help="records of the test text")
    a = parser.parse_args()
    MODEL = os.path.abspath(a.model)
    os.makedirs(a.work, exist_ok=True)
    from safetensors.torch import load_file
    records, data, test = make_inputs(a.work, a.pages or MODEL != PICO, a.tested)
    judge = Judge(test)
    original = {k: v.float() for k, v in load_file(os.path.join(MODEL, "model.safetensors")).items()}
    sums = second_moments(records)
    results = {}
    for setting in sorted(SETTINGS, key=lambda s: a.only.find(s[0])):
        name = setting[0]
        if a.only and name not in a.only.split(","):
            continue
        paths = {who: os.path.join(a.work, f"{name}-{who}") for who in ("theirs", "ours", "rounded")}
        if not os.path.exists(os.path.join(paths["theirs"], "config.json")):
            theirs(paths["theirs"], setting, records)
        ours(a.nibble, paths["ours"], setting, data)
        ours(a.nibble, paths["rounded"], setting, data, rounded=True)
        dense = {who: dense_of(a.nibble, path, a.work) for who, path in paths.items()}
        results[name] = {who: {**judge(d), "layers": layer_errors(d, original, sums)} for who, d in dense.items()}
        r = results[name]
        print(f"{name:16} " + "  ".join(f"{who} ppl {r[who]['perplexity']:.3f} KL {r[who]['divergence']:.5f} layers "
                                        f"{100 * r[who]['layers']:.4f} %" for who in paths)
              + f"  | ours/theirs ppl {r['ours']['perplexity'] / r['theirs']['perplexity']:.4f} KL "
                f"{r['ours']['divergence'] / r['theirs']['divergence']:.3f} layers "
                f"{r['ours']['layers'] / r['theirs']['layers']:.4f}", flush=True)
    with open(os.path.join(a.work, "quality.json"), "w") as f:
        json.dump(results, f, indent=1)


if __name__ == "__main__":
    sys.exit(main())
