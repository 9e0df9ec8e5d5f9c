"""tests/golden/train/smoothing.txt: losses of transformers' LabelSmoother on the small llama, in float32.
A line each: the factor, the record's tokens by commas, the loss over all tokens but the first."""
import os

import torch
from transformers import AutoModelForCausalLM
from transformers.trainer_pt_utils import LabelSmoother

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
RECORDS = [[1, 5, 9, 33, 7], [90, 80, 70, 60, 50, 40, 3]]

if __name__ == "__main__":
    model = AutoModelForCausalLM.from_pretrained(os.path.join(HERE, "models", "llama"), dtype=torch.float32).eval()
    lines = []
    for factor in (0.0, 0.1, 0.5):
        for record in RECORDS:
            ids = torch.tensor([record])
            with torch.no_grad():
                output = model(input_ids=ids)
            loss = LabelSmoother(epsilon=factor)(output, ids, shift_labels=True)
            lines.append(f"{factor} {','.join(map(str, record))} {float(loss)!r}")
    with open(os.path.join(HERE, "train", "smoothing.txt"), "w") as f:
        f.write("\n".join(lines) + "\n")
