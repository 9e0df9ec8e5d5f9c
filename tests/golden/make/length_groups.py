"""tests/golden/train/length_groups.txt: orders of transformers' LengthGroupedSampler.

    .venv-interop/bin/python tests/golden/make/length_groups.py > tests/golden/train/length_groups.txt

A line a case: seed, records of a step, the lengths, the order."""
import random

import torch
from transformers.trainer_pt_utils import get_length_grouped_indices

random.seed(3)
for seed, step, n in (1, 2, 9), (42, 4, 40), (7, 1, 130), (5, 8, 5), (11, 3, 300):
    lengths = [random.randrange(1, 12) for _ in range(n)]
    order = get_length_grouped_indices(lengths, step, generator=torch.Generator().manual_seed(seed))
    print(seed, step, ",".join(map(str, lengths)), ",".join(map(str, order)))
