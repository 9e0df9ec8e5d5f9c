"""What clean_up_tokenization_spaces makes of texts.

    python tests/golden/make/tidy_golden.py        (transformers 4.57.6)

Writes tests/golden/special/tidy.json: [[text, cleaned], ...]."""
import json
import os
import random

from transformers import PreTrainedTokenizerBase

PARTS = [" ", " ", "'", "n", "t", "m", "s", "v", "e", "r", ".", "?", "!", ",", " n't", " '", " ' ", " 've", " 're", " .", "n't", "é", "\n"]
rng = random.Random(3)
texts = ["", " ", "do n't , he 's here .", "a  .", " ' n't", "' 's '", "it ' s ' t", " . . .", "we 'v", "we 've", " n'"]
texts += ["".join(rng.choice(PARTS) for _ in range(rng.randint(1, 14))) for _ in range(400)]
out = [[t, PreTrainedTokenizerBase.clean_up_tokenization(t)] for t in texts]
with open(os.path.join(os.path.dirname(__file__), "..", "special", "tidy.json"), "w") as f:
    json.dump(out, f, ensure_ascii=False, indent=0)
