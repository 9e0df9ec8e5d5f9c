"""Makes tests/golden/models/VARIANT/int8.safetensors: what transformers, PEFT and bitsandbytes compute
with two of the golden models quantized to 8 bits (load_in_8bit) while loading, in float32.

Run from the top of the repository, in an environment with tests/requirements.txt, after models.py:
    python tests/golden/make/int8_models.py

logits.N and lora.logits.N are of eval mode, where x is quantized too, each row of a linear's input by
itself (the library would choose outliers by the columns of the whole batch); grad.NAME and
lora.loss are of training mode, where the CPU library multiplies by the dequantized weights.  The
threshold is 2.5: activations of these models hardly reach 6.

The library's CPU code has 1 / 127^2 as 6.200124e-05, its CUDA code rightly as 6.200012e-05.  A
difference of 1.8e-5 moves codes of the next linear's input across a half, and each such step is a
127th of a value: so the constant is mended here."""
import os

os.environ["HF_HUB_OFFLINE"] = "1"

import bitsandbytes as bnb
import torch
from models import TOP, record
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

VARIANTS = ("llama-bias", "llama-gqa-tied")
THRESHOLD = 2.5
outliers = 0


def by_rows(whole):
    """Linear8bitLt.forward that gives the library one row at a time in eval mode."""
    def forward(self, x):
        global outliers
        if self.training:
            return whole(self, x)
        rows = x.reshape(-1, x.shape[-1])
        outliers += int((rows.abs() >= self.state.threshold).sum())
        return torch.cat([whole(self, r[None]) for r in rows]).reshape(*x.shape[:-1], -1)
    return forward


def mend_constant():
    def dequantize(a, row_stats, col_stats, dtype=None, bias=None):
        y = a.reshape(-1, a.shape[-1]) * (row_stats.reshape(-1, 1) * col_stats.reshape(1, -1)) * 6.200012400024800e-05
        return (y if bias is None else y + bias).to(dtype or torch.float16)
    library = torch.library.Library("bitsandbytes", "IMPL")
    library.impl("int8_mm_dequant", dequantize, "CPU", allow_override=True)
    return library  # in force as long as it lives


def make(variant):
    directory = os.path.join(TOP, variant)
    expected = load_file(os.path.join(directory, "expected.safetensors"))
    ids = [expected[f"ids.{i}"].long() for i in range(2)]
    labels = [expected[f"labels.{i}"].long() for i in range(2)]
    model = AutoModelForCausalLM.from_pretrained(
        directory, torch_dtype=torch.float32, attn_implementation="eager", device_map="cpu",
        quantization_config=BitsAndBytesConfig(load_in_8bit=True, llm_int8_threshold=THRESHOLD)).eval()
    count = sum(isinstance(m, bnb.nn.Linear8bitLt) for m in model.modules())
    assert count == 7 * model.config.num_hidden_layers, count
    out = {}
    with torch.no_grad():
        record(out, "", model, ids, labels)
    model = PeftModel.from_pretrained(model, os.path.join(directory, "adapter"), is_trainable=True)
    with torch.no_grad():
        record(out, "lora.", model.eval(), ids, labels)
    of_eval = out["lora.loss"]
    training = {}
    record(training, "lora.", model.train(), ids, labels, gradients=True)
    out |= {k: v for k, v in training.items() if k.startswith("grad.") or k == "lora.loss"}
    print(f"{variant}: {outliers} outliers, loss {float(out['loss']):.4f}, with the adapter {float(of_eval):.4f}, "
          f"in training {float(out['lora.loss']):.4f}")
    save_file(out, os.path.join(directory, "int8.safetensors"))


if __name__ == "__main__":
    mended = mend_constant()
    bnb.nn.Linear8bitLt.forward = by_rows(bnb.nn.Linear8bitLt.forward)
    for name in VARIANTS:
        make(name)
