"""Makes tests/golden/grouped/aqlm-*/: a tiny llama with random AQLM codes and codebooks, and what grouped_golden.py puts beside
a model (its functions are used).

    python tests/golden/make/aqlm_golden.py

in the environment of grouped_golden.py with aqlm 1.1.7 and numba 0.68.1: the library packs the codes and decodes the weights."""
import grouped_golden as grouped
import torch
from aqlm.utils import _dequantize_weight, pack_int_data, unpack_int_data
from models import generator

# codebooks, bits, outputs and inputs of a group, type of the codebooks, modules that are dense
VARIANTS = {
    "aqlm-1x9": (1, 9, 1, 4, torch.float16, ["lm_head", "up_proj"]),
    "aqlm-2x7": (2, 7, 2, 4, torch.bfloat16, ["lm_head"]),
    "aqlm-8x4": (8, 4, 1, 8, torch.float16, ["lm_head", "up_proj"]),
}


def make(variant):
    books, bits, og, ig, dtype, dense = VARIANTS[variant]
    rng = generator("grouped " + variant)
    model = grouped.new_model(rng)
    tensors, decoded, skipped = {}, {}, []
    for name, m in model.named_modules():
        if not isinstance(m, torch.nn.Linear):
            if getattr(m, "weight", None) is not None:
                skipped.append(name + ".weight")
            continue
        if any(e in name for e in dense):
            skipped.append(name + ".weight")
            continue
        out, inputs = m.weight.shape
        codes = torch.randint(0, 2**bits, (out // og, inputs // ig, books), generator=rng)
        entries = (torch.randn((books, 2**bits, og, ig), generator=rng) * books ** -0.5).to(dtype)
        scales = ((0.5 + torch.rand((out // og, 1, 1, 1), generator=rng)) * inputs ** -0.5).to(dtype)
        packed = pack_int_data(codes.clone(), bits)
        tensors |= {f"{name}.codes": packed, f"{name}.codebooks": entries, f"{name}.scales": scales}
        decoded[name] = _dequantize_weight(unpack_int_data(packed, bits), entries.float(), scales.float())
    quantization = {"quant_method": "aqlm", "nbits_per_codebook": bits, "num_codebooks": books, "out_group_size": og,
                    "in_group_size": ig, "linear_weights_not_to_quantize": skipped}
    grouped.finish(variant, model, tensors | grouped.rest(model, decoded), decoded, quantization, rng)


if __name__ == "__main__":
    for v in VARIANTS:
        make(v)
