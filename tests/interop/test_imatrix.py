"""Importance matrices: what export makes of texts is what the linears of transformers' model are multiplied by, gguf reads it, and
blocks made with one have the bytes that ggml makes with it."""
import json
import os
import tempfile

import numpy as np
import torch
from gguf import GGUFReader, GGUFWriter

import llama_runtime
from common import PICO, check, main, nibble, of_the_day
from test_llama_cpp import tensors, wide

NAMES = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
         "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down"}
TYPES = ("Q4_K_M", "Q5_K_S", "Q6_K", "Q5_1", "Q5_0", "Q4_1", "Q4_0", "IQ4_NL", "Q8_0")


def observed(model, records):
    """Mean squares of the inputs of each linear of the layers."""
    sums, count = {}, sum(map(len, records))
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and name.startswith("model.layers."):
            _, _, layer, rest = name.split(".", 3)

            def hook(_, inputs, key=f"blk.{layer}.{NAMES[rest]}.weight"):
                sums[key] = sums.get(key, 0) + inputs[0].double().pow(2).sum((0, 1))
            module.register_forward_pre_hook(hook)
    with torch.no_grad():
        for r in records:
            model(torch.tensor([r]))
    return {k: (v / count).float().numpy() for k, v in sums.items()}, count


def made():
    from transformers import AutoModelForCausalLM
    records = [[1, 5, 9, 33, 7, 60, 4, 11, 20, 13], [17, 300, 2000, 4], [5, 5, 8, 1500, 77, 12, 90]]
    with tempfile.TemporaryDirectory() as work:
        data, file, out = (os.path.join(work, n) for n in ("d.jsonl", "imatrix.gguf", "out.gguf"))
        with open(data, "w") as f:
            f.writelines(json.dumps({"input_ids": r}) + "\n" for r in records)
        nibble("export", PICO, out, "--quantize", "Q4_0", "--calibration-data", data, "--imatrix-out", file)
        want, count = observed(AutoModelForCausalLM.from_pretrained(PICO, dtype=torch.float32), records)
        got = {t.name: t.data.copy() for t in GGUFReader(file).tensors}
        check(len(got) == 2 * len(want), f"{len(got)} tensors, expected {2 * len(want)}")
        for name, values in want.items():
            check(got[name + ".counts"].item() == count, f"{name}: {got[name + '.counts']} rows, expected {count}")
            mean = got[name + ".in_sum2"].ravel() / count
            check(np.allclose(mean, values, rtol=1e-4, atol=1e-6 * values.max()), f"{name}: other mean squares")
        again = os.path.join(work, "again.gguf")
        nibble("export", PICO, again, "--quantize", "Q4_0", "--imatrix", file)
        for name, t in tensors(out).items():
            check(t.data.tobytes() == tensors(again)[name].data.tobytes(), f"{name}: other bytes through the file")


def write_gguf(path, importances):
    writer = GGUFWriter(path, "")
    writer.add_type("imatrix")
    writer.add_array("imatrix.datasets", ["texts"])
    writer.add_uint32("imatrix.chunk_count", 3)
    writer.add_uint32("imatrix.chunk_size", 512)
    for name, values in importances.items():
        writer.add_tensor(name + ".in_sum2", values[None] * np.float32(8))
        writer.add_tensor(name + ".counts", np.float32([[8]]))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_old(path, importances):
    with open(path, "wb") as f:
        f.write(np.int32(len(importances)).tobytes())
        for name, values in importances.items():
            f.write(np.int32(len(name)).tobytes() + name.encode() + np.int32([8, len(values)]).tobytes() +
                    (values * np.float32(8)).tobytes())
        f.write(np.int32([3, 5]).tobytes() + b"texts")


def used():
    random = np.random.default_rng(3)
    with tempfile.TemporaryDirectory() as work:
        model, plain, out = wide("llama", {}, work), os.path.join(work, "plain.gguf"), os.path.join(work, "out.gguf")
        nibble("export", model, plain, "--quantize", "F32")
        values = {name: t.data.copy() for name, t in tensors(plain).items()}
        importances = {n: (random.standard_normal(v.shape[1]) ** 2).astype(np.float32) for n, v in values.items()
                       if v.ndim == 2 and n.startswith("blk.")}
        for write in write_gguf, write_old:
            file = os.path.join(work, write.__name__)
            write(file, importances)
            for kind in of_the_day(TYPES, 4):
                nibble("export", model, out, "--quantize", kind, "--imatrix", file, "--overwrite", "--no-verify")
                for name, t in tensors(out).items():
                    want = llama_runtime.quantize(values[name], t.tensor_type.name, importances.get(name))
                    check(t.data.tobytes() == want, f"{write.__name__}, {kind}: {name} ({t.tensor_type.name}) has other bytes")
            fields = GGUFReader(out).fields
            check(fields["quantize.imatrix.dataset"].contents() == "texts" and
                  fields["quantize.imatrix.entries_count"].contents() == len(importances), "quantize.imatrix.*")


if __name__ == "__main__":
    main([("importances made of texts", made), ("importances used", used)])
