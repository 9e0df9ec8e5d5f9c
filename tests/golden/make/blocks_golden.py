"""Makes tests/golden/quant/blocks.safetensors: random blocks of ggml's formats and what the gguf package decodes
them to.

Run from the top of the repository, in an environment with tests/requirements.txt and gguf 0.19.0:
    python tests/golden/make/blocks_golden.py

NAME.blocks u8 [rows, bytes of two blocks], NAME.values f32 [rows, values].  Every bit is random but those of the
float16 scales, which are finite numbers; MXFP4's exponents take all that are no NaN."""
import os

import numpy
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize
from safetensors.numpy import save_file

TYPES = ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS", "MXFP4"]
# where float16 scales lie in a block
SCALES = {"Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "Q2_K": [80, 82], "Q3_K": [108],
          "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208], "IQ4_NL": [0], "IQ4_XS": [0], "MXFP4": []}
OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "quant", "blocks.safetensors")

random = numpy.random.default_rng(20261129)
tensors = {}
for name in TYPES:
    kind = GGMLQuantizationType[name]
    values, size = GGML_QUANT_SIZES[kind]
    rows = 3 if values == 256 else 8
    blocks = random.integers(0, 256, (rows, 2, size), dtype=numpy.uint8)
    for at in SCALES[name]:
        scales = (random.standard_normal((rows, 2)) * 2.0 ** random.integers(-10, 3)).astype(numpy.float16)
        blocks[:, :, at:at + 2] = scales[..., None].view(numpy.uint8)
    if name == "MXFP4":
        blocks[:, :, 0] = random.integers(0, 255, (rows, 2))
        blocks[0, 0, 0], blocks[0, 1, 0] = 0, 1
    blocks = blocks.reshape(rows, 2 * size)
    with numpy.errstate(over="ignore"):
        tensors[name + ".values"] = numpy.ascontiguousarray(dequantize(blocks, kind), dtype=numpy.float32)
    tensors[name + ".blocks"] = blocks
save_file(tensors, OUT)
