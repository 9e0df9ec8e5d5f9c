"""Makes tests/golden/grouped/gptqmodel-*/: a tiny llama that GPTQModel quantized, with the weights as it decodes them and what
grouped_golden.py puts beside a model (its functions are used).

    GPTQMODEL_CPU_WORKERS=2 python tests/golden/make/gptqmodel_golden.py

with GPTQModel 7.7.0, transformers 5.24.0 and torch 2.13.0 on a CPU."""
import json
import os
import tempfile

os.environ.setdefault("GPTQMODEL_CPU_WORKERS", "2")

import grouped_golden as grouped
import torch
from gptqmodel import BACKEND, GPTQModel, QuantizeConfig
from words_tokenizer import save_tokenizer
from models import generator
from safetensors.torch import load_file

VARIANTS = {
    "gptqmodel-4": dict(bits=4, group_size=32, desc_act=True, sym=False),
    "gptqmodel-8": dict(bits=8, group_size=32, desc_act=False, sym=True),
}


def make(variant, work):
    rng = generator("grouped " + variant)
    model = grouped.new_model(rng)
    dense, packed = os.path.join(work, "dense"), os.path.join(work, variant)
    grouped.new_model(generator("grouped " + variant)).to(torch.bfloat16).save_pretrained(dense)  # the rope's buffers with it
    save_tokenizer(dense)
    q = GPTQModel.load(dense, QuantizeConfig(**VARIANTS[variant]))
    q.quantize([{"input_ids": torch.randint(0, 128, (64,), generator=rng).tolist(), "attention_mask": [1] * 64}
                for _ in range(32)], batch_size=1)
    q.save(packed)
    with open(os.path.join(packed, "config.json")) as f:
        quantization = json.load(f)["quantization_config"]
    del quantization["meta"]["offload_to_disk_path"]
    tensors = load_file(os.path.join(packed, "model.safetensors"))
    q = GPTQModel.load(packed, backend=BACKEND.TORCH, device="cpu", dtype=torch.float16)  # that of the scales
    decoded = {name: m.dequantize_weight().T.float().contiguous() for name, m in q.model.named_modules()
               if hasattr(m, "dequantize_weight")}
    assert len(decoded) == 14, len(decoded)
    grouped.finish(variant, model, tensors, decoded, quantization, rng)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as where:
        os.chdir(where)  # logs are written beside
        for v in VARIANTS:
            make(v, where)
