"""Calibrated quantizations of models/pico in the libraries whose files they are.

    NIBBLE=build/nibble python tests/interop/test_calibrated.py

- compressed-tensors' own decompressor, through transformers, decodes what `quantize --format compressed-tensors` wrote
  with GPTQ and with AWQ (whose norms have other weights), and computes the logits that this program computes;
- the Hessians that GPTQ is given are the second moments of what hooks see in transformers: a matrix's error, reported
  from them, is the error of its outputs there;
- where GPTQModel can be imported, its reader opens the files of formats gptq and awq."""
import json
import os
import tempfile

import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from common import PICO, SHOP, Skip, check, check_logits, evaluate, main, nibble, of_the_day, write_ids

SEQUENCES = [[5, 17, 200, 31, 64, 77, 90, 8, 11, 300], [9, 9, 41, 256, 12]]
# transformers 4 does not load packed zero points (it expects them unpacked); 5 does
CASES = [("compressed-tensors", "gptq", 4, 64, "true"), ("compressed-tensors", "gptq", 3, 32, "true"),
         ("compressed-tensors", "awq", 4, 64, "true"), ("compressed-tensors", "awq", 4, 32, "true")]
RECORDS = 24


def quantize(out, form, algorithm, bits, group, symmetric, *more):
    nibble("quantize", PICO, out, "--format", form, "--algorithm", algorithm, "--bits", bits, "--group-size", group, "--sym",
           symmetric, "--calibration-data", SHOP, "--num-calibration-samples", RECORDS, *more)
    return out


def compare_logits(model, out, work, what, limit):
    data = os.path.join(work, "ids.jsonl")
    write_ids(data, [(ids, ids) for ids in SEQUENCES])
    got, _ = evaluate(out, data)
    with torch.no_grad():
        want = [model(torch.tensor([ids])).logits[0].float() for ids in SEQUENCES]
    check_logits(got, want, limit, what)


def compressed_tensors():
    try:
        import compressed_tensors  # noqa: F401
    except ImportError as e:
        raise Skip(f"compressed-tensors is not installed: {e}") from e
    for case in of_the_day(CASES, 2):
        with tempfile.TemporaryDirectory() as work:
            out = quantize(os.path.join(work, "out"), *case)
            # decoded in the type of the scales, and then computed with in float32
            model = AutoModelForCausalLM.from_pretrained(out, dtype=torch.bfloat16, device_map="cpu")
            model(torch.tensor([SEQUENCES[1]]))  # decompresses
            model = torch.nn.Module.float(model)
            compare_logits(model, out, work, " ".join(map(str, case)), 2e-3)


def observed_rows():
    """The fraction of a first layer's output that is lost, of the report, against outputs computed in transformers."""
    with tempfile.TemporaryDirectory() as work:
        out = quantize(os.path.join(work, "out"), "gptq", "gptq", 3, 64, "true")
        report = {m["module"]: m for m in json.load(open(os.path.join(out, "quantization_report.json")))["matrices"]}
        tokenizer = AutoTokenizer.from_pretrained(PICO)
        model = AutoModelForCausalLM.from_pretrained(PICO, dtype=torch.bfloat16)
        name = "model.layers.0.self_attn.q_proj"
        layer, rows = model.get_submodule(name), []
        layer.register_forward_pre_hook(lambda module, inputs: rows.append(inputs[0][0].float()))
        with open(SHOP) as f, torch.no_grad():
            for line in list(f)[:RECORDS]:
                record = json.loads(line)
                text = record["prompt"] + record["completion"]
                model(torch.tensor([tokenizer(text)["input_ids"] + [tokenizer.eos_token_id]]))
        x = torch.cat(rows).double()
        check(x.shape[0] == report[name]["rows"], f"{x.shape[0]} rows, reported are {report[name]['rows']}")
        w, q = layer.weight.double().detach(), decoded(out, name, 3, 64)
        share = ((x @ (w - q).T).square().sum() / (x @ w.T).square().sum()).item()
        check(abs(share / report[name]["error"] - 1) < .02, f"error {share}, reported is {report[name]['error']}")


def decoded(directory, name, bits, group):
    """A symmetric GPTQ matrix [out, in] by the text of docs/formats.md 6."""
    tensors = load_file(os.path.join(directory, "model.safetensors"))
    words = tensors[name + ".qweight"].to(torch.int64) & 0xffffffff
    stream = ((words.unsqueeze(1) >> torch.arange(32).view(1, 32, 1)) & 1).reshape(-1, words.shape[1])
    codes = (stream.reshape(-1, bits, words.shape[1]) << torch.arange(bits).view(1, bits, 1)).sum(1)
    scales = tensors[name + ".scales"].double()[torch.arange(codes.shape[0]) // group]
    return ((codes - 2 ** (bits - 1)).double() * scales).T


def gptqmodel():
    try:
        from gptqmodel import BACKEND, GPTQModel
    except Exception as e:
        raise Skip(f"GPTQModel is not installed: {e}") from e
    for form, algorithm, bits, group, symmetric in [("gptq", "gptq", 4, 64, "true"), ("awq", "awq", 4, 64, "false")]:
        with tempfile.TemporaryDirectory() as work:
            out = quantize(os.path.join(work, "out"), form, algorithm, bits, group, symmetric)
            backend = BACKEND.AWQ_TORCH if form == "awq" and hasattr(BACKEND, "AWQ_TORCH") else BACKEND.TORCH
            model = GPTQModel.load(out, device="cpu", backend=backend)
            compare_logits(model, out, work, form, .35)  # its kernels compute in bfloat16
    mixed_widths(GPTQModel, BACKEND)


def mixed_widths(reader, backend):
    """`--target-bpw` writes rules for single modules: its reader gives each matrix the width it has, and the same values."""
    with tempfile.TemporaryDirectory() as work:
        out = os.path.join(work, "out")
        nibble("quantize", PICO, out, "--format", "gptq", "--target-bpw", 3.7, "--group-size", 64)
        report = {m["module"]: m for m in json.load(open(os.path.join(out, "quantization_report.json")))["matrices"]}
        model, widths = reader.load(out, device="cpu", backend=backend.TORCH).model, set()
        for name, m in report.items():
            module = model.get_submodule(name)
            check(module.bits == m["bits"], f"{name}: {module.bits} bits, written are {m['bits']}")
            got, want = module.dequantize_weight().double().T, decoded(out, name, m["bits"], 64)
            off = ((got - want).norm() / want.norm()).item()
            check(off < 4e-3, f"{name}: decoded differs by {off}")  # it decodes in bfloat16
            widths.add(m["bits"])
        check(len(widths) > 1, f"{widths}: one width for all")


if __name__ == "__main__":
    main([("compressed_tensors", compressed_tensors), ("observed_rows", observed_rows), ("gptqmodel", gptqmodel)])
